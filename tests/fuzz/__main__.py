"""`python -m fuzz --seconds 60`: damages good inputs of every kind, reads them, and tells how many fell.

An input falls that ends in anything but a result or one line which names the file: a traceback, more than 5 s of
processor time, more than 1 GB, output on the terminal, a dead process. It is kept below --keep, and the exit code is 1.
"""

import argparse
import collections
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Before the readers import JAX, in this process and in those that it forks.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from fuzz.kinds import KINDS, Kind
from fuzz.mutations import mutated
from fuzz.sandbox import outcomes


def main() -> int:
    parser = argparse.ArgumentParser("fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for all kinds together (%(default)s)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only these; repeat")
    parser.add_argument("--seed", type=int, default=0, help="of the faults: the same inputs in the same order")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_fell"), help="inputs that fell go there (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz_seeds_") as folder:
        subprocess.run([sys.executable, "-m", "fuzz.seeds", folder], check=True, stdout=subprocess.DEVNULL)
        kinds = {name: KINDS[name] for name in args.kind or KINDS}
        counts = {
            name: tried(name, kind, Path(folder), seconds=args.seconds / len(kinds), seed=args.seed, keep=args.keep)
            for name, kind in kinds.items()
        }
    print(f"{'kind':<22}{'inputs':>8}{'read':>8}{'refused':>9}{'fell':>6}")
    for name, count in counts.items():
        print(f"{name:<22}{count.total():>8}{count['read']:>8}{count['refused']:>9}{count['fell']:>6}")
    return int(any(count["fell"] for count in counts.values()))


def tried(name: str, kind: Kind, folder: Path, *, seconds: float, seed: int, keep: Path) -> collections.Counter:
    """How many inputs of a kind ended in which way, until the time is over; every seed itself must be read."""
    seeds = [files_in(place) for place in sorted((folder / kind.seeds).iterdir())]
    for place, outcome in zip(seeds, outcomes(kind.read, seeds, key=kind.key), strict=True):
        if outcome.kind == "fell":
            raise SystemExit(f"{name}: an undamaged input, {min(place)}: {outcome.said}")
    fallen: set[str] = set()
    rng, count, end = random.Random(f"{seed} {name}"), collections.Counter(), time.monotonic() + seconds
    while time.monotonic() < end:
        inputs = [mutated(rng.choice(seeds), rng) for _ in range(kind.batch)]
        for files, outcome in zip(inputs, outcomes(kind.read, inputs, key=kind.key), strict=True):
            count[outcome.kind] += 1
            if outcome.kind == "fell":
                last = (outcome.said.strip().splitlines() or [""])[-1][:300]
                frame = next((x for x in reversed(outcome.said.splitlines()) if "/fuzz/" not in x and "File" in x), "")
                alike = re.sub(r"[\d\W]+", " ", re.sub(rf"{tempfile.gettempdir()}/\S*", "", last))[:30] + frame
                if alike not in fallen:
                    place = keep / f"{kind.seeds}-{seed}-{count.total()}"
                    write(place, files | {"SAID.txt": outcome.said.encode(errors="replace")})
                    print(f"{name}: {place}: {last!r}", file=sys.stderr)
                fallen.add(alike)
    return count


def files_in(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def write(place: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
