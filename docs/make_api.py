"""Writes docs/api.md from signatures and docstrings: `python docs/make_api.py`; --check only compares.

Sources are parsed and not imported, so that signatures stand as they are written and no package is needed.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"
_WIDTH = 100
# File -> (where users import its names from, the names or () for all public ones).
_INTERFACES = {
    "medslip_jax/models/dual_stream.py": ("medslip_jax.models", ("MeDSLIP",)),
    "medslip_jax/models/config.py": ("medslip_jax.models", ("MeDSLIPConfig",)),
    "medslip_jax/models/pretrainable.py": ("medslip_jax.models.pretrainable", ("Pretrainable",)),
    "medslip_jax/step/losses.py": ("medslip_jax.step.losses", ()),
    "medslip_jax/weights/torch/conversion.py": ("medslip_jax.weights.torch.conversion", ("from_torch", "to_torch")),
    "medslip_jax/text/books.py": ("medslip_jax.text.books", ()),
    "medslip_jax/vocabulary.py": ("medslip_jax.vocabulary", ()),
    "medslip_jax/errors.py": ("medslip_jax.errors", ("InputError", "Preempted")),
}
# Parts of the phantom and of the report reader, and measurements.
_INTERNAL = ("phantom_", "report_", "openi_xml", "radgraph_stream", "dicom_tags")
_HEAD = """\
# API

Made from the docstrings by `python docs/make_api.py`; change those, not this page. Examples in it are run by
`tests/test_doctests.py`. Shapes are written as in jaxtyping: `Float[Array, "b q 2"]` has axes b, q and 2.
"""


def main() -> int:
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/api.md is not what the docstrings say; run: python docs/make_api.py", file=sys.stderr)
    return 1


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, files in _sections().items():
        parts.append(f"## {title}\n")
        for file, (module, names) in files.items():
            parts += _module(ROOT / file, module=module, names=names)
    return "\n".join(parts).rstrip() + "\n"


def _sections() -> dict[str, dict[str, tuple[str, tuple[str, ...]]]]:
    metrics = sorted((ROOT / "medslip_jax" / "metrics").glob("*.py"))
    data = [f for f in sorted((ROOT / "data_pipelines").glob("*.py")) if not f.name.startswith(_INTERNAL)]
    data = [f for f in data if not f.stem.endswith("_bench")]
    data.append(ROOT / "data_pipelines" / "datasets" / "__init__.py")
    return {
        "Model, losses, checkpoints, text tables": _INTERFACES,
        "Metrics": dict(map(_all_of, metrics)),
        "Data": dict(map(_all_of, data)),
    }


def _all_of(file: Path) -> tuple[str, tuple[str, tuple[str, ...]]]:
    name = str(file.relative_to(ROOT))
    return name, (name.removesuffix(".py").removesuffix("/__init__").replace("/", "."), ())


def _module(file: Path, *, module: str, names: tuple[str, ...]) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    missing = [name for name in names if name not in found]
    if missing:
        raise SystemExit(f"{file.relative_to(ROOT)}: no {missing[0]}; change _INTERFACES in docs/make_api.py")
    chosen = [found[name] for name in names] or [node for name, node in found.items() if not name.startswith("_")]
    if chosen and not names:
        yield f"### {module}\n"
        yield from _text(ast.get_docstring(tree))
    for node in chosen:
        yield from _entry(node, prefix=f"{module}.")


def _entry(node: ast.FunctionDef | ast.ClassDef, *, prefix: str) -> Iterator[str]:
    """Heading, signature and docstring of a function, or of a class and its public methods."""
    yield f"#### {prefix}{node.name}\n"
    yield "```python"
    yield _signature(node) if isinstance(node, ast.FunctionDef) else _fields(node)
    yield "```\n"
    yield from _text(ast.get_docstring(node))
    if isinstance(node, ast.ClassDef):
        methods = [n for n in node.body if isinstance(n, ast.FunctionDef) and ast.get_docstring(n)]
        for method in methods:
            if not method.name.startswith("_"):
                yield from _entry(method, prefix=f"{node.name}.")


def _signature(node: ast.FunctionDef) -> str:
    """As it is written, in one line or one argument a line."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({ast.unparse(node.args)}){returns}"
    if len(line) <= _WIDTH:
        return line
    arguments = "".join(f"    {argument},\n" for argument in _arguments(node.args))
    return f"{node.name}(\n{arguments}){returns}"


def _arguments(args: ast.arguments) -> Iterator[str]:
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + args.defaults
    for argument, default in zip(plain, defaults, strict=True):
        yield _argument(argument, default)
    if args.vararg or args.kwonlyargs:
        yield f"*{_argument(args.vararg, None)}" if args.vararg else "*"
    for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _argument(argument, default)
    if args.kwarg:
        yield f"**{_argument(args.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    if default is None:
        return text
    return f"{text} = {ast.unparse(default)}" if argument.annotation else f"{text}={ast.unparse(default)}"


def _fields(node: ast.ClassDef) -> str:
    bases = ", ".join(map(ast.unparse, node.bases))
    lines = [f"class {node.name}{f'({bases})' if bases else ''}"]
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and not ast.unparse(n.target).startswith("_")]
    return "\n".join([*lines, *(f"    {ast.unparse(field)}" for field in fields)])


def _text(docstring: str | None) -> Iterator[str]:
    """The first paragraph as text, the rest as it is written."""
    if not docstring:
        return
    first, _, rest = inspect.cleandoc(docstring).partition("\n\n")
    yield "".join(part if i % 2 else part.replace("<", r"\<") for i, part in enumerate(_by_ticks(first))) + "\n"
    if rest.strip():
        yield f"```text\n{rest.strip()}\n```\n"


def _by_ticks(text: str) -> list[str]:
    """Pieces of a text, every second one between backticks and with them."""
    pieces = text.split("`")
    return [f"`{piece}`" if i % 2 else piece for i, piece in enumerate(pieces)]


if __name__ == "__main__":
    sys.exit(main())
