"""`medslip completion bash | zsh | fish`: a script that completes verbs, what follows them, flags and files.

bash: source <(medslip completion bash), or write it to ~/.local/share/bash-completion/completions/medslip
zsh:  medslip completion zsh > DIR/_medslip, DIR being in fpath before compinit
fish: medslip completion fish > ~/.config/fish/completions/medslip.fish

The script is made from the verbs' own parsers and needs no Python while it completes; make it again after an update.
"""

import argparse
import dataclasses
import importlib

from medslip_jax.cli.completion_scripts import SCRIPTS
from medslip_jax.cli.help_layout import help_layout
from medslip_jax.cli.main import VERBS

# Not flags of a parser: the config library reads them.
_CONFIG_FLAG = "--config"


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag; `values` are its choices, () if it takes anything (then files are offered) or nothing (`alone`)."""

    name: str
    text: str
    values: tuple[str, ...] = ()
    alone: bool = False


@dataclasses.dataclass(frozen=True)
class Words:
    """What may follow one verb, or a verb and its sub-verb: `path` is ("data",) or ("data", "build")."""

    path: tuple[str, ...]
    text: str
    choices: tuple[str, ...]
    flags: tuple[Flag, ...]


def main(argv: list[str]) -> int:
    """Runs the verb: prints the script."""
    args = _parser().parse_args(argv)
    print(SCRIPTS[args.shell](all_words()))
    return 0


def all_words() -> list[Words]:
    """Of every verb and sub-verb, in the order of `medslip --help`."""
    return [words for verb, (module, text) in VERBS.items() for words in words_of(verb, parser_of(module), text=text)]


def parser_of(module: str) -> argparse.ArgumentParser:
    """A verb's parser: what every verb's module makes in `_parser()`."""
    return importlib.import_module(module)._parser()


def words_of(verb: str, parser: argparse.ArgumentParser, *, text: str) -> list[Words]:
    """`Words` of a parser and of its sub-parsers."""
    found, choices, flags = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            choices += action.choices
            helps = {inner.dest: inner.help or "" for inner in action._choices_actions}
            for name, inner in action.choices.items():
                inside = words_of(verb, inner, text=helps.get(name, ""))[0]
                found.append(dataclasses.replace(inside, path=(verb, name)))
        elif not action.option_strings:
            choices += action.choices or ()
        else:
            values = tuple(map(str, action.choices or ()))
            flags += [Flag(o, _first_line(action), values, action.nargs == 0) for o in action.option_strings]
    if takes_config(parser) and all(flag.name != _CONFIG_FLAG for flag in flags):
        flags.append(Flag(_CONFIG_FLAG, "a config file; --config.KEY=VALUE changes a key"))
    return [Words((verb,), text, tuple(choices), tuple(flags)), *found]


def takes_config(parser: argparse.ArgumentParser) -> bool:
    """Whether a verb reads --config beside its parser's flags, which its examples show."""
    return f"{_CONFIG_FLAG} " in (parser.epilog or "").partition(" -- ")[0]


def _first_line(action: argparse.Action) -> str:
    """The help of a flag with its values filled in."""
    text = " ".join((action.help or "").split())
    return text % vars(action) if "%(" in text else text


def _parser() -> argparse.ArgumentParser:
    examples = ("medslip completion bash > ~/.local/share/bash-completion/completions/medslip",)
    parser = argparse.ArgumentParser("medslip completion", **help_layout(*examples, description=__doc__))
    parser.add_argument("shell", choices=tuple(SCRIPTS))
    return parser
