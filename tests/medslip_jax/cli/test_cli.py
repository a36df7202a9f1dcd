import subprocess
import sys

import pytest

from medslip_jax.cli import main
from medslip_jax.errors import InputError

pytestmark = pytest.mark.portable


def test_usage(capsys):
    assert main.main(["--help"]) == 0
    assert "pretrain" in capsys.readouterr().out
    assert main.main([]) == 2


def test_unknown_verb(capsys):
    assert main.main(["trian"]) == 2
    assert "unknown verb 'trian'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([verb, "--help"])
    assert stop.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_bad_input_is_one_line_and_code_2(capsys, monkeypatch):
    module = type(
        "Module",
        (),
        {"main": staticmethod(lambda argv: (_ for _ in ()).throw(InputError("row 3: no image")))},
    )
    monkeypatch.setattr(main.importlib, "import_module", lambda name: module)
    assert main.main(["pretrain"]) == 2
    assert capsys.readouterr().err == "medslip: row 3: no image\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["pretrain", "--workdir", "w"], "--config FILE is missing"),
        (["evaluate", "--checkpoint", "nowhere", "--out", "o"], "nowhere: no such file or directory"),
    ],
)
def test_real_process(argv, message, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "medslip_jax.cli.main", *argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
