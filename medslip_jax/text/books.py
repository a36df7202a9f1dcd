"""The two fixed text tables that a model is trained with and queried by (SPEC 3.4).

`medslip books` writes them once; training and evaluation only read the file. The shipped pair,
`assets/books_minilm.npz`, is what `load_books()` gives.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from medslip_jax import vocabulary
from medslip_jax.errors import InputError
from medslip_jax.storage.arrays import read_arrays
from medslip_jax.storage.files import replacing_file
from medslip_jax.version import __version__

if TYPE_CHECKING:
    from medslip_jax.text.encoder import TextEncoder

SHIPPED = "books_minilm.npz"
TextTables = Literal["as_is", "centred"]
_ROWS = {"pathology": len(vocabulary.PATHOLOGIES), "anatomy": len(vocabulary.ANATOMIES)}


@dataclasses.dataclass(frozen=True, eq=False)
class TextBooks:
    """`pathology` float32 (75, T), `anatomy` float32 (51, T), rows in vocabulary order, and their origin."""

    pathology: np.ndarray
    anatomy: np.ndarray
    provenance: dict

    def __post_init__(self):
        for name, rows in _ROWS.items():
            table = getattr(self, name)
            if table.ndim != 2 or len(table) != rows or table.dtype != np.float32:
                shape = f"{table.dtype} {table.shape}"
                raise InputError(f"text books: the {name} table is {shape}, expected float32 ({rows}, width)")
            if not np.isfinite(table).all():
                raise InputError(f"text books: the {name} table holds NaN or infinity; write it again")
        if not isinstance(self.provenance, dict):
            raise InputError("text books: the provenance is not a JSON object; write them again")
        if self.pathology.shape[1] != self.anatomy.shape[1]:
            widths = f"{self.pathology.shape[1]} and {self.anatomy.shape[1]}"
            raise InputError(f"text books: the two tables have widths {widths}; one encoder must write both")

    @property
    def width(self) -> int:
        """T, the encoder's width: 768 for BERT-base, 384 for MiniLM."""
        return self.pathology.shape[1]


def books_hash(tables: TextBooks) -> str:
    """sha256 of both tables' bytes."""
    return hashlib.sha256(tables.pathology.tobytes() + tables.anatomy.tobytes()).hexdigest()


def make_books(encoder: "TextEncoder", *, prompts: str | Path | None = None) -> TextBooks:
    """Encodes the 75 + 51 prompts with an `encoder.TextEncoder`.

    Args:
      prompts: a user's JSON file {class: sentence} for the pathologies, or None for this project's own.

    Raises:
      InputError: unusable prompts or encoder.
    """
    # Here, so that reading the tables in training does not load the network.
    from medslip_jax.text.encoder import encode_texts

    pathology = vocabulary.pathology_prompts(prompts)
    vectors = encode_texts(encoder, pathology + vocabulary.anatomy_prompts())
    provenance = {
        "encoder": encoder.name,
        "weights_sha256": encoder.weights_sha256,
        "prompts_sha256": prompts_sha256(prompts),
        "max_length": encoder.max_length,
        "medslip_jax": __version__,
        **{name: importlib.metadata.version(name) for name in ("jax", "flax", "transformers")},
    }
    return TextBooks(vectors[: len(pathology)], vectors[len(pathology) :], provenance)


def prompts_sha256(prompts: str | Path | None = None) -> str:
    """SHA-256 (hex) of the texts of both tables in class order: no matter how a JSON file is laid out."""
    texts = [vocabulary.pathology_prompts(prompts), vocabulary.anatomy_prompts()]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def save_books(books: TextBooks, *, path: str | Path) -> None:
    """Writes an .npz under a temporary name, then renames it. Equal books give equal bytes: no date in it.

    Raises:
      InputError: the folder is missing or cannot be written.
    """
    provenance = np.array(json.dumps(books.provenance, sort_keys=True))
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, pathology=books.pathology, anatomy=books.anatomy, provenance=provenance)


def load_books(path: str | Path | None = None) -> TextBooks:
    """Reads what `save_books` wrote; None is the pair that comes with this package.

    Raises:
      InputError: no such file, not an .npz of text books, or tables of wrong shapes.
    """
    path = shipped_books() if path is None else Path(path)
    hint = "make it with `medslip books`"
    arrays = read_arrays(path, repair=hint)
    try:
        tables = {name: arrays[name] for name in _ROWS}
        return TextBooks(**tables, provenance=json.loads(str(arrays["provenance"])))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a file of text books ({error}); {hint}") from error


def shipped_books() -> Path:
    """The file of the pair that comes with this package."""
    return Path(str(resources.files("medslip_jax") / "assets" / SHIPPED))


def prepared(books: TextBooks, *, text_tables: TextTables = "as_is") -> TextBooks:
    """The tables as a config's `books.tables` wants them: "as_is" (released behaviour) or "centred"."""
    return dataclasses.replace(
        books,
        pathology=prepared_rows(books.pathology, table=books.pathology, text_tables=text_tables),
        anatomy=prepared_rows(books.anatomy, table=books.anatomy, text_tables=text_tables),
    )


def centred(books: TextBooks) -> TextBooks:
    """Each table minus its mean row, scaled so that its rows have norm sqrt(T) on average.

    The [CLS] vectors of similar sentences nearly coincide: they share one large component that tells no class
    from another. Without it queries differ from the first step on.
    """
    return prepared(books, text_tables="centred")


def prepared_rows(rows: np.ndarray, *, table: np.ndarray, text_tables: TextTables) -> np.ndarray:
    """Rows (n, T), such as a query of the user's own, as `prepared` treats the rows of `table` (as read).

    >>> table = np.array([[3.0, 1.0], [1.0, 1.0]], np.float32)
    >>> prepared_rows(np.array([[2.0, 3.0]], np.float32), table=table, text_tables="centred")
    array([[0.      , 2.828427]], dtype=float32)
    """
    if text_tables == "as_is":
        return rows
    if text_tables != "centred":
        raise InputError(f"text_tables {text_tables!r}: expected 'as_is' or 'centred'")
    mean = table.mean(axis=0, dtype=np.float64)
    spread = np.linalg.norm(table - mean, axis=1).mean()
    return ((rows - mean) * (np.sqrt(table.shape[1]) / spread)).astype(np.float32)


def mean_cosine(table: np.ndarray) -> float:
    """Mean cosine similarity of two different rows, -1 .. 1: near 1, the rows are hard to tell apart."""
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    return float((np.square(unit.sum(axis=0)).sum() - len(unit)) / (len(unit) * (len(unit) - 1)))
