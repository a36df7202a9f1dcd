"""What XLA is told of GPUs; what compiles for one is in cli/test_compile.py."""

import importlib.metadata
import re

import jax
import pytest

from medslip_jax.aot import gpu_compiler
from medslip_jax.errors import InputError
from medslip_jax.parallel.chips import GPUS
from medslip_jax.parallel.topologies import parse_topology


@pytest.mark.parametrize("name", GPUS)
def test_descriptions_agree_with_the_table_of_chips(name):
    text, chip = gpu_compiler.description(name), GPUS[name]
    fields = dict(re.findall(r"^\s*(\w+): ([^\s]+)$", text, re.MULTILINE))
    assert int(fields["device_memory_size"]) == pytest.approx(chip.usable_gib * 2**30, rel=1e-4)
    assert int(fields["memory_bandwidth"]) == chip.hbm_bytes
    assert chip.usable_gib < chip.hbm_gib
    assert text.count("{") == text.count("}")
    assert "data sheet (nvidia.com/" in text


@pytest.mark.parametrize(
    ("name", "per_clock"),
    # Multiplications and additions of an SM's tensor cores in bfloat16 and a clock, of the generation.
    [("l4", 512), ("a100", 1024), ("h100", 2048), ("h200", 2048), ("b200", 4096)],
)
def test_peaks_are_what_clock_and_cores_can_do(name, per_clock):
    fields = dict(re.findall(r"^\s*(\w+): ([^\s]+)$", gpu_compiler.description(name), re.MULTILINE))
    highest = 2 * per_clock * int(fields["core_count"]) * float(fields["clock_rate_ghz"]) * 1e9
    # Data sheets of the later ones are by a lower clock than the highest.
    assert 0.8 * highest < GPUS[name].peak_flops < 1.01 * highest


def test_without_the_plug_in_the_command_is_named(monkeypatch):
    monkeypatch.setattr(gpu_compiler, "PLUGINS", ("jax_plugins.none",))
    version = importlib.metadata.version("jax")
    with pytest.raises(InputError) as error:
        gpu_compiler.gpu_devices(parse_topology("h100:8"))
    assert str(error.value) == (
        "--topology h100:8: JAX's CUDA plug-in is not installed; pip install --no-deps "
        f"jax-cuda12-plugin=={version} jax-cuda12-pjrt=={version}"
    )


def test_a_package_that_is_not_there_is_not_installed(monkeypatch):
    monkeypatch.setattr(gpu_compiler, "PLUGINS", ("no_such_package.plugin",))
    assert not gpu_compiler.installed()


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch):
    """As on a CPU: it knows one of the two, and says which it does not."""
    monkeypatch.setattr(gpu_compiler, "OPTIONS", {"xla_no_such_option": False, "xla_cpu_enable_fast_math": False})
    assert gpu_compiler.compile_for_gpu(jax.jit(lambda x: x + 1).lower(1.0))(1.0) == 2


def test_another_fault_of_the_compiler_is_its_own(monkeypatch):
    monkeypatch.setattr(gpu_compiler, "OPTIONS", {"xla_cpu_enable_fast_math": "neither"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="not a valid bool"):
        gpu_compiler.compile_for_gpu(jax.jit(lambda x: x + 1).lower(1.0))
