"""What of an experiment has to be on this machine: its text tables and its data."""

from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import UNKNOWN_BOOKS, BooksConfig
from medslip_jax.storage.files import on_this_machine
from medslip_jax.text.books import TextBooks, books_hash, load_books, prepared


def load_tables(books: BooksConfig, *, text_dim: int) -> TextBooks:
    """The text tables of a run, as the model reads them.

    Raises:
      InputError: not model.text_dim wide, or changed since training.
    """
    return checked_tables(load_books(books.path or None), books, text_dim=text_dim)


def checked_tables(raw: TextBooks, books: BooksConfig, *, text_dim: int) -> TextBooks:
    """Tables as read -> as the model reads them; `InputError` as of `load_tables`."""
    if books.sha256 == UNKNOWN_BOOKS:
        raise InputError(
            "this model came without the text tables that it was trained with; convert it again with --books FILE"
        )
    tables, name = prepared(raw, text_tables=books.tables), books.path or "(shipped)"
    if tables.width != text_dim:
        raise InputError(
            f"model.text_dim={text_dim}, but the text tables {name} are {tables.width} wide; "
            f"set --config.model.text_dim={tables.width}"
        )
    if books.sha256 not in ("", books_hash(tables)):
        raise InputError(f"the text tables {name} are not those of the training run")
    return tables


def built_data(name: str, directory: str) -> Path:
    """Where the run's data lie; `InputError` while the config names none."""
    if not name:
        raise InputError(
            "data.name is empty; name a built data set: --config.data.name=NAME, or --data NAME of evaluate"
        )
    return on_this_machine(directory, flag="--config.data.dir")
