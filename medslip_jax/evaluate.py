"""`medslip evaluate --checkpoint DIR --out DIR [--data NAME_OR_PATH] [--data_dir DIR] [--split test]`.

Zero-shot classification and grounding of a checkpoint. Writes `metrics.json`, `predictions.npz` and `heatmaps.png`.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from data_pipelines.datasets import open_split
from data_pipelines.images import decode_grey
from data_pipelines.loader import Loader
from medslip_jax import experiment, grounding, sharding, zero_shot
from medslip_jax.checkpoint import find_checkpoint, read_config, read_variables
from medslip_jax.errors import InputError
from medslip_jax.files import replacing_file, tree_hash, write_bytes
from medslip_jax.pretrain import loader_options, make_trainer
from medslip_jax.report.overlays import OverlayRow, overlay_grid
from medslip_jax.report.tables import classification_table, grounding_table
from medslip_jax.scoring import jit_score_step, score
from medslip_jax.version import __version__
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES, pathology_index


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("medslip evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--checkpoint", required=True, help="a --workdir of pretrain, or one checkpoint in it")
    parser.add_argument("--out", required=True, help="directory of the results")
    parser.add_argument("--data", help="built data set: name or path; the checkpoint's by default")
    parser.add_argument("--data_dir", help="where it was built; the checkpoint's by default")
    parser.add_argument("--books", metavar="FILE.npz", help="text tables, where the checkpoint has none")
    parser.add_argument("--split", default="test")
    parser.add_argument("--threshold_split", default="validation", help='thresholds come from it; "" for none')
    parser.add_argument("--resamples", type=int, default=1000, help="of the patient-level bootstrap")
    parser.add_argument("--batch_size", type=int, help="the checkpoint's by default")
    parser.add_argument("--pictures", type=int, default=12, help="cases in heatmaps.png; 0 for none")
    args = parser.parse_args(argv)
    directory = find_checkpoint(args.checkpoint)
    config = read_config(directory)
    if config.get("kind", "medslip") != "medslip":
        raise InputError(f"{directory}: holds a {config.kind}; zero-shot evaluation takes pre-training models")
    # A path is meant from here, not from the data directory.
    is_path = args.data and "/" in args.data and Path(args.data).is_dir()
    given = str(Path(args.data).absolute()) if is_path else args.data
    config.data.name = given or config.data.name
    if args.books:
        config.books.path = args.books
        if config.books.sha256 == experiment.UNKNOWN_BOOKS:
            config.books.sha256 = ""
    config.data.dir = args.data_dir or config.data.dir
    config.eval.batch_size = args.batch_size or config.eval.batch_size
    result = evaluate(
        directory,
        config,
        out=args.out,
        split=args.split,
        threshold_split=args.threshold_split or None,
        resamples=args.resamples,
        pictures=args.pictures,
    )
    print(summary(result))
    print(f"written: {Path(args.out) / 'metrics.json'}")
    return 0


def evaluate(
    directory: Path,
    config: ConfigDict,
    *,
    out: str | Path,
    split: str = "test",
    threshold_split: str | None = "validation",
    resamples: int = 1000,
    pictures: int = 12,
) -> dict:
    """Scores a split with a checkpoint and writes the results below `out`; returns what `metrics.json` holds.

    Args:
      directory: from `checkpoint.find_checkpoint`.
      config: the checkpoint's, with data.name and data.dir of the data to judge on.
      out: directory for metrics.json, predictions.npz and heatmaps.png; each replaced whole.
      split: what is judged.
      threshold_split: where thresholds come from; None if the data has no such split.
      resamples: of the bootstrap.
      pictures: cases in heatmaps.png.

    Raises:
      InputError: the checkpoint or the data cannot be used.
    """
    out = _writable(out)
    data_dir = experiment.require_built(config)
    mesh = sharding.make_mesh()
    sharding.check_batch_size(mesh, config.eval.batch_size, key="eval.batch_size")
    if threshold_split == split:
        raise InputError(f"--threshold_split {split} is the judged split; give another or --threshold_split ''")
    source = open_split(data_dir, config.data.name, split)
    classes = annotated_classes(source)
    step = jit_score_step(
        make_trainer(config, num_images=len(source)), mesh, map_classes=[pathology_index(c) for c in classes]
    )
    variables = read_variables(directory, sharding=sharding.replicated(mesh))

    def scored(records: Sequence[Mapping]) -> dict:
        options = loader_options(config) | {"batch_size": config.eval.batch_size}
        loader = Loader(records, train=False, **options)
        arrays = score(step, variables, loader, mesh=mesh)
        loader.close()
        return zero_shot.identify(arrays, records)

    test = scored(source)
    validation = scored(open_split(data_dir, config.data.name, threshold_split)) if threshold_split else None
    result = {
        "checkpoint": {"path": str(directory), "sha256": tree_hash(directory / "model")},
        "data": {
            "name": config.data.name,
            "split": split,
            "images": len(source),
            "ids_sha256": ids_hash(test),
        },
        "preprocessing": {
            "image_size": config.data.image_size,
            "resize": "squash",
            "channels": "grey x 3, ImageNet",
        },
        "books": dict(experiment.books(config).provenance) | {"tables": config.books.tables},
        "threshold_split": threshold_split,
        "medslip_jax": __version__,
        "classification": zero_shot.classify(test, validation=validation, resamples=resamples),
    }
    if classes:
        result["grounding"] = grounding.ground(
            test, validation=validation, classes=classes, focal=config.eval.focal, resamples=resamples
        )
    _write_results(out, result, test, source, classes=classes, pictures=pictures)
    return result


def _writable(out: str | Path) -> Path:
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror})") from error
    return out


def _write_results(
    out: Path, result: Mapping, test: Mapping, source: Sequence[Mapping], *, classes: Sequence[str], pictures: int
) -> None:
    write_bytes(out / "metrics.json", json.dumps(result, indent=1, allow_nan=False).encode())
    write_predictions(out / "predictions.npz", test, classes=classes)
    if pictures and classes:
        rows = overlay_rows(test, source, classes=classes, count=pictures)
        overlay_grid(
            rows,
            out / "heatmaps.png",
            title=f"{result['data']['name']} {result['data']['split']}: true boxes and attention",
        )


def annotated_classes(source: Sequence[Mapping]) -> list[str]:
    """Names of the pathologies that have boxes in a split, in vocabulary order."""
    found = {annotation["pathology"] for i in range(len(source)) for annotation in source[i]["annotations"]}
    return [PATHOLOGIES[i] for i in sorted(found - {-1})]


def overlay_rows(test: Mapping, source: Sequence[Mapping], *, classes: Sequence[str], count: int) -> list[OverlayRow]:
    """`count` cases taken in turn from the classes, the first marked images of each: chosen by order, not by result."""
    queues = [
        (name, column, list(grounding.grounding_cases(test, name)["index"])) for column, name in enumerate(classes)
    ]
    rows: list[OverlayRow] = []
    while len(rows) < count and any(queue for _, _, queue in queues):
        for name, column, queue in queues:
            if not queue or len(rows) == count:
                continue
            row = queue.pop(0)
            wanted = pathology_index(name)
            record = source[int(test["index"][row])]
            rows.append(
                OverlayRow(
                    image=decode_grey(record["image"], name=record["image_id"]),
                    attention=grounding.attention_grids(test["pathology_map"][row, column]),
                    name=name,
                    boxes=np.array([a["box"] for a in record["annotations"] if a["pathology"] == wanted]),
                    probability=float(test["pathology"][row, wanted]),
                    truth={1: "present", 0: "absent", -1: "unknown"}[int(test["labels"][row, wanted])],
                )
            )
    return rows


def summary(result: Mapping) -> str:
    """The tables that the command prints."""
    section = result["classification"]["pathology"]
    source = "validation" if result["threshold_split"] else "test-oracle"
    parts = [classification_table(section["report"], intervals=section["intervals"], threshold_source=source)]
    for name, row in result.get("grounding", {}).get("classes", {}).items():
        parts.append(f"{name}\n{grounding_table(row['protocols'])}")
    parts += [_pointing_line(group, row) for group, row in result.get("grounding", {}).get("pooled", {}).items()]
    return "\n\n".join(parts)


def _pointing_line(group: str, row: Mapping) -> str:
    """The pointing game of SPEC 7 (arg-max cell), and the stricter one on the upsampled map, each beside chance."""
    cells = []
    columns = {"cell": "arg-max cell", "pixel": "arg-max pixel", "pixel_stride_aligned": "arg-max pixel, aligned"}
    for key, name in columns.items():
        interval = row["intervals"][f"pointing_{key}"]
        low, high = (f"{interval[end]:.3f}" if interval[end] is not None else "-" for end in ("low", "high"))
        mean, chance = row["means"][f"pointing_{key}"], row["chance"][f"chance_{key.split('_')[0]}"]
        cells.append(f"{name} {mean:.3f} [{low}, {high}] (chance {chance:.3f})")
    return f"pointing game, {group} findings, {row['n_cases']} cases: {'; '.join(cells)}"


def write_predictions(path: Path, test: Mapping, *, classes: Sequence[str]) -> None:
    """Identifiers, probabilities, labels and maps of every image; `numpy.load` reads it without pickle."""
    arrays = {key: test[key] for key in ("image_id", "patient_id", "index", "labels", "pathology")}
    arrays |= {"pathology_names": np.array(PATHOLOGIES), "anatomy_names": np.array(ANATOMIES)}
    arrays |= {key: test[key] for key in ("anatomy", "anatomy_map") if key in test}
    if classes:
        arrays |= {"map_names": np.array(classes), "pathology_map": test["pathology_map"]}
    with replacing_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def ids_hash(test: Mapping) -> str:
    """sha256 of the image ids in order: two results are comparable if theirs agree."""
    return hashlib.sha256("\n".join(test["image_id"]).encode()).hexdigest()
