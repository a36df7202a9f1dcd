"""The sandbox sees what it is there for, faults are the same for a seed, and a short slice of every kind holds."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from places import HELPERS, ROOT, TESTS

from fuzz.kinds import KINDS
from fuzz.mutations import mutated
from fuzz.sandbox import outcomes
from medslip_jax.errors import InputError


def hang(place):
    while True:
        pass


def grow(place):
    np.ones(3 << 27, np.uint32)


def shout(place):
    print("decoder: warning", file=sys.stderr)


def die(place):
    os.kill(os.getpid(), 9)


def refuse(place):
    raise InputError(f"{place / 'x'}: no picture; give another")


def refuse_in_words(place):
    raise InputError("no picture")


@pytest.mark.parametrize(
    ("reader", "kind", "said"),
    [
        (len, "fell", "TypeError: object of type 'PosixPath' has no len()"),
        (hang, "fell", "more than 5 s"),
        (grow, "fell", "took 15"),
        (shout, "fell", "printed: decoder: warning"),
        (die, "fell", "signal 9"),
        (refuse, "refused", "no picture; give another"),
        (refuse_in_words, "fell", "names no file: no picture"),
        (lambda place: (place / "x").read_bytes(), "read", ""),
    ],
)
def test_every_end_of_a_reader(reader, kind, said):
    """Two inputs: the second is tried whatever became of the first."""
    found = list(outcomes(reader, [{"x": b"1"}, {"x": b"2"}] if reader is not hang else [{"x": b"1"}], key="(?!)"))
    assert {outcome.kind for outcome in found} == {kind}
    assert all(said in outcome.said for outcome in found)


def test_a_seed_gives_the_same_faults():
    files = {"a.json": b'{"a": [1, 2, {"b": null}]}', "b.bin": bytes(range(256)) * 9}

    def faults(seed):
        rng = random.Random(seed)
        return [mutated(files, rng) for _ in range(200)]

    assert faults(1) == faults(1) != faults(2)
    assert sum(one != files for one in faults(1)) > 180
    assert all(one.keys() == files.keys() for one in faults(1))


@pytest.mark.slow
def test_a_slice_of_every_kind(tmp_path):
    command = [sys.executable, "-m", "fuzz", "--seconds", "24", "--keep", str(tmp_path / "fell")]
    path = os.pathsep.join(map(str, (ROOT, TESTS, HELPERS, os.environ.get("PYTHONPATH", ""))))
    options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": path}, "capture_output": True, "text": True}
    run = subprocess.run(command, check=False, timeout=600, **options)
    assert run.returncode == 0, run.stderr[-3000:]
    rows = {line[:22].strip(): line[22:].split() for line in run.stdout.splitlines()[1:]}
    assert rows.keys() == KINDS.keys()
    assert all(int(inputs) >= 20 and fell == "0" for inputs, _, _, fell in rows.values())
