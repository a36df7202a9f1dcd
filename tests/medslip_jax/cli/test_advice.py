"""What messages of bad input advise exists: flags, verbs, config keys, named in the `InputError`s of all modules."""

import argparse
import ast
import importlib
import re
from collections.abc import Iterator

import pytest
from places import ROOT

from medslip_jax.cli import main
from medslip_jax.evaluation import default_protocol
from medslip_jax.experiment.config_files import default_config, default_fine_tuning

# Of pip, docker, gcloud and the like, or of a verb whose flags another parser reads.
FOREIGN = {"--no-deps", "--shm-size", "--config", "--runner"}
FILES = [path for package in ("medslip_jax", "data_pipelines") for path in sorted((ROOT / package).rglob("*.py"))]


def messages() -> Iterator[tuple[str, str]]:
    """(file:line, text) of every message given to an error of ours; a value that is put in is "X"."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            raised = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "InputError"
            if raised:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(map(text_of, node.args))


def text_of(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(text_of, parts))
        case ast.BinOp(left=left, right=right):
            return text_of(left) + text_of(right)
    return "X"


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    found = set(parser._option_string_actions)
    return found.union(*(flags_of(child) for action in inner for child in action.choices.values()))


@pytest.fixture(scope="module")
def known_flags() -> set[str]:
    parsers = [importlib.import_module(module)._parser() for module, _ in main.VERBS.values()]
    return FOREIGN.union(*map(flags_of, parsers))


def test_flags(known_flags):
    found = [(where, flag) for where, text in messages() for flag in re.findall(r"(?<![\w-])--[a-z][a-z_-]+", text)]
    assert len(found) > 60
    assert [(where, flag) for where, flag in found if flag not in known_flags] == []


def test_verbs():
    found = [(where, verb) for where, text in messages() for verb in re.findall(r"`medslip ([a-z]+)", text)]
    assert len(found) > 10
    assert [(where, verb) for where, verb in found if verb not in main.VERBS] == []


def test_config_keys():
    trees = [default_config(), *map(default_fine_tuning, ("classifier", "segmenter")), default_protocol()]
    found = [
        (where, key) for where, text in messages() for key in re.findall(r"--config\.([a-z_]+(?:\.[a-z_]+)*)", text)
    ]
    assert len(found) > 5

    def known(key: str) -> bool:
        return any(has(tree, key.split(".")) for tree in trees)

    assert [(where, key) for where, key in found if key != "key" and not known(key)] == []


def has(tree, parts: list[str]) -> bool:
    return parts[0] in tree and (len(parts) == 1 or has(tree[parts[0]], parts[1:]))
