"""`medslip convert --from A --to B`: weights between PyTorch files, safetensors and checkpoint directories.

A and B may be a released-style .pth, a .safetensors file or a checkpoint directory (Orbax); A also a run, a directory
of `save_pretrained` or a hub id, B also such a directory (--format pretrained). Optimiser state stays behind.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from medslip_jax.cli.help_layout import help_layout
from medslip_jax.errors import InputError
from medslip_jax.experiment import load_config, read
from medslip_jax.models.kinds import kind_of
from medslip_jax.weights.loading import Pretrained, load
from medslip_jax.weights.saving import form_of, save_orbax, save_pretrained, save_weights, targets


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or `InputError` for a source that cannot be used or a target that may not be written."""
    args = _parser().parse_args(argv)
    to = Path(args.to)
    form = form_of(to, args.format or "orbax")
    if args.format and form == "weights":
        raise InputError(f"--format {args.format}: is for directories, but --to {to} is a file")
    if form != "pretrained" and (args.license or args.metrics):
        raise InputError("--license and --metrics belong to --format pretrained and its model card")
    if form == "pretrained" and not args.license:
        raise InputError("--license is missing: say under which licence the weights may be used, such as cc-by-nc-4.0")
    taken = [path for path in targets(to, form) if path.exists()]
    if taken and not args.overwrite:
        raise InputError(f"--to: {taken[0]} is there already; give another name or --overwrite")
    if not to.absolute().parent.is_dir():
        raise InputError(f"--to: no directory {to.absolute().parent}; make it first")
    expected = read(load_config([f"--config={args.config}"])) if args.config else None
    found = load(args.source, expected=expected, books=args.books, excuse=args.excuse)
    pretrained = found["pretrained"]
    print("\n".join(_account(args.source, found)))
    if form == "weights":
        save_weights(pretrained, to)
    elif form == "orbax":
        save_orbax(pretrained, to)
    else:
        save_pretrained(pretrained, to, license=args.license, metrics=_metrics(args.metrics))
    print(f"written: {', '.join(str(path) for path in targets(to, form) if path.exists())}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "medslip convert",
        **help_layout(
            "medslip convert --from MeDSLIP_resnet50.pth --to runs/released --books data/books_clinicalbert.npz",
            "medslip convert --from runs/a --to model.pth",
            "medslip convert --from runs/a --to hub_folder --format pretrained --license cc-by-4.0",
            description=__doc__,
        ),
    )
    add = parser.add_argument
    add("--from", dest="source", required=True, metavar="A", help="file, directory or hub id (owner/name[@rev][/FILE])")
    add("--to", required=True, metavar="B", help=".pth, .pt, .bin or .safetensors file, or a directory")
    add("--format", choices=("orbax", "pretrained"), help="of a directory B (default orbax)")
    add("--books", metavar="FILE.npz", help="text tables that go with the weights, made by `medslip books`")
    add("--config", metavar="FILE[:arg]", help="experiment whose model A must be")
    add(
        "--excuse", action="append", default=[], metavar="NAME", help="tensor that need not fit, * for any part; repeat"
    )
    add("--overwrite", action="store_true", help="replace B")
    add("--license", help="of the weights, for the model card (--format pretrained)")
    add("--metrics", metavar="FILE.json", help="metrics.json of `medslip evaluate`, for the model card")
    return parser


def _account(source: str, found: Mapping) -> list[str]:
    """What was found in A, line by line."""
    pretrained: Pretrained = found["pretrained"]
    kind = kind_of(pretrained.config)
    lines = [f"{source}: {kind}, {pretrained.config.backbone}, width {pretrained.config.trunk_width}"]
    lines += [f"  {line}" for line in found["report"].lines()]
    if found["left_out"]:
        lines.append(f"  left out: {', '.join(found['left_out'])}")
    if found["assumed"]:
        values = ", ".join(f"{key}={value}" for key, value in found["assumed"].items())
        lines.append(f"  assumed, as a bare state_dict does not show it: {values}; --config says otherwise")
    if kind == "medslip":
        known = pretrained.books is not None
        name = pretrained.books.provenance.get("encoder", "of unknown origin") if known else ""
        lines.append(f"  text tables: {name}" if known else "  text tables: unknown; evaluation needs --books FILE.npz")
    return lines


def _metrics(path: str | None) -> dict | None:
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
