import copy

from medslip_jax.report.tables.compile import compile_table

GIB = 2**30
RESULT = {
    "config": "configs/phantom.py",
    "topology": {
        "name": "v5e:4x4",
        "chips": 16,
        "hosts": 4,
        "chips_per_host": 4,
        "device_kind": "TPU v5 lite",
        "mesh": {"data": 16, "fsdp": 1},
    },
    "chip": {"peak_flops": 197e12, "hbm_bytes": 819e9, "hbm_gib": 16, "usable_gib": 15.75},
    "batch": {"total": 4096, "per_chip": 256},
    "image_size": 224,
    "model": "medslip with resnet50",
    "dtype": "bfloat16",
    "fits": True,
    "needs": 12.6 * GIB,
    "memory_limit": 15.75 * GIB,
    "error": "",
    "program": {
        "cost": {"flops": 197e11, "bytes": 819e8},
        "traffic": {"hbm": 256 * 160_000_000},
        "memory": {
            "arguments": 1 * GIB,
            "results": 0.5 * GIB,
            "alias": 0.25 * GIB,
            "temporaries": 11 * GIB,
            "program": 0.35 * GIB,
            "total": 12.6 * GIB,
        },
        "collectives": {"all-reduce": {"count": 3, "bytes": 1234567}},
    },
    "roofline": {"compute_seconds": 0.1, "memory_seconds": 0.1, "bound_by": "compute", "images_per_second": 40960.0},
    "seconds": {"lower": 3.2, "compile": 100.4},
    "largest": None,
    "notes": ["random text tables stand in"],
    "versions": {"jax": "1", "jaxlib": "1", "libtpu": "2", "medslip_jax": "3"},
}


def lines_of(result: dict) -> list[str]:
    """Without the widths of the columns."""
    return [" ".join(line.split()) for line in compile_table(result).splitlines()]


def test_a_step_that_fits():
    lines = lines_of(RESULT)
    assert lines[0] == "v5e:4x4: 16 chips (TPU v5 lite) on 4 hosts of 4, mesh data 16 x fsdp 1"
    for line in (
        "FLOPs 1.97e+13",
        "bytes accessed 8.19e+10, 0.320 GB an image",
        "of them from and to HBM 4.096e+10, 0.160 GB an image",
        "HBM peak 12.60 of 15.75 GiB (80 %)",
        "all-reduce 3 with 1.23 MB",
        "time to lower, to compile 3 s, 100 s",
        "roofline: images/s = images a chip x chips / max(FLOPs / peak FLOP/s, bytes / HBM bandwidth)",
        "= 256 x 16 / max(1.97e+13 / 1.97e+14, 8.19e+10 / 8.19e+11)",
        "= 4096 / max(100.0 ms, 100.0 ms) = 40,960 images/s, bound by computing",
        "note: random text tables stand in",
    ):
        assert line in lines
    assert "does not fit" not in compile_table(RESULT)


def test_what_cannot_be_had_is_said():
    result = copy.deepcopy(RESULT)
    result["program"]["cost"] = {"unavailable": "INTERNAL: RET_CHECK"}
    result["program"]["collectives"] = {}
    result["roofline"] = None
    text = "\n".join(lines_of(result))
    assert "cost not to be had: INTERNAL: RET_CHECK" in text
    assert "collectives none" in text
    assert "roofline" not in text
    assert "12.60 of 15.75 GiB" in text


def too_large(**largest) -> dict:
    tries = [
        {"per_chip": 256, "needs": 20.5 * GIB, "fits": False},
        {"per_chip": 176, "needs": 14.2 * GIB, "fits": True},
    ]
    changed = {"fits": False, "needs": 20.5 * GIB, "program": None, "roofline": None, "error": "RESOURCE_EXHAUSTED"}
    return RESULT | changed | {"largest": {"tries": tries} | largest}


def test_a_step_that_does_not_fit():
    text = compile_table(too_large(estimate=192, compiled=176))
    assert "does not fit: needs 20.50 of 15.75 GiB" in text
    assert "176 images a chip fit (compiled)" in text
    assert "largest batch a chip that would fit: about 192; --verify compiles it" in text
    assert "an estimate from a line through what was compiled (256: 20.50 GiB, 176: 14.20 GiB)" in text
    assert "time to lower, to compile 3 s, 100 s" in lines_of(too_large(estimate=192, compiled=176))


def test_a_verified_batch_is_no_estimate():
    text = compile_table(too_large(estimate=176, compiled=176))
    assert "176 images a chip fit (compiled)" in text
    assert "estimate" not in text
    assert "no smaller batch was found" in compile_table(too_large(estimate=None, compiled=None))


def test_a_compiler_that_fails():
    failed = {"fits": False, "needs": None, "program": None, "roofline": None, "error": "INTERNAL: RET_CHECK failure"}
    assert "could not be compiled: INTERNAL: RET_CHECK failure" in compile_table(RESULT | failed)
