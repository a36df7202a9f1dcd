"""Flags that name the processes of a run; tests with real processes are in test_processes.py."""

import argparse

import jax
import pytest

from medslip_jax.errors import InputError
from medslip_jax.exit_codes import BAD_INPUT, STUCK
from medslip_jax.parallel import processes

pytestmark = pytest.mark.portable


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--coordinator=host:1234"], "--coordinator, --processes and --process_id go together"),
        (["--coordinator=host:1234", "--processes=2", "--process_id=2"], "--process_id 2: must be from 0 to 1"),
        (["--coordinator=host", "--processes=2", "--process_id=0"], "--coordinator host: must be HOST:PORT"),
        (["--coordinator=1234", "--processes=2", "--process_id=0"], "--coordinator 1234: must be HOST:PORT"),
        (["--coordinator=:1234", "--processes=2", "--process_id=0"], "--coordinator :1234: must be HOST:PORT"),
    ],
)
def test_flags_that_do_not_fit(argv, message, monkeypatch):
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda **_: pytest.fail("tried to connect"))
    parser = argparse.ArgumentParser()
    processes.add_flags(parser)
    with pytest.raises(InputError, match=message), processes.processes(parser.parse_args(argv)):
        pass


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (jax.errors.JaxRuntimeError("INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE"), STUCK),
        (OSError("No space left on device"), BAD_INPUT),
    ],
)
def test_a_save_that_fails_as_another_process_is_gone_may_be_started_again(cause, code, monkeypatch, capsys):
    """Launchers start anew after STUCK and give up after BAD_INPUT."""
    ended = []
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    error = InputError("checkpoint 5 could not be written")
    error.__cause__ = cause
    processes._leave(error)
    assert ended == [code]
    assert ("another process is gone" in capsys.readouterr().err) == (code == STUCK)
