"""Weights from one form to another: PyTorch files, safetensors, checkpoint directories, what goes to a hub."""

import json
from collections.abc import Iterable
from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import Experiment
from medslip_jax.weights.loading import load
from medslip_jax.weights.saving import DirectoryForm, form_of, save_orbax, save_pretrained, save_weights, targets


def convert(
    source: str | Path,
    to: str | Path,
    *,
    form: DirectoryForm | None = None,
    overwrite: bool = False,
    expected: Experiment | None = None,
    books: str | Path | None = None,
    excuse: Iterable[str] = (),
    license: str | None = None,
    metrics: str | Path | None = None,
) -> dict:
    """Reads a model and writes it in another form; a target is replaced whole or left as it was.

    Example:
      convert("MeDSLIP_resnet50.pth", "runs/released", books="books_clinicalbert.npz")

    Args:
      source: whatever `load` reads.
      to: a `.pth`, `.pt`, `.bin` or `.safetensors` file, or a directory.
      form: of a directory, "orbax" (the default) or "pretrained".
      overwrite: replace what is there.
      expected, books, excuse: as of `load`.
      license: of the weights, for the model card of "pretrained".
      metrics: metrics.json of an evaluation, for that card.

    Returns:
      What `load` returns, and "written": the paths.

    Raises:
      InputError: a source that cannot be used, or a target that may not be written.
    """
    to, chosen = Path(to), form_of(Path(to), form or "orbax")
    if form and chosen == "weights":
        raise InputError(f"--format {form}: is for directories, but --to {to} is a file")
    if chosen != "pretrained" and (license or metrics):
        raise InputError("--license and --metrics belong to --format pretrained and its model card")
    if chosen == "pretrained" and not license:
        raise InputError("--license is missing: say under which licence the weights may be used, such as cc-by-nc-4.0")
    taken = [path for path in targets(to, chosen) if path.exists()]
    if taken and not overwrite:
        raise InputError(f"--to: {taken[0]} is there already; give another name or --overwrite")
    if not to.absolute().parent.is_dir():
        raise InputError(f"--to: no directory {to.absolute().parent}; make it first")
    found = load(source, expected=expected, books=books, excuse=excuse)
    if chosen == "weights":
        save_weights(found["pretrained"], to)
    elif chosen == "orbax":
        save_orbax(found["pretrained"], to)
    else:
        save_pretrained(found["pretrained"], to, license=license or "", metrics=_metrics(metrics))
    return found | {"written": [path for path in targets(to, chosen) if path.exists()]}


def _metrics(path: str | Path | None) -> dict | None:
    """The numbers of the card from `medslip evaluate`'s result: macro AUROC and pointing games, with intervals."""
    if path is None:
        return None
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
        section = result["classification"]["pathology"]
        interval = section["intervals"]["macro"]["auroc"]
        where = f"{result['data']['name']} {result['data']['split']}"
        macro = {"value": section["report"]["macro"]["auroc"], "low": interval["low"], "high": interval["high"]}
        metrics = {f"macro AUROC, zero-shot, {where}": macro}
        for group, row in result.get("grounding", {}).get("pooled", {}).items():
            interval = row["intervals"]["pointing_cell"]
            metrics[f"pointing game, {group} findings, {where}"] = {
                "value": row["means"]["pointing_cell"],
                "low": interval["low"],
                "high": interval["high"],
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--metrics {path}: not a metrics.json of `medslip evaluate` ({error})") from error
    return metrics
