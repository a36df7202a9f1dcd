"""`medslip convert --from A --to B`: weights between PyTorch files, safetensors and checkpoint directories.

A and B may be a released-style .pth, a .safetensors file or a checkpoint directory (Orbax); A also a run, a directory
of `save_pretrained` or a hub id, B also such a directory (--format pretrained). Optimiser state stays behind.
"""

import argparse
from collections.abc import Mapping

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.experiment import load_config, read
from medslip_jax.models.kinds import kind_of
from medslip_jax.weights import convert


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or `InputError` for a source that cannot be used or a target that may not be written."""
    args = _parser().parse_args(argv)
    found = convert(
        args.source,
        args.to,
        form=args.format,
        overwrite=args.overwrite,
        expected=read(load_config([f"--config={args.config}"])) if args.config else None,
        books=args.books,
        excuse=args.excuse,
        license=args.license,
        metrics=args.metrics,
    )
    print("\n".join(_account(args.source, found)))
    print(f"written: {', '.join(map(str, found['written']))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "convert",
        "medslip convert --from MeDSLIP_resnet50.pth --to runs/released --books data/books_clinicalbert.npz",
        "medslip convert --from runs/a --to model.pth",
        "medslip convert --from runs/a --to hub_folder --format pretrained --license cc-by-4.0",
        description=__doc__,
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
    pretrained = found["pretrained"]
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
