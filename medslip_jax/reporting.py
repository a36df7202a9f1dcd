"""`medslip report RUN_DIR [--results DIR] [--out FILE.html] [--data_dir DIR] [--cases N]`.

One HTML page on a run after `medslip evaluate`: curves, tables, calibration and cases, in one file without network.
"""

import argparse
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from data_pipelines.datasets import open_split
from medslip_jax.checkpoint import find_checkpoint, find_latest, read_config
from medslip_jax.errors import InputError
from medslip_jax.files import write_bytes
from medslip_jax.report.run_cases import choose
from medslip_jax.report.run_gallery import Case, case_of
from medslip_jax.report.run_page import RunContents, page
from medslip_jax.results import ids_hash

_NEEDED = ("image_id", "patient_id", "index", "labels", "pathology", "pathology_names")
_MAX_CASES = 200


def main(argv: list[str]) -> int:
    """Runs the verb: 0; `InputError` for results that are missing or cannot be used."""
    parser = argparse.ArgumentParser(
        "medslip report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN_DIR", help="a --workdir of pretrain")
    parser.add_argument("--results", help="--out of evaluate; RUN_DIR/zero_shot by default")
    parser.add_argument("--out", metavar="FILE.html", help="RESULTS/report.html by default")
    parser.add_argument("--data_dir", help="where the judged data set was built; the checkpoint's by default")
    parser.add_argument("--cases", type=int, default=12, help="images in the gallery (%(default)s); 0 for none")
    args = parser.parse_args(argv)
    if not 0 <= args.cases <= _MAX_CASES:
        raise InputError(f"--cases {args.cases}: give a number from 0 to {_MAX_CASES}")
    results = Path(args.results or Path(args.run) / "zero_shot")
    out = Path(args.out or results / "report.html")
    contents = read_run(args.run, results=results, data_dir=args.data_dir, cases=args.cases)
    data = page(contents).encode()
    write_bytes(out, data)
    for line in (*contents.warnings, *([contents.no_cases] if contents.no_cases else [])):
        print(f"note: {line}")
    print(f"written: {out} ({len(data) / 1e6:.1f} MB)")
    return 0


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
        raise InputError(f"{run}: no such directory; give a --workdir of `medslip pretrain`")
    result = read_result(results / "metrics.json", run=run)
    predictions = read_predictions(results / "predictions.npz", result=result)
    lines, unreadable = _training(run / "metrics.jsonl")
    config = _config(run)
    chosen: list[Case] = []
    no_cases = "No gallery: --cases 0." if not cases else ""
    if cases:
        try:
            chosen = _cases(predictions, result, config=config, data_dir=data_dir, count=cases)
            no_cases = "" if chosen else "No gallery: no class with both kinds of labels has a threshold."
        except InputError as error:
            no_cases = f"No gallery: {error}; --data_dir DIR says where the data set was built"
    return RunContents(
        run=str(run),
        results=str(results),
        result=result,
        predictions=predictions,
        training=lines,
        unreadable=unreadable,
        cases=chosen,
        no_cases=no_cases,
        warnings=_warnings(run, result),
    )


def read_result(file: Path, *, run: Path) -> dict:
    """What `medslip evaluate` wrote as metrics.json."""
    if not file.is_file():
        raise InputError(
            f"{file}: not there; first `medslip evaluate --checkpoint {run} --out {file.parent}`, or give --results"
        )
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        reports = [section["report"] for section in result["classification"].values()]
        known = bool(reports) and all(
            isinstance(report["classes"], dict) and isinstance(report["macro"]["by_threshold_source"], dict)
            for report in reports
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a result of `medslip evaluate` ({_short(error)}); evaluate again") from error
    if not known:
        raise InputError(f"{file}: not a result of `medslip evaluate`; evaluate again")
    return result


def read_predictions(file: Path, *, result: Mapping) -> dict[str, np.ndarray]:
    """The arrays of predictions.npz, which belong to `result`."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: cannot be read ({_short(error)}); evaluate again") from error
    lacking = [key for key in _NEEDED if key not in found]
    if lacking:
        raise InputError(f"{file}: has no array {lacking[0]!r}; evaluate again")
    shape = (len(found["image_id"]), len(found["pathology_names"]))
    if not shape[0] or found["pathology"].shape != shape or found["labels"].shape != shape:
        raise InputError(f"{file}: its arrays do not fit each other; evaluate again")
    if not np.isfinite(found["pathology"]).all():
        raise InputError(f"{file}: holds probabilities that are not finite; evaluate again")
    if (result.get("data") or {}).get("ids_sha256") != ids_hash(found):
        raise InputError(f"{file}: other images than those of metrics.json beside it; evaluate again")
    return found


def _cases(
    predictions: Mapping[str, np.ndarray],
    result: Mapping,
    *,
    config: ConfigDict | None,
    data_dir: str | None,
    count: int,
) -> list[Case]:
    """The chosen images with their records; `InputError` if the data set is not there or is another one."""
    protocol = result.get("protocol") or {}
    directory = data_dir or (protocol.get("data") or {}).get("dir") or (config.data.dir if config is not None else None)
    if directory is None:
        raise InputError("neither the results nor a checkpoint of the run say where the data lie")
    focal = (protocol.get("grounding") or {}).get("focal") or (
        config.eval.get("focal", ()) if config is not None else ()
    )
    section = result["classification"].get("pathology")
    if section is None:
        raise InputError("only queries given as text were judged")
    source = open_split(directory, result["data"]["name"], result["data"]["split"])
    cases = []
    for choice in choose(predictions, section["report"], focal=focal, count=count):
        index, wanted = int(predictions["index"][choice.row]), str(predictions["image_id"][choice.row])
        record = source[index] if index < len(source) else {}
        if record.get("image_id") != wanted:
            raise InputError(f"{directory}: its record {index} is not {wanted}, so it was built anew or differently")
        cases.append(case_of(choice, record, predictions))
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


def _config(run: Path) -> ConfigDict | None:
    try:
        return read_config(find_checkpoint(run))
    except InputError:
        return None


def _warnings(run: Path, result: Mapping) -> list[str]:
    """What a reader would otherwise take wrongly."""
    judged, newest = (result.get("checkpoint") or {}).get("path"), find_latest(run)
    if newest is None or judged is None or Path(judged).name == newest.name:
        return []
    return [f"The results are of checkpoint {judged}, but the run's newest is {newest}: evaluate again for that one."]


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
