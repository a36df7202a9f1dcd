"""Writes constraints/pythonX.Y.txt: the versions of the environment that runs this, which the suite has passed with.

    .venv/bin/python constraints/make.py            # after `make test`
    .venv/bin/python constraints/make.py --check    # prints what the file and the environment have different

Listed is what medslip_jax requires, directly or not; extras and tools of the tests stay out.
"""

import argparse
import importlib.metadata
import platform
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "medslip_jax"
FILE = Path(__file__).parent / f"python{sys.version_info.major}.{sys.version_info.minor}.txt"


def installed() -> dict[str, str]:
    """{package: version} of everything that the package needs in this environment."""
    found: dict[str, str] = {}
    waiting, seen = [Requirement(PACKAGE)], set()
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if (name, *sorted(need.extras)) in seen:
            continue
        seen.add((name, *sorted(need.extras)))
        # One without a version here is of an extra, or for another system.
        known = [{"extra": extra} for extra in ("", *need.extras)]
        for line in importlib.metadata.requires(name) or ():
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate(one) for one in known):
                found[canonicalize_name(inner.name)] = importlib.metadata.version(inner.name)
                waiting.append(inner)
    return dict(sorted(found.items()))


def read(file: Path) -> dict[str, str]:
    """{package: version} of a constraints file."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def text(versions: dict[str, str]) -> str:
    head = f"# Python {platform.python_version()}: the suite passed with these. Written by constraints/make.py.\n"
    return head + "".join(f"{name}=={version}\n" for name, version in versions.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        FILE.write_text(text(installed()))
        print(f"written: {FILE}")
        return
    here, listed = installed(), read(FILE) if FILE.exists() else {}
    for name in sorted(here.keys() | listed.keys()):
        if here.get(name) != listed.get(name):
            print(f"{FILE.name} has {name} {listed.get(name, 'not')}, and here is {here.get(name, 'none')}")


if __name__ == "__main__":
    main()
