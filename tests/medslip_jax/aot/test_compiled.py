from types import SimpleNamespace

import pytest

from medslip_jax.aot.compiled import largest_batch, parse_too_large, read_memory, read_program, roofline
from medslip_jax.parallel.chips import CHIPS

STATS = SimpleNamespace(
    argument_size_in_bytes=100,
    output_size_in_bytes=70,
    alias_size_in_bytes=60,
    temp_size_in_bytes=1000,
    generated_code_size_in_bytes=5,
    peak_memory_in_bytes=1110,
)
HLO = "ENTRY %main {\n  %x = f32[2]{0} parameter(0)\n  ROOT %r = f32[2]{0} all-reduce(%x), channel_id=1\n}\n"


class Program:
    """A compiled program of which some parts cannot be read."""

    def __init__(self, *fail: str):
        self._fail = fail

    def _give(self, name: str, value):
        if name in self._fail:
            raise RuntimeError(f"INTERNAL: RET_CHECK\n  {name} failed")
        return value

    def cost_analysis(self):
        return self._give("cost", {"flops": 3.0, "bytes accessed": 7.0, "optimal_seconds": -12.0})

    def memory_analysis(self):
        return self._give("memory", STATS)

    def as_text(self):
        return self._give("text", HLO)


def test_a_program_is_read_in_parts():
    program = read_program(Program())
    assert program["cost"] == {"flops": 3.0}
    assert program["memory"]["total"] == 100 + 70 - 60 + 1000 + 5
    assert program["traffic"] == {"hbm": 2 * 8}
    assert program["collectives"] == {"all-reduce": {"count": 1, "bytes": 8}}


@pytest.mark.parametrize(("fails", "part"), [("cost", "cost"), ("memory", "memory"), ("text", "collectives")])
def test_a_part_that_fails_leaves_the_others(fails, part):
    program = read_program(Program(fails))
    assert program[part] == {"unavailable": f"INTERNAL: RET_CHECK {fails} failed"}
    # Three parts are read from the text, as it has the loops that XLA's count of FLOPs leaves out.
    assert sum("unavailable" in values for values in program.values()) == (3 if fails == "text" else 1)


def test_results_in_the_place_of_arguments_count_once():
    assert read_memory(STATS)["total"] == 1115


@pytest.mark.parametrize(
    ("message", "needs", "limit"),
    [
        ("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 20.50G of "
         "15.75G hbm. Exceeded hbm capacity by 4.75G.", 20.5, 15.75),
        ("RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (300.00G) "
         "exceeds available HBM (31.25G).", 300, 31.25),
        ("Used 1.5T of 95.74G hbm.", 1536, 95.74),
        ("Used 512.00M of 0.25G hbm.", 0.5, 0.25),
    ],
)  # fmt: skip
def test_what_the_compiler_says_of_memory(message, needs, limit):
    said = parse_too_large(message)
    assert said == {"needs": pytest.approx(needs * 2**30), "limit": pytest.approx(limit * 2**30)}


def test_other_messages_say_nothing_of_memory():
    assert parse_too_large("INTERNAL: RET_CHECK failure (...) async-update instruction should have 1 operands") is None


def test_roofline_by_hand():
    # 394e12 FLOPs take 2 s of a v5e's 197e12 a second; 819e9 bytes take 1 s.
    assert roofline(394e12, hbm=819e9, chip=CHIPS["v5e"], per_chip=256) == {
        "compute_seconds": pytest.approx(2),
        "memory_seconds": pytest.approx(1),
        "bound_by": "compute",
        "images_per_second": pytest.approx(128),
    }
    line = roofline(197e12, hbm=4 * 819e9, chip=CHIPS["v5e"], per_chip=256)
    assert (line["bound_by"], line["images_per_second"]) == ("memory", pytest.approx(64))


@pytest.mark.parametrize(
    ("per_chip", "needs", "multiple", "images"),
    [
        (256, 160.0, 1, 160),
        (250, 160.0, 1, 152),  # 156, and down to the rows of a tile
        (252, 160.0, 12, 144),  # 157, and down to a multiple of 24
        (16, 300.0, 1, 5),
        (2, 300.0, 1, None),
    ],
)
def test_the_largest_batch_in_proportion(per_chip, needs, multiple, images):
    assert largest_batch(per_chip, needs=needs, limit=100, multiple=multiple) == images
