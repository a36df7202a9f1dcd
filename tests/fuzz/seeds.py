"""Writes good inputs of every kind below a folder, KIND/NUMBER/files: `python -m fuzz.seeds FOLDER`.

In a process of its own: what makes them starts JAX, and a process that has started JAX cannot be forked.
"""

import io
import json
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
from dicom_files import dicom_bytes, table
from folder_csv import OPTIONS
from folder_csv import write as write_csv
from openi_tree import REPORTS, write_archive, xml
from PIL import Image
from places import CONFIGS, GOLDEN, SHARED
from pydicom import uid
from tiny_weights import CONFIGS as MODELS
from tiny_weights import state_of

from data_pipelines import images
from data_pipelines.datasets import build
from data_pipelines.datasets.phantom import PhantomOptions
from data_pipelines.phantom import draw
from data_pipelines.reports import extract
from medslip_jax.evaluation import evaluate
from medslip_jax.experiment import load_config
from medslip_jax.storage.tensor_files import write_state
from medslip_jax.testing import tiny_books
from medslip_jax.text.books import save_books
from medslip_jax.weights.loading import load

_PICTURE = draw(3, size=64).image


def write_seeds(folder: Path) -> None:
    """All kinds; those of .pth only where PyTorch is."""
    for kind, inputs in (
        ("dicom", _dicoms()),
        ("picture", _pictures()),
        ("report", _reports()),
        ("csv", _csvs(folder)),
    ):
        for number, files in enumerate(inputs):
            _write(folder / kind / str(number), files)
    for number in REPORTS:
        _write(folder / "xml" / str(number), {"1.xml": xml(number)})
    (folder / "archive" / "0").mkdir(parents=True)
    write_archive(folder / "archive" / "0" / "NLMCXR_reports.tgz")
    _write(folder / "radgraph" / "0", {"graphs.json": _radgraph()})
    outputs = [{"0": extract("Left effusion."), "1": extract("No pneumothorax.")}]
    _write(folder / "radgraph" / "1", {"outputs.json": json.dumps(outputs).encode()})
    _write_models(folder)
    _write_run(folder)


def _write(place: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


def _dicoms() -> list[dict[str, bytes]]:
    deep = _PICTURE.astype(np.uint16) * 16
    frame = cv2.imencode(".jpg", _PICTURE)[1].tobytes()
    found = [
        dicom_bytes(_PICTURE, WindowCenter=100, WindowWidth=180, PatientAge="050Y"),
        dicom_bytes(deep, BitsStored=12, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-9),
        dicom_bytes(deep, BitsStored=12, VOILUTSequence=table((np.arange(4096) * 16).tolist(), first=0, bits=16)),
        dicom_bytes(deep, BitsStored=12, compress=uid.RLELossless),
        dicom_bytes(_PICTURE, encoded=(frame, uid.JPEGBaseline8Bit)),
        dicom_bytes(np.stack([_PICTURE] * 3, axis=-1)),
    ]
    real = sorted((SHARED / "cxr_sample" / "dicom").rglob("*.dcm"), key=lambda path: path.stat().st_size)[:2]
    cases = sorted((SHARED / "field_cases" / "dicom").glob("*.dcm"))
    return [{"x.dcm": data} for data in (*found, *(path.read_bytes() for path in (*real, *cases)))]


def _pictures() -> list[dict[str, bytes]]:
    def saved(image: Image.Image, kind: str, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    grey = Image.fromarray(_PICTURE)
    deep = Image.fromarray(_PICTURE.astype(np.uint16) * 257)
    pictures = [images.encode_grey(_PICTURE, kind="png"), images.encode_grey(_PICTURE), saved(deep, "PNG")]
    pictures += [saved(grey.convert(mode), "PNG") for mode in ("RGBA", "P", "1", "LA")]
    pictures += [saved(grey.convert("RGB"), "JPEG", progressive=True), saved(grey.convert("CMYK"), "JPEG")]
    return [{"x.png": data} for data in pictures]


def _reports() -> list[dict[str, bytes]]:
    texts = [draw(i, size=64).report for i in range(4)]
    texts += [" ".join(part) for _, *part, _ in REPORTS.values()]
    texts.append(
        "FINDINGS: No pneumothorax, effusion - left lung clear.\\n\\nIMPRESSION:\n1. Non-displaced fracture.\n"
    )
    return [{"report.txt": text.encode()} for text in texts]


def _csvs(folder: Path) -> list[dict[str, bytes]]:
    boxes = json.dumps([{"x": 1, "y": 2, "w": 30, "h": 40, "pathology": "Effusion"}])
    rows = [
        {"file": "a.png", "text": "Left effusion.", "boxes": boxes},
        {"file": "b.png", "findings": "Infiltration|Opacities", "view": "PA", "origin": "NIH"},
        {"file": "c.png", "split": "test", "text": 'He said "clear",\nand left.'},
    ]
    place = folder / "making"
    place.mkdir(parents=True)
    path = write_csv(place, rows)
    return [{"labels.csv": path.read_bytes(), "options.json": json.dumps(OPTIONS).encode()}]


def _radgraph() -> bytes:
    studies = json.loads((GOLDEN / "radgraph.json").read_text())
    return json.dumps(dict(list(studies.items())[:6])).encode()


def _write_models(folder: Path) -> None:
    """Weights, text tables and a config."""
    place = folder / "weights"
    state = state_of(MODELS["classifier"])
    for number, names in enumerate((["x.safetensors"], ["x.pth"])):
        (place / str(number)).mkdir(parents=True)
        try:
            write_state(place / str(number) / names[0], state)
        except Exception as error:  # PyTorch is an extra
            print(error, file=sys.stderr)
            (place / str(number)).rmdir()
    (folder / "books" / "0").mkdir(parents=True)
    save_books(tiny_books(), path=folder / "books" / "0" / "books.npz")
    _write(folder / "config" / "0", {"phantom.py": (CONFIGS / "phantom.py").read_bytes()})


def _write_run(folder: Path) -> None:
    """A checkpoint as `pretrain` leaves it, and what `evaluate` says of it."""
    from medslip_jax.pretraining import pretrain

    data = folder / "making" / "data"
    build("phantom", out=data, options=PhantomOptions(train=24, validation=8, test=16, size=64), workers=1)
    config = load_config([f"--config={CONFIGS / 'phantom.py'}:tiny", f"--config.data.dir={data}"])
    config.data.image_size = 32
    config.model.trunk_width, config.model.embed_dim = 8, 16
    config.model.decoder_ffn_dim, config.model.decoder_layers = 32, 1
    run = folder / "making" / "run"
    pretrain(config, run, stop_after=1)
    newest = next((run / "checkpoints").glob("[0-9]*"))
    files = {
        f"run/checkpoints/{p.relative_to(newest.parent)}": p.read_bytes() for p in newest.rglob("*") if p.is_file()
    }
    _write(folder / "checkpoint" / "0", files)
    leaves = jax.tree.leaves(load(run)["pretrained"].variables)
    total = float(sum(np.abs(np.asarray(leaf, np.float64)).sum() for leaf in leaves))
    (folder / "checkpoint" / "0" / "sum.txt").write_text(repr(total))
    evaluate(str(run), out=folder / "making" / "results")
    _write(
        folder / "results" / "0",
        {f"results/{n}": (folder / "making" / "results" / n).read_bytes() for n in ("metrics.json", "predictions.npz")},
    )


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
