"""A trace of some steps, and the table of parameters."""

import pytest

from medslip_jax.errors import InputError
from medslip_jax.pretraining import pretrain
from medslip_jax.training.profiling import parse_steps


def test_flag():
    assert parse_steps(None) is None and parse_steps("3:5") == (3, 5)
    for text in ("3", "5:5", "a:b", "-1:2", "1:2:3"):
        with pytest.raises(InputError, match=f"--profile {text}: write FIRST:LAST"):
            parse_steps(text)


@pytest.mark.slow
def test_a_run_leaves_its_trace_and_its_parameters(tiny_run, tmp_path, capsys):
    pretrain(tiny_run, workdir=tmp_path, profile=(2, 4))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    out = capsys.readouterr().out
    assert "trace of steps 3 to 4:" in out
    table = (tmp_path / "parameters.txt").read_text()
    assert "params/trunk/conv1/kernel" in table and "(7, 7, 3, 8)" in table
    assert f"million parameters, 0 MiB; {tmp_path / 'parameters.txt'}" in out
