"""What the doctor's parts hand back: facts, and problems with the next step."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong: `what` names the package, variable or path, `next_step` is the command or change to try."""

    what: str
    next_step: str


@dataclasses.dataclass
class Section:
    """One part of the report.

    Attributes:
      title: in the text, and the key in the JSON.
      facts: {name: a string, a number, or {unit or thing: number}}, JSON-able.
      problems: in the order found.
    """

    title: str
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    problems: list[Problem] = dataclasses.field(default_factory=list)

    def complain(self, what: str, *, next_step: str) -> None:
        self.problems.append(Problem(what, next_step))

    def lines(self) -> list[str]:
        """Title and facts as text.

        >>> print(*Section("machine", {"memory": {"GiB": 7.5, "GiB free": 2}}).lines(), sep=" | ")
        machine |   memory  7.5 GiB, 2 GiB free
        """
        width = max(map(len, self.facts), default=0)
        return [self.title, *(f"  {name:<{width}}  {_shown(value)}" for name, value in self.facts.items())]


def _shown(value: Any) -> str:
    return ", ".join(f"{v:,} {k}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def in_one_line(error: BaseException | str, *, most: int = 200) -> str:
    """An error's text without line breaks, cut where it becomes long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[:most]}..."
