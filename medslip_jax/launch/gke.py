"""`medslip launch gke`: writes a JobSet manifest for a TPU slice on Google Kubernetes Engine; `--apply` submits it.

Fields are those of JobSet v1alpha2 (jobset.sigs.k8s.io) and of the GKE guide "Deploy TPU workloads".
"""

import argparse
from collections.abc import Sequence

from medslip_jax.errors import InputError
from medslip_jax.exit_codes import BAD_INPUT, DONE
from medslip_jax.launch import commands
from medslip_jax.launch.arguments import check_at_least, check_lasting_workdir, check_name, value_of
from medslip_jax.launch.topology import Slice, slice_of

HELP = "a JobSet manifest for TPUs on Google Kubernetes Engine"
EXAMPLE = (
    "medslip launch gke --name chest --accelerator tpu-v5-lite-podslice --topology 4x4 --image REGISTRY/medslip "
    "--bucket films -- pretrain --config configs/pretrain_mimic.py --workdir /gcs/films/runs/a"
)
_SPOT = "cloud.google.com/gke-spot"
# Of libtpu between hosts, and of JAX's coordinator.
_PORTS = (8471, 8482)
# The names of pods add "-hosts-0-NN-xxxxx" to that of the set, and may have 63 letters.
_LONGEST_NAME = 40
# A checkpoint is written under another name and then renamed, which Cloud Storage FUSE allows for no folder by default.
_MOUNT_OPTIONS = "implicit-dirs,rename-dir-limit=200000"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="of the JobSet")
    parser.add_argument("--accelerator", required=True, help="such as tpu-v5-lite-podslice, tpu-v6e-slice")
    parser.add_argument("--topology", required=True, help="such as 4x4")
    parser.add_argument("--image", required=True, help="container image with medslip_jax[tpu] and the config in it")
    parser.add_argument("--chips_per_host", type=int, help="for node pools of another machine type than the usual one")
    parser.add_argument("--spot", action="store_true", help="on spot nodes")
    parser.add_argument("--bucket", help="mount this Cloud Storage bucket at /gcs/BUCKET")
    parser.add_argument("--service_account", help="Kubernetes service account, with access to the buckets")
    parser.add_argument("--retries", type=int, default=20, help="restarts after a failure (%(default)s)")
    parser.add_argument("--grace", type=int, default=300, help="seconds to save after SIGTERM (%(default)s)")
    parser.add_argument("--out", help="file to write (NAME.yaml)")
    parser.add_argument("--apply", action="store_true", help="submit it with kubectl apply")


def launch(flags: argparse.Namespace, command: Sequence[str]) -> int:
    """Writes the manifest; with `--apply` the exit code is kubectl's."""
    check_name(flags.name, longest=_LONGEST_NAME)
    check_at_least(flags, chips_per_host=1, retries=0, grace=1)
    _check_workdir(flags, command)
    text = as_yaml(manifest(flags, command))
    file = flags.out or f"{flags.name}.yaml"
    apply = ["kubectl", "apply", "-f", file]
    if flags.dry_run:
        # As a comment, so that the whole output is still a manifest.
        print(f"{text}# {commands.shown(apply)}")
        return DONE
    if flags.apply:
        commands.need("kubectl", hint="install it")
    commands.write(text, file)
    if not flags.apply:
        print(commands.shown(apply))
        return DONE
    code = commands.run(apply)
    if code == DONE:
        commands.say(f"look: kubectl logs -f -l jobset.sigs.k8s.io/jobset-name={flags.name} --prefix")
        commands.say(f"stop, saving first: kubectl delete jobset {flags.name}")
    return code


def _check_workdir(flags: argparse.Namespace, command: Sequence[str]) -> None:
    """`InputError` for a --workdir that ends with the pod."""
    if "/" in (flags.bucket or ""):
        raise InputError(f"--bucket {flags.bucket}: give the bare name of a bucket, without gs:// and folders")
    check_lasting_workdir(command, where="pods")
    workdir, mount = value_of(command, "--workdir"), f"/gcs/{flags.bucket}"
    if not (flags.bucket and f"{workdir}/".startswith(f"{mount}/")):
        mounted = f"only {mount} is mounted" if flags.bucket else "nothing is mounted without --bucket BUCKET"
        raise InputError(f"--workdir {workdir}: {mounted}; give a path below /gcs/BUCKET")


def as_yaml(tree: dict) -> str:
    import yaml

    return yaml.safe_dump(tree, sort_keys=False, width=120)


def manifest(flags: argparse.Namespace, command: Sequence[str]) -> dict:
    """The JobSet: one job whose pods are the hosts of one slice.

    The hosts work in step, so no pod is restarted alone (backoffLimit 0): the first that fails fails the job, and the
    set starts all of them again, maxRestarts times. BAD_INPUT would come again, so it fails the set at once; other
    codes cannot be told from the echo of a preemption on the other hosts.
    """
    part = slice_of(flags.accelerator, flags.topology, chips_per_host=flags.chips_per_host)
    bad_input = {"containerName": "medslip", "operator": "In", "values": [BAD_INPUT]}
    job = {
        "parallelism": part.hosts,
        "completions": part.hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": bad_input}]},
        "template": _pod(flags, command, part),
    }
    rule = {"name": "bad_input", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": flags.name,
            # One job a node pool: the hosts of a slice must not mix with those of another.
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "failurePolicy": {"maxRestarts": flags.retries, "rules": [rule]},
            "replicatedJobs": [{"name": "hosts", "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod(flags: argparse.Namespace, command: Sequence[str], part: Slice) -> dict:
    # GKE tells the hosts of a slice about each other; a single host has nobody to meet.
    words = ["medslip", *command, "--distributed", "tpu" if part.hosts > 1 else "off"]
    chips = {"google.com/tpu": part.chips_per_host}
    container = {
        "name": "medslip",
        "image": flags.image,
        # Kubernetes would replace $(NAME) by a variable.
        "command": [word.replace("$(", "$$(") for word in words],
        "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
        "ports": [{"containerPort": port} for port in _PORTS],
        "resources": {"requests": chips.copy(), "limits": chips.copy()},
    }
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": flags.grace,
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": flags.accelerator,
            "cloud.google.com/gke-tpu-topology": flags.topology,
        },
        "containers": [container],
    }
    if flags.service_account:
        check_name(flags.service_account, flag="--service_account")
        spec["serviceAccountName"] = flags.service_account
    if flags.spot:
        spec["nodeSelector"][_SPOT] = "true"
        spec["tolerations"] = [{"key": _SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}]
    return {"metadata": {"annotations": {"gke-gcsfuse/volumes": "true"}}, "spec": _with_bucket(spec, flags.bucket)}


def _with_bucket(spec: dict, bucket: str) -> dict:
    """The pod's spec with the bucket mounted by the Cloud Storage FUSE driver of GKE."""
    attributes = {"bucketName": bucket, "mountOptions": _MOUNT_OPTIONS}
    driver = {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": attributes}
    spec["volumes"] = [{"name": "bucket", "csi": driver}]
    spec["containers"][0]["volumeMounts"] = [{"name": "bucket", "mountPath": f"/gcs/{bucket}"}]
    return spec
