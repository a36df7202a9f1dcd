"""Every notebook is clean in git and runs from top to bottom at a reduced size, in a real kernel."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from places import ROOT

COLAB = ROOT / "colab"
NOTEBOOKS = sorted(COLAB.glob("*.ipynb"))

# notebook -> pictures, and what its text has to say.
EXPECTED = {
    "convert_pytorch_checkpoint": (1, ["written:", "of the largest entry", "426 of 426 tensors are equal bit by bit"]),
    "finetune_segmentation": (3, ["the U-Net starts from", "lungs: Dice", "heart: Dice"]),
    "pretrain_phantom": (3, ["macro mean of", "pointing game", "'test': 16"]),
    "zero_shot_demo": (4, ["macro mean of", "no image given: a phantom stands in"]),
}


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def execute(path: Path) -> list[nbformat.NotebookNode]:
    """All outputs of a run."""
    notebook = read(path)
    resources = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def check(outputs: list[nbformat.NotebookNode], name: str) -> None:
    pictures, texts = EXPECTED[name]
    said = "".join(output.get("text", "") for output in outputs)
    assert [text for text in texts if text not in said] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) == pictures


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    for name in ("CHECKPOINT", "BOOKS", "IMAGE", "PTH"):
        monkeypatch.delenv(f"MEDSLIP_{name}", raising=False)
    monkeypatch.setenv("MEDSLIP_NOTEBOOK_SIZE", "tiny")
    monkeypatch.setenv("MEDSLIP_NOTEBOOK_DIR", str(tmp_path))


def test_every_notebook_is_tested():
    assert [path.stem for path in NOTEBOOKS] == sorted(EXPECTED)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_valid_and_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert all(cell.id for cell in notebook.cells)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_starts_with_badge_and_installation(path):
    first, second, *_ = read(path).cells
    badge = re.search(r"\[!\[Open in Colab\]\(\S+\)\]\(\S+/github/(\S+)/blob/main/colab/(\S+)\)", first.source)
    assert badge[2] == path.name
    assert f'REPOSITORY = "https://github.com/{badge[1]}"' in second.source
    assert '"pip", "install"' in second.source
    for word in ("Downloads", "Takes about"):
        assert word in first.source
    assert "\n".join(cell.source for cell in read(path).cells).lower().count("not for clinical use") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetune_segmentation", "pretrain_phantom", "zero_shot_demo"])
def test_runs(name, tiny):
    check(execute(COLAB / f"{name}.ipynb"), name)


@pytest.mark.slow
@pytest.mark.torch
def test_conversion_runs(torch, tiny):
    check(execute(COLAB / "convert_pytorch_checkpoint.ipynb"), "convert_pytorch_checkpoint")


@pytest.mark.portable
@pytest.mark.slow
def test_takes_what_the_user_names(tiny, monkeypatch):
    """A checkpoint that cannot be had is said, and replaced; a picture is read."""
    monkeypatch.setenv("MEDSLIP_CHECKPOINT", "no_such_run.pth")
    monkeypatch.setenv("MEDSLIP_IMAGE", str(COLAB.parent / "docs" / "heatmaps.png"))
    said = "".join(output.get("text", "") for output in execute(COLAB / "zero_shot_demo.ipynb"))
    assert "not used: no_such_run.pth: no such file" in said
    assert "heatmaps.png: " in said
    assert "stands in" not in said
