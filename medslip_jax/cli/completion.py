"""`medslip completion SHELL`: a script that completes verbs, what follows them, flags and files.

bash: medslip completion bash > ~/.local/share/bash-completion/completions/medslip
zsh:  medslip completion zsh > DIR/_medslip, DIR being in fpath before compinit
fish: medslip completion fish > ~/.config/fish/completions/medslip.fish

The script is made from the verbs' own parsers and needs no Python while it completes; make it again after an update.
"""

import argparse
import importlib

import shtab

from medslip_jax.cli.help_layout import examples_of, help_layout
from medslip_jax.cli.main import VERBS


def main(argv: list[str]) -> int:
    """Runs the verb: prints the script."""
    print(shtab.complete(all_verbs(), shell=_parser().parse_args(argv).shell))
    return 0


def all_verbs() -> argparse.ArgumentParser:
    """A parser of `medslip` whose sub-parsers are those that every verb's module makes in `_parser()`."""
    root = argparse.ArgumentParser("medslip")
    # argparse calls it, and does not ask for a class as its stubs do.
    verbs = root.add_subparsers(parser_class=lambda prog: importlib.import_module(VERBS[prog.split()[-1]][0])._parser())  # type: ignore[call-overload]
    for verb, (_, text) in VERBS.items():
        parser = verbs.add_parser(verb, help=text)
        parser.description = text  # which the shells show in place of `help`
        _offer_files(parser)
    return root


def _offer_files(parser: argparse.ArgumentParser) -> None:
    """Files for whatever takes neither a choice nor a number, and for --config, which the config library reads."""
    shown = (line.partition(" -- ")[0].split() for line in examples_of(parser))
    if "--config" not in parser._option_string_actions and any("--config" in words for words in shown):
        parser.add_argument("--config", metavar="FILE[:arg]", help="a config file; --config.KEY=VALUE changes a key")
    for action in parser._actions:
        action.metavar = None  # zsh would read the colon of FILE[:arg] as one of its own
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _offer_files(inner)
        elif action.choices is None and action.nargs != 0 and action.type not in (int, float):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads it there


def _parser() -> argparse.ArgumentParser:
    examples = ("medslip completion bash > ~/.local/share/bash-completion/completions/medslip",)
    parser = argparse.ArgumentParser("medslip completion", **help_layout(*examples, description=__doc__))
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    return parser
