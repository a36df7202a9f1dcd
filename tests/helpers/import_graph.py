"""Who imports whom in the two packages, read from the source: `python tests/helpers/import_graph.py` prints a summary.

Rooms are the folders and files right inside a package. README's layout draws them top to bottom, and imports go down.
"""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from places import ROOT

PACKAGES = ("medslip_jax", "data_pipelines")
# The one way up: `MeDSLIP.from_pretrained` is looked for on the class, and what it does lives in `weights`, above.
LOOKS_UP = "medslip_jax.models.pretrainable"


@dataclass(frozen=True)
class Import:
    """name: dotted; `from a import b` gives a and a.b. late: when something is called or asked for, or never.

    Inside a function, in a face that loads its names on first use (`epy.lazy_api_imports`), for type checkers alone.
    """

    name: str
    late: bool


def files() -> dict[str, Path]:
    """{dotted name: file} of all modules; a package has the name of its folder."""
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


def imported(file: Path) -> list[Import]:
    """Every import of a file, those inside functions too.

    Raises:
      ValueError: a relative import, which says too little about where it leads.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    late = {id(node) for scope in ast.walk(tree) if _is_late(scope) for node in ast.walk(scope)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, id(node) in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{file}, line {node.lineno}: write the import with its full name")
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [Import(name, id(node) in late) for name in names]
    return found


def _is_late(node: ast.AST) -> bool:
    if isinstance(node, ast.With):
        return "lazy_api_imports" in ast.unparse(node.items[0])
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def graph(*, kind: Literal["all", "at once"] = "all") -> dict[str, set[str]]:
    """{module: the modules of ours that it imports}, without what `LOOKS_UP` imports late, or what anybody does."""
    known = files()
    edges = {}
    for name, file in known.items():
        counted = kind == "all" and name != LOOKS_UP
        modules = {one.name for one in imported(file) if counted or not one.late} & known.keys()
        # `from a.b import c` is an import of a.b.c alone where that is a module, as no face needs its room's files.
        edges[name] = {m for m in modules if not any(other.startswith(f"{m}.") for other in modules)}
    return edges


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of more than one node that reach each other (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def longest_chain(graph: Mapping[str, set[str]]) -> list[str]:
    """The longest chain of imports, top first; its length is the number of floors. A circle counts as one floor."""
    circle_of = {node: group for group in circles(graph) for node in group}
    chains: dict[str, list[str]] = {}

    def chain(node: str) -> list[str]:
        group = circle_of.get(node, [node])
        if node not in chains:
            below = {other for member in group for other in graph.get(member, ())} - {*group}
            longest = max((chain(other) for other in sorted(below)), key=len, default=[])
            chains.update({member: [member, *longest] for member in group})
        return chains[node]

    return max((chain(node) for node in sorted(graph)), key=len, default=[])


def room_of(module: str) -> str:
    """The part of a package that a module is in; the package's own `__init__.py` has the name of the package.

    >>> room_of("medslip_jax.report.run.page"), room_of("data_pipelines")
    ('report', 'data_pipelines')
    """
    return module.split(".")[:2][-1]


def rooms(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The graph of rooms: {room: other rooms that its files import}."""
    found: dict[str, set[str]] = {}
    for module, others in graph.items():
        own = room_of(module)
        found.setdefault(own, set()).update({room_of(other) for other in others} - {own})
    return found


def drawn_rooms() -> list[str]:
    """The rooms of README's layout, top to bottom; a package's `__init__.py` is above all of them.

    A line that begins with the name of a package says where the indented lines below it belong; a room is a name before
    the words, with a slash or `.py` at its end.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    drawing = re.search(r"^## Layout\n+```\n(.*?)```", readme, re.MULTILINE | re.DOTALL)[1]
    order = [*PACKAGES]
    for line in drawing.splitlines():
        names = re.match(r"\s*(?:[a-z_]+(?:/|\.py)\s+)*", f"{line} ")[0].split()
        if line.startswith(" ") or names[0].rstrip("/") in PACKAGES:
            order += [name.removesuffix(".py").rstrip("/") for name in names if name.rstrip("/") not in PACKAGES]
    return order


def upward(graph: Mapping[str, set[str]], *, order: Sequence[str]) -> Iterator[str]:
    """A line for every import that goes from a room to one above it in `order`, top first."""
    place = {room: number for number, room in enumerate(order)}
    for module, others in sorted(graph.items()):
        for other in sorted(others):
            if place[room_of(other)] < place[room_of(module)]:
                yield f"{module} imports {other}: {room_of(other)} is above {room_of(module)}"


def folder_sizes() -> Counter[str]:
    """{folder of the two packages: files in it}."""
    found = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()]
    return Counter(str(file.parent.relative_to(ROOT)) for file in found if file.suffix != ".pyc")


def summary() -> str:
    """Files a folder, floors and circles, a line each or a few."""
    edges = graph()
    between = rooms(edges)
    chain, at_once = longest_chain(edges), longest_chain(graph(kind="at once"))
    largest = ", ".join(f"{folder} {number}" for folder, number in folder_sizes().most_common(3))
    lines = [
        f"files in the largest folders: {largest}",
        f"floors of files: {len(at_once)}: {' > '.join(at_once)}",
        f"with what is imported late: {len(chain)}: {' > '.join(chain)}",
        f"floors of rooms: {len(longest_chain(between))}: {' > '.join(longest_chain(between))}",
    ]
    for name, found in (("files", circles(edges)), ("rooms", circles(between))):
        lines.append(f"circles of {name}: {'; '.join(', '.join(group) for group in found) or 'none'}")
    return "\n".join(lines)


def line_counts() -> Counter[str]:
    """{"tests" or "others": lines of Python in the files that git tracks}."""
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    counts: Counter[str] = Counter()
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            kind = "tests" if name.startswith("tests/") else "others"
            counts[kind] += len((ROOT / name).read_text(encoding="utf-8").splitlines())
    return counts


if __name__ == "__main__":
    counts = line_counts()
    print(summary())
    print(f"lines of Python: {counts['others']:,} without tests, {counts.total():,} with them")
