"""What ends a command on purpose: bad input, or a request to stop; and the checks that most options need."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal, get_args, get_origin, get_type_hints

_LONGEST = 1000  # characters of a message
_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


class InputError(ValueError):
    """Bad input: a file, row, key or flag.

    The message is one line that names the file, row, key or flag and the next step. The command line prints it
    after "medslip: " and exits with code 2; any other exception is a bug of ours and shows its traceback. What it
    quotes of a file stays on that line: breaks become blanks, other unprintable characters escapes, and the middle of
    a very long one is left out.

    Attributes:
      kind: a few words to count by, where many such errors are collected; "" if the raiser had no reason to say.
    """

    def __init__(self, message: str = "", *, kind: str = ""):
        super().__init__(_one_line(message))
        self.kind = kind


def _one_line(message: str) -> str:
    text = "".join(c if c.isprintable() else _escaped(c) for c in _BREAKS.sub(" ", message))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 300]} ... {text[-290:]}"


def _escaped(character: str) -> str:
    """A byte of a file name that is not UTF-8 as \\xNN, others as Python writes them."""
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


class Preempted(Exception):
    """The run ended early because it was asked to, with everything saved.

    Attributes:
      step: of the checkpoint that the same command goes on from.
    """

    def __init__(self, *, step: int):
        super().__init__(f"stopped by SIGTERM at step {step}, saved; the same command goes on from there")
        self.step = step


def check_choices(options, *, section: str) -> None:
    """`InputError` if a field that is annotated with a `Literal` has a value outside of it.

    Args:
      options: a dataclass instance.
      section: of the config, for the message.
    """
    for name, kind in get_type_hints(type(options)).items():
        if get_origin(kind) is Literal and getattr(options, name) not in get_args(kind):
            choices = ", ".join(map(str, get_args(kind)))
            raise InputError(f"{section}.{name}={getattr(options, name)!r}: must be one of {choices}")


def from_section(dataclass: type, section: Mapping, *, name: str):
    """`dataclass(**section)`; `InputError` naming a key that it does not have, or values of other types.

    Args:
      dataclass: an options class.
      section: {field: value}, such as a section of a config or a JSON object.
      name: of the section, for the message, such as "config.model".
    """
    known = {field.name for field in dataclasses.fields(dataclass)}
    unknown = sorted(set(section) - known)
    if unknown:
        raise InputError(f"{name}: unknown keys {', '.join(unknown)}; it has: {', '.join(sorted(known))}")
    try:
        return dataclass(**{key: section[key] for key in section})
    except TypeError as error:  # the checks of the dataclass compare what cannot be compared
        shown = ", ".join(f"{key}={value!r}" for key, value in section.items())
        raise InputError(f"{name}: a value is of another type than it must be ({error}): {shown}") from error
