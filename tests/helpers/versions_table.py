"""One row for every run of the suite on this machine: with which versions, and how many tests passed.

.ci/run names the file of the rows in VERSIONS_TABLE; the table so far stands above pytest's last line.
"""

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

VARIABLE = "VERSIONS_TABLE"
PACKAGES = ("jax", "flax", "orbax-checkpoint", "grain", "numpy")
OUTCOMES = ("passed", "failed", "skipped")
_STARTED = time.monotonic()


def pytest_terminal_summary(terminalreporter, config) -> None:
    """pytest's hook, which xdist's workers call, too; a run writes one row."""
    if VARIABLE not in os.environ or hasattr(config, "workerinput"):
        return
    stats = {name: len(terminalreporter.stats.get(name, ())) for name in OUTCOMES}
    stats["failed"] += len(terminalreporter.stats.get("error", ()))
    file = Path(os.environ[VARIABLE])
    with file.open("a") as rows:
        rows.write(json.dumps(row(config.option.markexpr or "whole suite", stats)) + "\n")
    terminalreporter.section("versions")
    for line in table([json.loads(line) for line in file.read_text().splitlines()]):
        terminalreporter.line(line)


def row(tests: str, stats: dict[str, int]) -> dict[str, str]:
    """{column: text} of this interpreter.

    Args:
      tests: the marker expression.
      stats: {outcome: how many tests}.
    """
    minutes, seconds = divmod(round(time.monotonic() - _STARTED), 60)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    counts = {name: str(count) for name, count in stats.items()}
    ends = {"tests": tests, **counts, "time": f"{minutes}:{seconds:02}"}
    return {"Python": platform.python_version(), **versions, **ends}


def table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a Markdown table, padded to equal width."""
    columns = list(rows[0])
    widths = {name: max(len(name), *(len(one[name]) for one in rows)) for name in columns}
    lines = [{name: name for name in columns}, {name: "-" * widths[name] for name in columns}, *rows]
    return ["| " + " | ".join(f"{line[name]:<{widths[name]}}" for name in columns) + " |" for line in lines]
