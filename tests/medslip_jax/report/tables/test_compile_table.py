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
        "cost": {"flops": 197e11},
        "traffic": {"hbm": 819e8},
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
    "roofline": {"compute_seconds": 0.1, "memory_seconds": 0.1, "bound_by": "compute", "images_per_second": 2560.0},
    "seconds": {"lower": 3.2, "compile": 100.4},
    "largest": 320,
    "evaluation": {"batch_size": 64, "fits": True, "needs": 2 * GIB, "error": "", "seconds": 7.0},
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
        "bytes from and to HBM 8.19e+10, 0.320 GB an image",
        "HBM peak 12.60 of 15.75 GiB (80 %)",
        "all-reduce 3 with 1.23 MB",
        "images a chip that would fit about 320, in proportion",
        "time to lower, to compile 3 s, 100 s",
        "evaluation of 64 images: needs 2.00 of 15.75 GiB, with the optimiser's state beside it; compiled in 7 s",
        "roofline: images/s of a chip = images a chip / max(FLOPs / peak FLOP/s, HBM bytes / HBM bandwidth)",
        "= 256 / max(1.97e+13 / 1.97e+14, 8.19e+10 / 8.19e+11)",
        "= 256 / max(100.0 ms, 100.0 ms) = 2,560 images/s, bound by computing; 40,960 on 16 chips",
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


def test_a_step_that_does_not_fit():
    result = RESULT | {"fits": False, "needs": 20.5 * GIB, "program": None, "roofline": None, "largest": 192}
    lines = lines_of(result)
    assert "does not fit: needs 20.50 of 15.75 GiB; in proportion, about 192 images a chip would" in lines
    assert "time to lower, to compile 3 s, 100 s" in lines
    assert "in proportion, nor would one image a chip" in compile_table(result | {"largest": None})


def test_a_compiler_that_fails():
    failed = {"fits": False, "needs": None, "program": None, "roofline": None, "error": "INTERNAL: RET_CHECK failure"}
    assert "could not be compiled: INTERNAL: RET_CHECK failure" in compile_table(RESULT | failed)


def test_an_evaluation_that_does_not_fit():
    def line(**changes) -> str:
        found = compile_table(RESULT | {"evaluation": RESULT["evaluation"] | {"fits": False} | changes})
        return next(line for line in found.splitlines() if line.startswith("evaluation"))

    assert "evaluation of 64 images: does not fit: needs 17.00 of 15.75 GiB" in line(needs=17 * GIB)
    assert line(needs=None, error="INTERNAL") == "evaluation of 64 images: could not be compiled: INTERNAL"
    assert "evaluation" not in compile_table(RESULT | {"evaluation": None})


def test_what_stands_beside_convolutions():
    result = copy.deepcopy(RESULT)
    result["program"]["layout"] = {
        "convolutions": {"count": 38},
        "images": {"count": 0, "bytes": 0, "fused": 1},
        "kernels": {"count": 14, "bytes": 2_000_000, "fused": 5},
        "others": {"count": 3, "bytes": 1_000_000, "fused": 0},
    }
    text = " ".join(lines_of(result))
    assert (
        "copies and transpositions beside 38 convolutions by cuDNN: of images 0 (0.00 MB), of kernels 14 (2.00 MB), "
        "within other work 1 and 5; of others 3 (1.00 MB)" in text
    )
