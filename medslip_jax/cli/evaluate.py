"""`medslip evaluate --checkpoint MODEL --out DIR [--config configs/eval/DATA.py] [--config.x.y=value ...]`.

Zero-shot classification and grounding of a model by a protocol (medslip_jax/evaluation/protocol.py), by default on the
test split of the model's own data. Writes metrics.json, predictions.npz, reliability.png, heatmaps.png and
grounding.txt (every protocol, where the data have boxes or masks); `medslip compare` tests two results against each
other.
"""

import argparse
from pathlib import Path

from ml_collections import ConfigDict

from medslip_jax.cli.help_layout import help_layout
from medslip_jax.evaluation import grounding, zero_shot
from medslip_jax.evaluation.judging import open_model, open_task, score_splits, where_it_is
from medslip_jax.evaluation.protocol import FLAGS, default_protocol, load_protocol
from medslip_jax.evaluation.result_files import round_numbers
from medslip_jax.evaluation.results import FILES, header, prompts, write_results
from medslip_jax.report.tables.evaluation import summary
from medslip_jax.storage.files import made_directory


def main(argv: list[str]) -> int:
    args, rest = _parser().parse_known_args(argv)
    protocol = load_protocol(rest, flags={name: getattr(args, name) for name in FLAGS})
    result = evaluate(args.checkpoint, protocol, out=args.out, books=args.books)
    print(summary(result))
    written = (Path(args.out) / name for name in FILES)
    print("\nwritten: " + "\n         ".join(str(path) for path in written if path.exists()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "medslip evaluate",
        **help_layout(
            "medslip evaluate --checkpoint runs/a --out runs/a/zero_shot",
            "medslip evaluate --config configs/eval/rsna.py --checkpoint runs/a --out runs/a/rsna --data_dir data",
            description=__doc__,
        ),
    )
    add = parser.add_argument
    add(
        "--checkpoint",
        required=True,
        metavar="MODEL",
        help="a --workdir of pretrain or a checkpoint in it, a published model, a .pth or .safetensors file, a hub id",
    )
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


def evaluate(
    checkpoint: str | Path,
    protocol: ConfigDict | None = None,
    *,
    out: str | Path,
    books: str | Path | None = None,
) -> dict:
    """Judges a model by a protocol and writes the results below `out`; returns what `metrics.json` holds.

    Args:
      checkpoint: whatever `pretrained.load` reads: a run, a checkpoint, published weights, a .pth file, a hub id.
      protocol: see `protocol.default_protocol`, which is the default.
      out: directory for metrics.json, predictions.npz, pictures and grounding.txt; each replaced whole.
      books: text tables, where the checkpoint has none.

    Raises:
      InputError: model, protocol or data cannot be used, or nothing can be written.
    """
    task = open_task(open_model(checkpoint, books=books), default_protocol() if protocol is None else protocol)
    out = made_directory(out, flag="--out")
    splits = score_splits(task)
    judged = zero_shot.classify(**splits, judging=task.judging)
    names = list(judged["pathology"]["report"]["classes"]) if "pathology" in judged else []
    result = header(task, splits, checkpoint=where_it_is(checkpoint))
    result |= {"prompts": prompts(task, names), "classification": round_numbers(judged)}
    if task.map_classes or task.map_anatomies:
        p = task.protocol
        maps = {"classes": task.map_classes, "anatomies": task.map_anatomies, "focal": p.grounding.focal}
        found = grounding.ground(**splits, **maps, resamples=p.resamples, seed=p.seed)
        result["grounding"] = round_numbers(found)
    write_results(out, result, splits["test"], task=task)
    return result
