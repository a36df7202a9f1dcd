"""Do the accelerators' extras resolve on a clean environment, and do their versions fit jax's? One line each.

  python .ci/resolve_extras.py python3.11 python3.13     # the interpreters; the one that runs this by default

pip only reads metadata for this (about a minute an extra, nothing is installed), so .ci/run leaves it out: run it when
setup.py's requirements change or JAX has a new release.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The packages that have to be of jax's own version, and those that only have to be there. [cuda] is [cuda13].
EXTRAS = {
    "cuda12": (("jaxlib", "jax-cuda12-plugin", "jax-cuda12-pjrt"), ("nvidia-cudnn-cu12",)),
    "cuda13": (("jaxlib", "jax-cuda13-plugin", "jax-cuda13-pjrt"), ("nvidia-cudnn-cu13",)),
    "tpu": (("jaxlib",), ("libtpu",)),
}


def versions(python: str, extra: str) -> dict[str, str]:
    """{package: version} of what pip would install into an empty environment."""
    with tempfile.TemporaryDirectory() as directory:
        clean, report = Path(directory) / "clean", Path(directory) / "report.json"
        subprocess.run([python, "-m", "venv", str(clean)], check=True)
        pip = [str(clean / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        what = ["--dry-run", "--ignore-installed", "--report", str(report), "--editable", f"{ROOT}[{extra}]"]
        subprocess.run([*pip, *what], check=True)
        found = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return {entry["name"].lower(): entry["version"] for entry in found}


def main(pythons: list[str]) -> int:
    """0 if all fit; pip's own message and its exception where an extra does not resolve."""
    bad = 0
    for python in pythons or [sys.executable]:
        for extra, (same, there) in EXTRAS.items():
            found = versions(python, extra)
            misfits = [name for name in same if found.get(name) != found["jax"]]
            misfits += [name for name in there if name not in found]
            bad += bool(misfits)
            shown = ", ".join(f"{name} {found.get(name)}" for name in ("jax", *same, *there))
            print(
                f"{python} [{extra}]: {shown}" + (f"; DOES NOT FIT: {', '.join(misfits)}" if misfits else ""),
                flush=True,
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
