"""`medslip compare` on small results made by hand: pairing, refusals, the pointing game, the table."""

import json
from pathlib import Path

import numpy as np
import pytest

from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.evaluation import compare
from medslip_jax.evaluation.result_files import ids_hash
from medslip_jax.finetuning import results
from medslip_jax.finetuning.judge import classification_result
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index

NAMES = ("mass", "nodule", "hernia")
N = 60


def result(directory, *, seed, gain=0.0, keep=None, judged=NAMES, pointing=None, **changes):
    """A directory as of `medslip evaluate`: "hernia" has no positive; `keep` are the rows that there are, in order."""
    rng = np.random.default_rng(0)
    columns = [pathology_index(name) for name in NAMES]
    labels = np.full((N, len(PATHOLOGIES)), -1, np.int8)
    labels[:, columns] = rng.random((N, 3)) < (0.4, 0.5, 0.0)
    noise = np.random.default_rng(seed).normal(size=(N, len(PATHOLOGIES)))
    scores = (1 / (1 + np.exp(-noise - gain * (labels == 1)))).astype(np.float32)
    rows = np.arange(N) if keep is None else np.asarray(keep)
    arrays = {
        "image_id": np.array([f"i{k}" for k in range(N)])[rows],
        "patient_id": np.array([f"p{k // 2}" for k in range(N)])[rows],
        "index": rows,
        "labels": labels[rows],
        "pathology": scores[rows],
        "pathology_names": np.array(PATHOLOGIES),
    }
    if pointing is not None:
        arrays |= {
            "pointing_row": np.arange(len(pointing)),
            "pointing_class": np.full(len(pointing), "mass"),
            "pointing_cell": np.array(pointing, bool),
        }
    directory.mkdir()
    arrays |= changes
    report = {"classes": {name: {} for name in judged}}
    metrics = {"checkpoint": {"sha256": str(seed)}, "data": {"ids_sha256": ids_hash(arrays)}}
    metrics["classification"] = {"pathology": {"report": report}}
    (directory / "metrics.json").write_text(json.dumps(metrics))
    np.savez(directory / "predictions.npz", **arrays)
    return directory


def test_a_gain_is_found_and_a_swap_flips_it(tmp_path):
    a, b = result(tmp_path / "a", seed=1), result(tmp_path / "b", seed=2, gain=2.0)
    found, back = compare(a, b, resamples=200), compare(b / "metrics.json", a, resamples=200)
    row = found["macro"]["auroc"]
    assert set(row) >= {"a", "b", "difference", "low", "high", "p"}
    assert row["b"] - row["a"] == pytest.approx(row["difference"])
    assert row["low"] > 0 and row["p"] == pytest.approx(2 / 201)
    assert back["macro"]["auroc"]["difference"] == pytest.approx(-row["difference"])
    assert back["macro"]["auroc"]["low"] == pytest.approx(-row["high"])
    assert found["macro"]["n_defined"] == 2
    assert found["classes"]["hernia"]["auroc"]["difference"] is None
    assert (found["images"], found["patients"], found["pointing"]) == (60, 30, None)
    assert found["a"]["checkpoint"] == {"sha256": "1"}
    assert compare(a, b, resamples=200) == found
    itself = compare(a, a, resamples=50)
    assert itself["macro"]["average_precision"]["difference"] == 0 and itself["macro"]["auroc"]["p"] == 1


def test_images_are_aligned_by_id(tmp_path):
    a, b = result(tmp_path / "a", seed=1), result(tmp_path / "b", seed=2)
    shuffled = result(tmp_path / "c", seed=2, keep=np.random.default_rng(5).permutation(N))
    assert compare(a, b, resamples=20)["classes"] == compare(a, shuffled, resamples=20)["classes"]


def test_other_images_are_refused_unless_common(tmp_path):
    a, b = result(tmp_path / "a", seed=1, keep=range(50)), result(tmp_path / "b", seed=2, keep=range(4, 60))
    with pytest.raises(
        InputError, match=r"4 only in .*/a \(such as i0\); 10 only in .*/b .*; --common .* the 46 of both"
    ):
        compare(a, b, resamples=20)
    found = compare(a, b, resamples=20, common=True)
    assert (found["images"], found["a"]["images"], found["b"]["images"]) == (46, 50, 56)
    none = result(tmp_path / "none", seed=1, keep=range(2))
    with pytest.raises(InputError, match="no image in common"):
        compare(none, b, resamples=20, common=True)


def test_other_labels_patients_and_doubles_are_refused(tmp_path):
    a = result(tmp_path / "a", seed=1)
    with np.load(a / "predictions.npz") as file:
        labels, patients, ids = (file[key].copy() for key in ("labels", "patient_id", "image_id"))
    labels[7, pathology_index("mass")] ^= 1
    patients[3], ids[1] = "p9", "i0"
    with pytest.raises(InputError, match=r"1 labels differ, such as mass of image i7 \(.* and .*\)"):
        compare(a, result(tmp_path / "labels", seed=2, labels=labels))
    with pytest.raises(InputError, match=r"image i3 is of patient p1 in .* and of p9"):
        compare(a, result(tmp_path / "patients", seed=2, patient_id=patients))
    with pytest.raises(InputError, match="an image id comes twice"):
        compare(a, result(tmp_path / "ids", seed=2, image_id=ids))


def test_classes_of_one_result_are_left_out(tmp_path):
    a, b = result(tmp_path / "a", seed=1), result(tmp_path / "b", seed=2, judged=("mass", "edema"))
    found = compare(a, b, resamples=20)
    assert list(found["classes"]) == ["mass"] and found["left_out"] == ["edema", "hernia", "nodule"]
    other = result(tmp_path / "other", seed=2, judged=("edema",))
    with pytest.raises(InputError, match="judge no class in common"):
        compare(a, other)


def test_pointing_game_by_hand(tmp_path):
    a = result(tmp_path / "a", seed=1, pointing=[1, 0, 0, 0])
    b = result(tmp_path / "b", seed=2, pointing=[1, 1, 1, 0])
    found = compare(a, b, resamples=100)["pointing"]
    assert (found["cases"], found["classes"]) == (4, ["mass"])
    assert (found["cell"]["a"], found["cell"]["b"], found["cell"]["difference"]) == (0.25, 0.75, 0.5)
    fewer = result(tmp_path / "fewer", seed=2, pointing=[1, 1, 1])
    assert compare(a, fewer, resamples=20)["pointing"] is None


def test_queries_given_as_text_are_compared(tmp_path):
    rng = np.random.default_rng(3)
    truth = (rng.random((N, 1)) < 0.5).astype(np.int8)
    found = []
    for name, gain in (("a", 0), ("b", 3)):
        arrays = {
            "target_names": np.array(["covid19"]),
            "targets": truth,
            "extra": rng.random((N, 1)) + gain * truth,
        }
        directory = result(tmp_path / name, seed=1, **arrays)
        edit(directory, lambda sections: sections.clear())
        edit(directory, lambda sections: sections.update(targets={"report": {"classes": {"covid19": {}}}}))
        found.append(directory)
    row = compare(*found, resamples=50)["classes"]["covid19"]["auroc"]
    assert row["b"] == 1.0 and row["a"] < 0.8


def test_a_text_beside_a_class_of_its_name(tmp_path):
    """In one result it gets a name of its own; against a result that has the class alone it stands for the class."""
    classes = result(tmp_path / "classes", seed=1)
    with np.load(classes / "predictions.npz") as file:
        truth = file["labels"][:, [pathology_index("mass")]]
    both = result(tmp_path / "both", seed=1, target_names=np.array(["mass"]), targets=truth, extra=truth * 0.5)
    edit(both, lambda sections: sections.update(targets={"report": {"classes": {"mass": {}}}}))
    found = compare(both, both, resamples=20)
    assert list(found["classes"]) == [*NAMES, "mass (text)"]
    assert found["classes"]["mass (text)"]["auroc"]["a"] == 1.0
    assert compare(classes, both, resamples=20)["left_out"] == ["mass (text)"]
    edit(both, lambda sections: sections.pop("pathology"))
    row = compare(classes, both, resamples=20)["classes"]["mass"]["auroc"]
    assert row["a"] < 0.8 and row["b"] == 1.0


def edit(directory, change) -> None:
    """Changes the sections of metrics.json."""
    metrics = json.loads((directory / "metrics.json").read_text())
    change(metrics["classification"])
    (directory / "metrics.json").write_text(json.dumps(metrics))


def fine_tuned(directory, *, gain: float) -> Path:
    """RUN/test as `medslip finetune` writes it for a classifier of two classes, in an order of its own."""
    rng = np.random.default_rng(7)
    labels = np.stack([rng.random(N) < 0.5, rng.random(N) < 0.4], axis=1).astype(np.int8)
    rows = {
        "image_id": np.array([f"i{k}" for k in range(N)]),
        "patient_id": np.array([f"p{k // 2}" for k in range(N)]),
        "index": np.arange(N),
        "probability": 1 / (1 + np.exp(-rng.normal(size=(N, 2)) - gain * labels)),
        "labels": labels,
    }
    names = ("pneumothorax", "covid19")
    directory.mkdir()
    metrics = {"checkpoint": {"kind": "classifier"}, "data": {"ids_sha256": ids_hash(rows)}}
    metrics |= classification_result(rows, rows, names=names, resamples=5)
    (directory / "metrics.json").write_text(json.dumps(metrics))
    results._write_predictions(directory / "predictions.npz", rows, names=names)
    return directory


def test_fine_tuned_classifiers_are_compared(tmp_path):
    a, b = fine_tuned(tmp_path / "a", gain=0.0), fine_tuned(tmp_path / "b", gain=3.0)
    found = compare(a, b, resamples=50)
    assert list(found["classes"]) == ["pneumothorax", "covid19"] and found["macro"]["auroc"]["low"] > 0.1
    assert found["a"]["checkpoint"] == {"kind": "classifier"} and found["pointing"] is None


def test_a_fine_tuned_segmenter_has_no_probabilities(tmp_path, capsys):
    a = fine_tuned(tmp_path / "a", gain=0.0)
    (tmp_path / "u_net").mkdir()
    (tmp_path / "u_net" / "metrics.json").write_text(json.dumps({"segmentation": {"targets": {}}}))
    np.savez(tmp_path / "u_net" / "predictions.npz", said=np.zeros((2, 1)))
    assert main.main(["compare", str(a), str(tmp_path / "u_net")]) == 2
    err = capsys.readouterr().err
    assert "u_net/metrics.json: results of a segmenter have areas of masks and no probabilities" in err
    assert err.count("\n") == 1


def test_the_verb(tmp_path, capsys):
    a, b = result(tmp_path / "a", seed=1), result(tmp_path / "b", seed=2, gain=2.0, pointing=[1])
    out = tmp_path / "difference.json"
    assert main.main(["compare", str(a), str(b), "--resamples=50", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "macro mean of 2" in printed and "p (holm)" in printed and "not compared: hernia" in printed
    assert max(map(len, printed.split("A: ")[0].splitlines())) <= 100
    assert json.loads(out.read_text()) == compare(a, b, resamples=50)


def test_what_is_no_result_is_refused(tmp_path, capsys):
    a = result(tmp_path / "a", seed=1)
    (tmp_path / "empty").mkdir()
    cases = {"empty": r"metrics.json: no such file; `medslip evaluate"}
    for name, damage in {"cut": b"\x00", "old": b""}.items():
        directory = result(tmp_path / name, seed=1)
        file = directory / ("predictions.npz" if name == "cut" else "metrics.json")
        file.write_bytes(damage or b"{}")
        cases[name] = "predictions.npz: cannot be read" if name == "cut" else "metrics.json: not a result"
    for name, message in cases.items():
        assert main.main(["compare", str(a), str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
