import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.parallel.chips import CHIPS, GPUS
from medslip_jax.parallel.topologies import MAX_CHIPS, parse_topology


@pytest.mark.parametrize(
    ("text", "chips", "hosts"),
    [
        ("v5e:4x4", 16, 4),
        ("v5e:16x16", 256, 64),
        ("v5e:1x1", 1, 1),
        ("v4:2x2x1", 4, 1),
        ("v5p:4x4x16", 256, 64),
        ("h100:8", 8, 1),
        ("h100:2x8", 16, 2),
        ("l4:1", 1, 1),
    ],
)  # fmt: skip
def test_topologies(text, chips, hosts):
    topology = parse_topology(text)
    assert (topology.name, topology.chips, topology.hosts) == (text, chips, hosts)


@pytest.mark.parametrize("text", [name for chip in (*CHIPS.values(), *GPUS.values()) for name in chip.examples])
def test_examples_are_topologies(text):
    assert parse_topology(text).chips <= 256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown chip; one of v4, v5e, v5p, v6e, t4, l4, a100, h100, h200, b200"),
        ("v7x:2x2x1", "unknown chip"),
        ("v5e", "written v5e:AxB"),
        ("v5e:4", "written v5e:AxB"),
        ("v5e:2x2x1", "written v5e:AxB"),
        ("v5e:0x4", "written v5e:AxB"),
        ("v4:4x4", "written v4:AxBxC"),
        ("v5e:16x32", "512 chips, and at most 256"),
        ("v5e:9999x9999", "at most 256"),
        ("h100", "GPUs are written h100:COUNT, or h100:NODESxCOUNT"),
        ("h100:0", "GPUs are written"),
        ("h100:1x2x8", "GPUs are written"),
        ("v100:8", "unknown chip"),
        ("a100:64x8", "512 chips, and at most 256"),
        ("v6e:3x3", "hosts of 2x2 chips do not tile it"),
        ("v4:2x3x4", "hosts of 2x2x1 chips do not tile it"),
    ],
)
def test_unusable_topologies_say_what_to_write(text, message):
    with pytest.raises(InputError, match="--topology") as error:
        parse_topology(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "for example" in str(error.value)


@given(st.sampled_from(list(GPUS)), st.integers(1, 300), st.integers(1, 300))
def test_gpus_in_nodes(name, nodes, each):
    text = f"{name}:{nodes}x{each}"
    if nodes * each > MAX_CHIPS:
        with pytest.raises(InputError, match="at most 256"):
            parse_topology(text)
        return
    topology = parse_topology(text)
    assert (topology.chips, topology.hosts, topology.chips_per_host) == (nodes * each, nodes, each)
    assert parse_topology(topology.name) == topology


@given(st.text(alphabet="vhlt1024568pe:x,- \n\u0663", max_size=12) | st.text(max_size=12))
@example("h100:\u0668")
@example("h100:8\n")
def test_any_text_is_a_topology_or_one_line(text):
    try:
        topology = parse_topology(text)
    except InputError as error:
        assert str(error).startswith("--topology")
        assert "for example" in str(error)
    else:
        assert re.fullmatch(r"[a-z0-9]+:[0-9x]+", text)
        assert 1 <= topology.chips <= MAX_CHIPS
