import json

import pytest
import yaml

from medslip_jax.cli import launch as verb
from medslip_jax.errors import InputError

SLICE = ["--accelerator", "tpu-v5-lite-podslice", "--topology", "4x4"]
FLAGS = ["gke", "--name", "chest", *SLICE, "--image", "r/i:1", "--bucket", "b"]
COMMAND = ["--", "pretrain", "--config", "configs/a b.py", "--workdir", "/gcs/b/runs", "--config.x=$(HOME)"]


def written(tmp_path, *flags, command=COMMAND) -> dict:
    file = tmp_path / "set.yaml"
    assert verb.main([*FLAGS, *flags, "--out", str(file), *command]) == 0
    return yaml.safe_load(file.read_text())


def pod_of(tree: dict) -> dict:
    return tree["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]


def volume(bucket: str) -> dict:
    attributes = {"bucketName": bucket, "mountOptions": "implicit-dirs,rename-dir-limit=200000"}
    return {"name": "bucket", "csi": {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": attributes}}


def test_manifest_field_by_field(tmp_path):
    assert written(tmp_path) == {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": "chest",
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": 20,
                "rules": [
                    {"name": "bad_input", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
                ],
            },
            "replicatedJobs": [
                {
                    "name": "hosts",
                    "replicas": 1,
                    "template": {
                        "spec": {
                            # 16 chips, 4 a host.
                            "parallelism": 4,
                            "completions": 4,
                            "completionMode": "Indexed",
                            "backoffLimit": 0,
                            "podFailurePolicy": {
                                "rules": [
                                    {
                                        "action": "FailJob",
                                        "onExitCodes": {"containerName": "medslip", "operator": "In", "values": [2]},
                                    }
                                ]
                            },
                            "template": {
                                "metadata": {"annotations": {"gke-gcsfuse/volumes": "true"}},
                                "spec": {
                                    "restartPolicy": "Never",
                                    "terminationGracePeriodSeconds": 300,
                                    "nodeSelector": {
                                        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
                                        "cloud.google.com/gke-tpu-topology": "4x4",
                                    },
                                    "containers": [
                                        {
                                            "name": "medslip",
                                            "image": "r/i:1",
                                            "command": [
                                                *("medslip", "pretrain", "--config", "configs/a b.py"),
                                                *("--workdir", "/gcs/b/runs", "--config.x=$$(HOME)"),
                                                *("--distributed", "tpu"),
                                            ],
                                            "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
                                            "ports": [{"containerPort": 8471}, {"containerPort": 8482}],
                                            "resources": {
                                                "requests": {"google.com/tpu": 4},
                                                "limits": {"google.com/tpu": 4},
                                            },
                                            "volumeMounts": [{"name": "bucket", "mountPath": "/gcs/b"}],
                                        }
                                    ],
                                    "volumes": [volume("b")],
                                },
                            },
                        }
                    },
                }
            ],
        },
    }


def test_spot_bucket_and_account(tmp_path):
    command = [*COMMAND[:4], "--workdir", "/gcs/films/runs"]
    flags = ["--spot", "--bucket", "films", "--service_account", "trainer", "--grace", "25", "--retries", "3"]
    tree = written(tmp_path, *flags, command=command)
    pod = pod_of(tree)
    assert tree["spec"]["failurePolicy"]["maxRestarts"] == 3
    assert pod["metadata"] == {"annotations": {"gke-gcsfuse/volumes": "true"}}
    spec = pod["spec"]
    assert spec["terminationGracePeriodSeconds"] == 25
    assert spec["serviceAccountName"] == "trainer"
    assert spec["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert spec["tolerations"] == [
        {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    ]
    assert spec["volumes"] == [volume("films")]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "bucket", "mountPath": "/gcs/films"}]


@pytest.mark.parametrize(("topology", "hosts", "chips", "how"), [("2x4", 1, 8, "off"), ("8x8", 16, 4, "tpu")])
def test_hosts_and_chips(tmp_path, topology, hosts, chips, how):
    job = written(tmp_path, "--topology", topology)["spec"]["replicatedJobs"][0]["template"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    assert job["parallelism"] == job["completions"] == hosts
    assert container["resources"]["limits"] == {"google.com/tpu": chips}
    assert container["command"][-2:] == ["--distributed", how]


def test_dry_run_is_a_manifest_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert verb.main([*FLAGS, "--dry_run", "--apply", *COMMAND]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out)["kind"] == "JobSet"
    assert out.splitlines()[-1] == "# kubectl apply -f chest.yaml"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [0, 1])
def test_apply(tmp_path, put_program, capsys, code):
    calls = tmp_path / "calls"
    put_program(
        "kubectl", f"import json, sys; open({str(calls)!r}, 'a').write(json.dumps(sys.argv[1:])); sys.exit({code})"
    )
    file = tmp_path / "my set.yaml"
    assert verb.main([*FLAGS, "--out", str(file), "--apply", *COMMAND]) == code
    assert json.loads(calls.read_text()) == ["apply", "-f", str(file)]
    assert ("kubectl delete jobset chest" in capsys.readouterr().out) is (code == 0)


def test_without_kubectl_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="kubectl is not on PATH"):
        verb.main([*FLAGS, "--out", str(tmp_path / "a.yaml"), "--apply", *COMMAND])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        verb.main([*FLAGS, "--out", str(tmp_path / "nowhere" / "a.yaml"), *COMMAND])
