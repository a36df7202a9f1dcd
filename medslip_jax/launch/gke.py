"""`medslip launch gke`: writes a JobSet manifest for a TPU slice on Google Kubernetes Engine; `--apply` submits it.

Fields are those of JobSet v1alpha2 (jobset.sigs.k8s.io) and of the GKE guide "Deploy TPU workloads".
"""

import argparse
import json
import string
from collections.abc import Sequence
from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.exit_codes import BAD_INPUT, DONE
from medslip_jax.launch import commands
from medslip_jax.launch.arguments import check_at_least, check_lasting_workdir, check_name, value_of
from medslip_jax.launch.topology import slice_of

HELP = "a JobSet manifest for TPUs on Google Kubernetes Engine"
EXAMPLE = (
    "medslip launch gke --name chest --accelerator tpu-v5-lite-podslice --topology 4x4 --image REGISTRY/medslip "
    "--bucket films -- pretrain --config configs/pretrain_mimic.py --workdir /gcs/films/runs/a"
)
_SPOT = "cloud.google.com/gke-spot"
# The names of pods add "-hosts-0-NN-xxxxx" to that of the set, and may have 63 letters.
_LONGEST_NAME = 40
_FLAGS = ("name", "accelerator", "topology", "image", "bucket", "retries", "grace")  # as the template has them
_TEMPLATE = string.Template(Path(__file__).with_name("jobset.yaml").read_text(encoding="utf-8"))


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
    import yaml

    check_name(flags.name, longest=_LONGEST_NAME)
    check_at_least(flags, chips_per_host=1, retries=0, grace=1)
    _check_workdir(flags, command)
    text = yaml.safe_dump(manifest(flags, command), sort_keys=False, width=120)
    file = flags.out or f"{flags.name}.yaml"
    how = commands.how_far(flags, "apply")
    code = commands.hand_over(text, file, ["kubectl", "apply", "-f", file], how=how, hint="install it")
    if how == "submit" and code == DONE:
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


def manifest(flags: argparse.Namespace, command: Sequence[str]) -> dict:
    """The JobSet of `jobset.yaml`."""
    import yaml

    part = slice_of(flags.accelerator, flags.topology, chips_per_host=flags.chips_per_host)
    # GKE tells the hosts of a slice about each other; a single host has nobody to meet.
    words = ["medslip", *command, "--distributed", "tpu" if part.hosts > 1 else "off"]
    values = {
        **{key: getattr(flags, key) for key in _FLAGS},
        "hosts": part.hosts,
        "chips": part.chips_per_host,
        "bad_input": BAD_INPUT,
        "mount": f"/gcs/{flags.bucket}",
        # Kubernetes would replace $(NAME) by a variable.
        "command": [word.replace("$(", "$$(") for word in words],
    }
    tree = yaml.safe_load(_TEMPLATE.substitute({key: json.dumps(value) for key, value in values.items()}))
    spec = tree["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    if flags.service_account:
        check_name(flags.service_account, flag="--service_account")
        spec["serviceAccountName"] = flags.service_account
    if flags.spot:
        spec["nodeSelector"][_SPOT] = "true"
        spec["tolerations"] = [{"key": _SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}]
    return tree
