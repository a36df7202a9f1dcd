"""A gcloud that can be told what to answer, and the command that most tests launch."""

import json
import os
import sys
from pathlib import Path

import pytest
from places import HELPERS

FAKE = HELPERS / "fake_gcloud.py"


class Gcloud:
    """The script of `fake_gcloud.py` and what was called."""

    def __init__(self, file: Path):
        self._file = file
        self.answers()

    def answers(self, **lists) -> None:
        self._file.write_text(json.dumps(lists))
        self._file.with_suffix(".calls").write_text("")

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self._file.with_suffix(".calls").read_text().splitlines()]

    def verbs(self) -> list[str]:
        """What was done, without the looks: "create", "ssh run" ..."""
        done = []
        for call in self.calls():
            remote = [word.split()[2] for word in call if word.startswith("--command=")]
            if call[3] != "list":
                done.append(" ".join([call[3], *remote]))
        return done


@pytest.fixture
def bin_dir(tmp_path, monkeypatch) -> Path:
    """A directory that comes first on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


@pytest.fixture
def put_program(bin_dir):
    """(name, text) -> an executable of that name on PATH; Python unless the text names another interpreter."""

    def put(name: str, text: str) -> None:
        file = bin_dir / name
        file.write_text(text if text.startswith("#!") else f"#!{sys.executable}\n{text}")
        file.chmod(0o755)

    return put


@pytest.fixture
def gcloud(tmp_path, put_program, monkeypatch) -> Gcloud:
    put_program("gcloud", FAKE.read_text())
    monkeypatch.setenv("FAKE_GCLOUD", str(tmp_path / "gcloud.json"))
    return Gcloud(tmp_path / "gcloud.json")


@pytest.fixture
def config(tmp_path) -> Path:
    file = tmp_path / "my config.py"
    text = "from medslip_jax.experiment import default_config as d\n\n\ndef get_config(arg):\n    return d()\n"
    file.write_text(text)
    return file
