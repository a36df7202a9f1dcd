"""`medslip evaluate --checkpoint MODEL --out DIR [--config configs/eval/DATA.py] [--config.x.y=value ...]`.

Zero-shot classification and grounding of a model by a protocol (medslip_jax/evaluation/protocol.py), by default on the
test split of the model's own data. Writes metrics.json, predictions.npz, reliability.png, heatmaps.png and
grounding.txt (every protocol, where the data have boxes or masks); `medslip compare` tests two results against each
other.
"""

import argparse
from pathlib import Path

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.evaluation import evaluate
from medslip_jax.evaluation.protocol_files import FLAGS, load_protocol
from medslip_jax.report.pictures import FILES, write_pictures
from medslip_jax.report.tables.evaluation import summary


def main(argv: list[str]) -> int:
    args, rest = _parser().parse_known_args(argv)
    protocol = load_protocol(rest, flags={name: getattr(args, name) for name in FLAGS})
    out = Path(args.out)
    evaluation = evaluate(args.checkpoint, protocol, out=out, books=args.books)
    write_pictures(evaluation, out)
    print(summary(evaluation.metrics))
    written = (out / name for name in ("metrics.json", "predictions.npz", *FILES))
    print("\nwritten: " + "\n         ".join(str(path) for path in written if path.exists()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "evaluate",
        "medslip evaluate --checkpoint runs/a --out runs/a/zero_shot",
        "medslip evaluate --config configs/eval/rsna.py --checkpoint runs/a --out runs/a/rsna --data_dir data",
        description=__doc__,
    )
    add = parser.add_argument
    forms = "a --workdir of pretrain or a checkpoint in it, a published model, a .pth or .safetensors file, a hub id"
    add("--checkpoint", required=True, metavar="MODEL", help=forms)
    add("--out", required=True, help="directory of the results")
    add("--books", metavar="FILE.npz", help="text tables, where the checkpoint has none")
    add("--data", help="built data set: name or path; the checkpoint's by default")
    add("--data_dir", help="where it was built; the checkpoint's by default")
    add("--split", help="what is judged (test)")
    add("--threshold_split", help='thresholds come from it (validation); "" for none')
    add("--resamples", type=int, help="of the patient-level bootstrap (1000)")
    add("--batch_size", type=int, help="the checkpoint's by default")
    add("--pictures", type=int, help="cases in heatmaps.png (12); 0 for none")
    add("--encoder", help="BERT of queries given as text; the text tables' by default")
    return parser
