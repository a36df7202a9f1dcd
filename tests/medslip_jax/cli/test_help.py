"""Every verb's --help ends with examples, which its parser takes; `medslip --help` answers at once."""

import argparse
import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from medslip_jax.cli import main
from medslip_jax.cli.help_layout import examples_of, help_layout
from medslip_jax.launch.arguments import check_command, split

pytestmark = pytest.mark.portable


def parsers_of(verb: str) -> dict[str, argparse.ArgumentParser]:
    """{"verb" or "verb sub-verb": parser}."""
    parser = importlib.import_module(main.VERBS[verb][0])._parser()
    found = {verb: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {f"{verb} {name}": inner for name, inner in action.choices.items()}
    return found


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_ends_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([verb, "--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith("example"))
    examples = [line.strip() for line in lines[start + 1 :] if line]
    assert examples and all(line.startswith(f"medslip {verb}") for line in examples)
    assert max(map(len, lines)) <= 200, "an example fits into a wide terminal or two lines"


@pytest.mark.parametrize("verb", main.VERBS)
def test_the_examples_are_understood(verb):
    found = parsers_of(verb)
    for name, parser in found.items():
        assert examples_of(parser), name
        for line in examples_of(parser):
            assert line.startswith(f"medslip {name}"), line
            words = shlex.split(line.removeprefix(f"medslip {verb}"))
            parts = split(words)
            _, rest = found[verb].parse_known_args(parts["flags"])
            if verb == "launch":
                check_command(parts["command"])
            assert all(word.startswith("--config") or Path(word).suffix == ".py" for word in _file_names(rest)), line
            for word in _file_names(words):
                assert (ROOT / word).is_file(), f"{line}: no {word}"


def _file_names(words: list[str]) -> list[str]:
    return [word.partition(":")[0] for word in words if word.startswith("configs/")]


def test_top_level_help_imports_little():
    code = (
        "import sys; from medslip_jax.cli import main as cli; cli.main(['--help']); "
        "heavy = {'absl', 'numpy', 'jax', 'argparse', 'hashlib', 'ml_collections'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_layout():
    parser = argparse.ArgumentParser("tool", **help_layout("tool a", "tool b", description="one\n  two"))
    text = parser.format_help()
    assert text.endswith("\n\nexamples:\n  tool a\n  tool b\n") and "one\n  two" in text
    assert examples_of(parser) == ["tool a", "tool b"]
    assert examples_of(argparse.ArgumentParser("tool")) == []
