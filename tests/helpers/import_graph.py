"""Who imports whom in the two packages: files, rooms, floors and circles, read from the source."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from places import ROOT

PACKAGES = ("medslip_jax", "data_pipelines")


def files() -> dict[str, Path]:
    """{dotted name: file} of all modules; a package has the name of its folder."""
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


def imported(file: Path) -> list[tuple[str, bool]]:
    """(name, is at the top level of the file) of every import; `from a import b` gives a and a.b."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(scope)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", id(node) not in inside))
            found += [(f"{node.module}.{alias.name}", id(node) not in inside) for alias in node.names]
    return found


def graph() -> dict[str, set[str]]:
    """{module: the modules of ours that it imports, in functions too}."""
    known = files()
    return {name: _most_specific({m for m, _ in imported(file)} & known.keys()) for name, file in known.items()}


def _most_specific(modules: set[str]) -> set[str]:
    return {m for m in modules if not any(other.startswith(f"{m}.") for other in modules)}


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


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """How long the longest chain of imports below each node is; of a graph without circles."""
    heights: dict[str, int] = {}

    def height(node: str) -> int:
        if node not in heights:
            heights[node] = 1 + max((height(other) for other in graph.get(node, ()) if other != node), default=-1)
        return heights[node]

    for node in graph:
        height(node)
    return heights


def rooms(graph: Mapping[str, set[str]], room_of) -> dict[str, set[str]]:
    """The graph of rooms: {room: other rooms that its files import}."""
    found: dict[str, set[str]] = {}
    for module, others in graph.items():
        own = found.setdefault(room_of(module), set())
        own |= {room_of(other) for other in others} - {room_of(module)}
    return found


def upward(graph: Mapping[str, set[str]], *, order: list[str], room_of) -> Iterator[str]:
    """A line for every import that goes from a room to one above it in `order`, top first."""
    place = {room: number for number, room in enumerate(order)}
    for module, others in sorted(graph.items()):
        for other in sorted(others):
            if place[room_of(other)] < place[room_of(module)]:
                yield f"{module} imports {other}: {room_of(other)} is above {room_of(module)}"
