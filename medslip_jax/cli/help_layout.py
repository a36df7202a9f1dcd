"""What the `--help` of all verbs has in common: paragraphs as they are written, and examples at the end."""

import argparse
from collections.abc import Sequence
from typing import Any


def help_layout(*examples: str, description: str | None = None) -> dict[str, Any]:
    """Arguments of `ArgumentParser` or `add_parser`; flags are not abbreviated, as scripts would break on a new one.

    >>> print(argparse.ArgumentParser("tool", **help_layout("tool --all")).format_help().splitlines()[-1].strip())
    tool --all

    Args:
      examples: command lines that work, the most common one first.
      description: the verb's docstring.
    """
    return {
        "description": description,
        "epilog": "\n  ".join(["examples:" if len(examples) > 1 else "example:", *examples]),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def verb_parser(verb: str, *examples: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of a verb, to which its module adds the flags."""
    return argparse.ArgumentParser(f"medslip {verb}", **help_layout(*examples, description=description))


def examples_of(parser: argparse.ArgumentParser) -> Sequence[str]:
    """The command lines at the end of a parser's help."""
    return [line.strip() for line in (parser.epilog or "").splitlines()[1:]]
