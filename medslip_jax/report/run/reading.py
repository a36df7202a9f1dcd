"""A run and its results as the page shows them, read from disk."""

import json
from collections.abc import Mapping
from pathlib import Path

from data_pipelines.datasets import open_split
from medslip_jax.checkpoints import find_checkpoint, find_latest, read_config
from medslip_jax.errors import InputError
from medslip_jax.evaluation.result_files import Results, read_results
from medslip_jax.report.run.cases import choose
from medslip_jax.report.run.gallery import Case, case_of
from medslip_jax.report.run.page import RunContents


def read_run(run: str | Path, *, results: Path, data_dir: str | None = None, cases: int = 12) -> RunContents:
    """Everything on the page, read from disk.

    Args:
      run: directory of the run; its metrics.jsonl and config may be missing.
      results: directory of metrics.json and predictions.npz.
      data_dir: where the data lie, if not where the config says.
      cases: images in the gallery at most.

    Raises:
      InputError: no such run, or results that are missing, damaged or of two evaluations.
    """
    run = Path(run)
    if not run.is_dir():
        what = "is a file, not a run" if run.exists() else "no such directory"
        raise InputError(f"{run}: {what}; give a --workdir of `medslip pretrain`")
    how = f"`medslip evaluate --checkpoint {run} --out {results}` writes it, or give --results"
    found = read_results(results, missing=how)
    lines, unreadable = _training(run / "metrics.jsonl")
    config = _config(run)
    chosen: list[Case] = []
    no_cases = "No gallery: --cases 0." if not cases else ""
    if cases:
        try:
            chosen = _cases(found, config=config, data_dir=data_dir, count=cases)
            no_cases = "" if chosen else "No gallery: no class with both kinds of labels has a threshold."
        except InputError as error:
            no_cases = f"No gallery: {error}; --data_dir DIR says where the data set was built"
    return RunContents(
        run=str(run),
        results=found,
        training=lines,
        unreadable=unreadable,
        cases=chosen,
        no_cases=no_cases,
        warnings=_warnings(run, found.metrics),
    )


def _cases(results: Results, *, config: Mapping | None, data_dir: str | None, count: int) -> list[Case]:
    """The chosen images with their records; `InputError` if the data set is not there or is another one."""
    protocol, data = results.metrics.get("protocol") or {}, results.metrics["data"]
    directory = data_dir or (protocol.get("data") or {}).get("dir") or (config["data"]["dir"] if config else None)
    if directory is None:
        raise InputError("neither the results nor a checkpoint of the run say where the data lie")
    focal = (protocol.get("grounding") or {}).get("focal") or (config["eval"].get("focal", ()) if config else ())
    source = open_split(directory, data["name"], data["split"])
    cases = []
    for choice in choose(results, focal=focal, count=count):
        index, wanted = int(results.arrays["index"][choice.row]), str(results.arrays["image_id"][choice.row])
        record = source[index] if index < len(source) else {}
        if record.get("image_id") != wanted:
            raise InputError(f"{directory}: its record {index} is not {wanted}, so it was built anew or differently")
        cases.append(case_of(choice, record, results.arrays))
    return cases


def _training(file: Path) -> tuple[list[dict] | None, int]:
    """(lines with a step, how many others); None for no file."""
    if not file.is_file():
        return None, 0
    try:
        texts = [text for text in file.read_text(encoding="utf-8", errors="replace").splitlines() if text.strip()]
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    lines = [line for text in texts if (line := _line(text))]
    return lines, len(texts) - len(lines)


def _line(text: str) -> dict | None:
    """A line that was cut off when the process died is none."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def _config(run: Path) -> dict | None:
    try:
        return read_config(find_checkpoint(run))
    except InputError:
        return None


def _warnings(run: Path, result: Mapping) -> list[str]:
    """What a reader would otherwise take wrongly."""
    if "training" in result:  # a fine-tuned model is judged at its best step, not its last
        return []
    judged, newest = (result.get("checkpoint") or {}).get("path"), find_latest(run)
    if newest is None or judged is None or Path(judged).name == newest.name:
        return []
    return [f"The results are of checkpoint {judged}, but the run's newest is {newest}: evaluate again for that one."]
