"""How fast RadGraph studies are read, and with how much memory: `bench_radgraph`.

The file that is read is made here by writing the studies of a small file again and again under new ids.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_pipelines.radgraph import iter_label_matrices, iter_studies

_GOLDEN = Path(__file__).parents[2] / "tests/golden/radgraph.json"


def bench_radgraph(*, studies: int = 20_000, runs: int = 5, memory_at: tuple[int, ...] = ()) -> dict:
    """Time `iter_label_matrices` on one core, from bytes on disk to matrices.

    The studies are those of the golden file of the checkout, or the reports of 100 phantoms where the package is
    installed without it.

    Args:
      studies: in the file that is read.
      runs: repetitions.
      memory_at: numbers of studies at which the peak memory of a process of its own is measured as well.

    Returns:
      {"studies_per_minute": median of the runs by the clock, "runs": all of them, "cpu_runs": the same by the
      processor time of this process, which other jobs of the machine disturb less, "studies", "megabytes", "source",
      "peak_rss_mb": {number of studies: peak resident memory of a process that only reads them}}.
    """
    few, peaks = _studies(), {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "radgraph.json"
        write_repeated(path, few, studies=studies)
        megabytes = path.stat().st_size / 1e6
        rates = [_rate(path) for _ in range(runs)]
        for count in memory_at:
            write_repeated(path, few, studies=count)
            peaks[str(count)] = round(peak_memory(path) / 1e6, 1)
    return {
        "studies_per_minute": round(float(np.median([rate["clock"] for rate in rates]))),
        "runs": [rate["clock"] for rate in rates],
        "cpu_runs": [rate["cpu"] for rate in rates],
        "studies": studies,
        "megabytes": round(megabytes, 1),
        "source": _GOLDEN.name if _GOLDEN.exists() else "phantom reports",
        "peak_rss_mb": peaks,
    }


def _studies() -> dict[str, object]:
    if _GOLDEN.exists():
        return dict(iter_studies(_GOLDEN))
    from data_pipelines.phantom import draw
    from data_pipelines.reports import extract

    return {str(i): extract(draw(i, size=64).report) for i in range(100)}


def write_repeated(path: Path, few: Mapping[str, object], *, studies: int) -> None:
    """Write a RadGraph file of `studies` entries, the given ones over and over, with MIMIC-CXR's kind of keys."""
    texts = [json.dumps(study) for study in few.values()]
    with path.open("w", encoding="utf-8") as file:
        for i in range(studies):
            opening = "{" if i == 0 else ", "
            file.write(f'{opening}"p10/p10000000/s{50_000_000 + i}.txt": {texts[i % len(texts)]}')
        file.write("}")


def _rate(path: Path) -> dict[str, int]:
    clock, cpu = time.perf_counter(), time.process_time()
    studies = 60 * _read(path)
    return {
        "clock": round(studies / (time.perf_counter() - clock)),
        "cpu": round(studies / (time.process_time() - cpu)),
    }


def _read(path: Path) -> int:
    return sum(1 for _ in iter_label_matrices(path))


def peak_memory(path: Path) -> int:
    """Peak resident bytes of a fresh process that reads all label matrices of a file (Linux)."""
    code = f"import sys; from {__name__} import read_and_print_peak; read_and_print_peak(sys.argv[1])"
    command = [sys.executable, "-c", code, str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def read_and_print_peak(path: str) -> None:
    """What that process does; by Linux's own count, since `ru_maxrss` begins at the parent's size."""
    _read(Path(path))
    print(1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]))
