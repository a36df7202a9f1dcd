"""`medslip compile`; what compiles for a TPU needs libtpu (marker `tpu_backend`)."""

import importlib.util
import json
import subprocess
import sys

import jax
import pytest
from places import CONFIGS

from medslip_jax.aot import gpu_compiler, lowering, step_report
from medslip_jax.cli import compile as verb
from medslip_jax.errors import InputError
from medslip_jax.parallel import sharding
from medslip_jax.parallel.chips import CHIPS
from medslip_jax.parallel.flops import step_flops
from medslip_jax.parallel.topologies import Topology, parse_topology

CONFIG = str(CONFIGS / "phantom.py") + ":tiny"
# The smallest model: a step that compiles for a TPU in well under a minute.
TINY = [
    "--config.data.image_size=32", "--config.model.trunk_width=8", "--config.model.embed_dim=16",
    "--config.model.decoder_ffn_dim=32", "--config.model.decoder_layers=1", "--config.data.train_images=800",
]  # fmt: skip
needs_plugin = pytest.mark.skipif(
    not gpu_compiler.installed(), reason="needs jax-cuda12-plugin and jax-cuda12-pjrt: the compiler of GPU programs"
)
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: the compiler of TPU programs"
)


def test_bad_flags_are_one_line():
    with pytest.raises(InputError, match="--topology v9:2x2: unknown chip"):
        verb.main([f"--config={CONFIG}", "--topology", "v9:2x2"])
    with pytest.raises(InputError, match="--per_chip 0"):
        verb.main([f"--config={CONFIG}", "--topology", "v5e:2x2", "--per_chip", "0"])
    with pytest.raises(InputError, match=r"--out nowhere/x\.json: there is no such folder"):
        verb.main([f"--config={CONFIG}", "--topology", "v5e:2x2", "--out", "nowhere/x.json"])
    with pytest.raises(InputError, match="--config FILE is missing"):
        verb.main(["--topology", "v5e:2x2"])


def test_the_module_does_not_load_the_compiler_of_tpus():
    code = "import sys, medslip_jax.cli.compile; sys.exit('libtpu' in open('/proc/self/maps').read())"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("argv", [["--config", "a.py:x", "--config.y=1"], ["--config.y=1", "--config=a.py:x"]])
def test_the_name_of_the_config(argv):
    assert verb._config_name(argv) == "a.py:x"


@pytest.fixture
def compiled(monkeypatch):
    """`compile_report` on a compiler that needs 1 GiB and 0.1 GiB an image; the images a chip that it was asked for."""
    asked = []

    def compile_step(step, *, mesh, topology, per_chip: int) -> dict:
        asked.append(per_chip)
        needs, limit = (1 + 0.1 * per_chip) * 2**30, topology.chip.usable_gib * 2**30
        fits = needs <= limit
        memory = {"arguments": 0, "results": 0, "alias": 0, "temporaries": needs, "program": 0, "total": needs}
        program = {"cost": {"flops": 197e9}, "traffic": {"hbm": 1.0}, "memory": memory, "collectives": {}}
        error, seconds = "" if fits else "RESOURCE_EXHAUSTED", {"lower": 1.0, "compile": 2.0}
        found = {"fits": fits, "needs": needs, "memory_limit": limit, "error": error, "seconds": seconds}
        return found | {"program": program if fits else None}

    from medslip_jax.parallel import sharding

    def compile_lowered(lowered, *, topology, held: int) -> dict:
        return {"fits": True, "needs": held + 2**30, "error": "", "seconds": 1.0}

    monkeypatch.setattr(lowering, "compile_step", compile_step)
    monkeypatch.setattr(lowering, "compile_lowered", compile_lowered)
    monkeypatch.setattr(lowering, "mesh_of", lambda topology, **_: sharding.make_mesh())
    return asked


def test_a_step_that_fits_gives_a_table_and_json(compiled, capsys, tmp_path):
    argv = [f"--config={CONFIG}", "--topology", "v5e:1x1", *TINY]
    assert verb.main([*argv, "--out", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    # 8 images in the config: 1.8 GiB, and 8 / (197e9 / 197e12) images/s.
    assert "1.80 of 15.75 GiB" in text
    assert "= 8,000 images/s" in text
    assert verb.main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out.json").read_text())
    assert compiled == [8, 8]


def test_a_step_that_does_not_fit_exits_with_1(compiled, capsys):
    argv = [f"--config={CONFIG}", "--topology", "v5e:1x1", "--per_chip", "200", *TINY]
    assert verb.main(argv) == 1
    text = capsys.readouterr().out
    assert "does not fit: needs 21.00 of 15.75 GiB" in text
    assert "about 144 images a chip would" in text
    assert compiled == [200]


def test_a_batch_that_the_chips_do_not_share_is_refused(compiled, monkeypatch):
    def refuse(*_, **__):
        raise InputError("data")

    monkeypatch.setattr(step_report.sharding, "check_batch_size", refuse)
    with pytest.raises(InputError, match="data; --per_chip N"):
        verb.main([f"--config={CONFIG}", "--topology", "v5e:1x1", *TINY])
    assert compiled == []


def test_a_validation_batch_that_does_not_fit_exits_with_1(compiled, monkeypatch, capsys):
    def too_large(lowered, *, topology, held):
        return {"fits": False, "needs": held + 17 * 2**30, "error": "RESOURCE_EXHAUSTED", "seconds": 1.0}

    monkeypatch.setattr(lowering, "compile_lowered", too_large)
    argv = [f"--config={CONFIG}", "--topology", "v5e:1x1", *TINY]
    assert verb.main(argv) == 1
    assert "evaluation of 8 images: does not fit: needs 17.00 of 15.75 GiB" in capsys.readouterr().out
    assert verb.main([*argv, "--no_evaluation"]) == 0
    assert "evaluation" not in capsys.readouterr().out


def test_a_validation_batch_that_the_chips_do_not_share_is_said(compiled, monkeypatch, capsys):
    def refuse(*_, **__):
        raise InputError("eval.batch_size=8 must be a positive multiple of the 16 device(s)")

    monkeypatch.setattr(step_report, "lower_evaluation", refuse)
    assert verb.main([f"--config={CONFIG}", "--topology", "v5e:1x1", *TINY]) == 1
    assert "could not be compiled: eval.batch_size=8 must be a positive multiple" in capsys.readouterr().out


@pytest.mark.tpu_backend
@needs_libtpu
def test_the_tiny_step_compiles_for_four_chips(capsys):
    assert verb.main([f"--config={CONFIG}", "--topology", "v5e:2x2", "--json", *TINY]) == 0
    result = json.loads(capsys.readouterr().out)
    program = result["program"]
    assert program["cost"]["flops"] > 1e6
    assert program["traffic"]["hbm"] > 1e6
    assert 0 < program["memory"]["total"] < result["memory_limit"]
    assert program["collectives"]["all-reduce"]["count"] > 0
    # Every gradient crosses the chips at least once.
    assert program["collectives"]["all-reduce"]["bytes"] > 1e5
    assert result["topology"]["device_kind"] == "TPU v5 lite"
    assert result["batch"] == {"total": 8, "per_chip": 2}
    assert result["roofline"]["images_per_second"] > 0


@pytest.mark.tpu_backend
@needs_libtpu
def test_a_huge_batch_does_not_fit():
    from medslip_jax.aot.step_shapes import step_of
    from medslip_jax.experiment import load_config, read

    topology = parse_topology("v5e:2x2")
    mesh = lowering.mesh_of(topology)
    step = step_of(read(load_config([f"--config={CONFIG}", *TINY])), mesh=mesh)
    found = lowering.compile_step(step, mesh=mesh, topology=topology, per_chip=2**20)
    assert found["needs"] > found["memory_limit"]
    assert not found["fits"] and found["program"] is None
    assert found["memory_limit"] == pytest.approx(topology.chip.usable_gib * 2**30)


@pytest.mark.tpu_backend
@needs_libtpu
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:1x1", "v5e:16x16", "v5p:4x4x16", "v6e:4x4"])
def test_slices_are_known_to_libtpu(name):
    topology = parse_topology(name)
    mesh = lowering.mesh_of(topology)
    assert mesh.size == topology.chips
    assert len({d.process_index for d in mesh.devices.flat}) == topology.hosts


@pytest.mark.tpu_backend
@needs_libtpu
def test_a_slice_that_libtpu_refuses_is_one_line():
    with pytest.raises(InputError, match="--topology v5e:3x3: libtpu has no such slice") as error:
        lowering.mesh_of(Topology(CHIPS["v5e"], (3, 3)))
    assert "\n" not in str(error.value)


@pytest.mark.gpu_compiler
@needs_plugin
def test_the_tiny_step_compiles_for_two_gpus(capsys):
    assert verb.main([f"--config={CONFIG}", "--topology", "h100:2", "--json", *TINY]) == 0
    result = json.loads(capsys.readouterr().out)
    program = result["program"]
    assert not [part for part, values in program.items() if "unavailable" in values]
    assert program["cost"]["flops"] > 1e7
    assert program["traffic"]["hbm"] > 1e6
    assert 0 < program["memory"]["total"] < result["memory_limit"]
    # Every gradient crosses the cards at least once.
    assert program["collectives"]["all-reduce"]["bytes"] > 1e5
    # Forward, gradients of images and of kernels of 3 x 3 convolutions: all by cuDNN.
    assert program["layout"]["convolutions"]["count"] > 30
    assert result["topology"] == {
        "name": "h100:2",
        "chips": 2,
        "hosts": 1,
        "chips_per_host": 2,
        "device_kind": "NVIDIA H100 80GB HBM3",
        "mesh": {"data": 2, "fsdp": 1},
    }
    assert result["roofline"]["images_per_second"] > 0
    assert result["evaluation"]["fits"]
    assert 0 < result["evaluation"]["needs"] < result["needs"]
    assert result["versions"]["jax-cuda12-pjrt"] == result["versions"]["jax"]


@pytest.mark.gpu_compiler
@needs_plugin
@pytest.mark.parametrize("text", ["t4:1", "l4:1", "a100:8", "h200:2x8", "b200:8"])
def test_xla_reads_every_description(text):
    topology = parse_topology(text)
    mesh = lowering.mesh_of(topology)
    assert mesh.size == topology.chips
    assert len({device.process_index for device in mesh.devices.flat}) == topology.hosts
    shape = jax.ShapeDtypeStruct((128, 64), "bfloat16", sharding=sharding.replicated(mesh))
    compiled = gpu_compiler.compile_for_gpu(jax.jit(lambda x: x @ x.T).lower(shape))
    assert step_flops(compiled) == 2 * 128 * 128 * 64
