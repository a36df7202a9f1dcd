"""Small models of every kind as files, and `medslip convert` on them, for several test files; needs no PyTorch."""

from pathlib import Path

import numpy as np

from medslip_jax.cli import main
from medslip_jax.models.config import ClassifierConfig, SegmenterConfig
from medslip_jax.models.kinds import ModelConfig, abstract_variables
from medslip_jax.storage.tensor_files import write_state
from medslip_jax.testing import recipe_state, tiny_books, tiny_config
from medslip_jax.text.books import TextBooks, save_books
from medslip_jax.weights.torch.conversion import flatten, shapes_of
from medslip_jax.weights.torch.names import rules

CONFIGS: dict[str, ModelConfig] = {
    "medslip": tiny_config(),
    "classifier": ClassifierConfig(backbone="resnet18", trunk_width=8, num_classes=3),
    "disentangled": ClassifierConfig(backbone="resnet18", trunk_width=8, disentangle="pathology", embed_dim=16),
    "segmenter": SegmenterConfig(backbone="resnet18", trunk_width=8, num_classes=2),
}


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """{PyTorch name: shape} in file order."""
    leaves = shapes_of(flatten(abstract_variables(config)))
    return {rule.torch: rule.shape(leaves) for rule in rules(config)}


def state_of(config: ModelConfig, *, counts: str = "zero") -> dict[str, np.ndarray]:
    """Recipe weights; `num_batches_tracked` "zero", 7 everywhere ("equal"), or 0, 1, 2, ... ("unequal")."""
    state = recipe_state(shapes(config))
    tracked = [name for name in state if name.endswith("num_batches_tracked")]
    values = {"zero": 0 * np.arange(len(tracked)), "equal": 7 + 0 * np.arange(len(tracked))}
    numbers = values.get(counts, np.arange(len(tracked)))
    return state | {name: np.array(n, np.int64) for name, n in zip(tracked, numbers, strict=True)}


def files_below(folder: Path) -> dict[str, bytes]:
    """{relative path: bytes} of all files, hidden ones included."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    """Names, dtypes and bits."""
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        assert got[name].tobytes() == array.tobytes(), name


def run_convert(capsys, source, to, *flags) -> dict:
    """{"code", "out", "err"} of the verb."""
    code = main.main(["convert", f"--from={source}", f"--to={to}", *map(str, flags)])
    captured = capsys.readouterr()
    return {"code": code, "out": captured.out, "err": captured.err}


def converted(convert, source, to, *flags) -> str:
    """The output of a conversion that has to succeed."""
    result = convert(source, to, *flags)
    assert (result["code"], result["err"]) == (0, "")
    return result["out"]


def refused(convert, source, to, *flags) -> str:
    """The one line of a conversion that has to fail without touching anything beside `to`."""
    before = files_below(Path(to).parent)
    result = convert(source, to, *flags)
    assert result["code"] == 2
    assert result["err"].startswith("medslip: ") and result["err"].count("\n") == 1
    assert files_below(Path(to).parent) == before
    return result["err"].removeprefix("medslip: ").rstrip()


def foreign(path: Path, kind: str = "medslip", **changes) -> Path:
    """A bare .safetensors; `changes` add a tensor, or remove it where they are None ("__" for ".")."""
    state = state_of(CONFIGS[kind]) | {name.replace("__", "."): value for name, value in changes.items()}
    write_state(path, {name: array for name, array in state.items() if array is not None})
    return path


def books_file(path: Path, **provenance) -> Path:
    books = tiny_books()
    save_books(TextBooks(books.pathology, books.anatomy, books.provenance | provenance), path=path)
    return path
