"""`medslip serve --checkpoint A`: a page on this machine that reads X-rays dropped on it. Not for clinical use.

Needs the extra [demo]. The page binds 127.0.0.1, asks no other host for anything and keeps no upload on disk. Ctrl-C
ends it, and so does SIGTERM, with exit code 0.
"""

import argparse

from data_pipelines.images import ImagePolicy, add_image_flags, given_image
from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.demo_page.server import serve
from medslip_jax.errors import InputError


def main(argv: list[str]) -> int:
    """Runs the verb until SIGTERM (0) or Ctrl-C; `InputError` for bad flags, a taken port or without Gradio."""
    args = _parser().parse_args(argv)
    max_bytes = round(args.max_mb * 1e6)
    if max_bytes < 1:
        raise InputError(f"--max_mb {args.max_mb}: must be above 0")
    serve(
        args.checkpoint,
        books=args.books,
        encoder=args.encoder,
        host=args.host,
        port=args.port,
        max_bytes=max_bytes,
        policy=ImagePolicy(**given_image(args)),
    )
    print("medslip serve: ended")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("serve", "medslip serve --checkpoint runs/a --port 7860", description=__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="A", help="as of medslip convert --from: run, file, directory or hub id")
    add("--encoder", metavar="BERT", help="that wrote the text tables, for findings in your own words; as of books")
    add("--books", metavar="FILE.npz", help="text tables, where A has none")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s); there is no login")
    add("--port", type=int, default=7860, help="0 for any free one (%(default)s)")
    add("--max_mb", type=float, default=20, help="largest file that is read, in 1e6 bytes (%(default)s)")
    add_image_flags(parser, names=("voi", "polarity", "sixteen_bit", "equalise"))
    return parser
