"""A finding in the user's own words as a further query, such as the unseen 76th class of SPEC 7."""

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.text.books import TextBooks, TextTables, prepared_rows
from medslip_jax.text.encoder import TextEncoder, encode_texts


def encode_query(text: str, *, books: TextBooks, encoder: TextEncoder, tables: TextTables) -> np.ndarray:
    """A sentence as the model reads the rows of its pathology table: float32 (1, T).

    The prompt of a class gives that class's row. What is new to the model is how far its words carry: nothing promises
    that a finding it was not trained with is recognised.

    Args:
      text: one sentence or two, as in assets/pathology_prompts.json.
      books: the tables as read, not prepared: `tables="centred"` takes the pathologies' mean off.
      encoder: the one that wrote `books`.
      tables: how the model's config prepares its tables (`books.tables`).

    Raises:
      InputError: an empty text, another encoder than the one that wrote the tables, or another width.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError("the finding is empty; describe it in a sentence, such as 'Fluid in the pleural space.'")
    check_encoder(encoder, books=books)
    rows = encode_texts(encoder, [text])
    return prepared_rows(rows, table=books.pathology, text_tables=tables)


def check_encoder(encoder: TextEncoder, *, books: TextBooks) -> None:
    """`InputError` unless this encoder wrote the tables: vectors of two encoders have nothing in common."""
    wrote = books.provenance.get("weights_sha256")
    name = books.provenance.get("encoder", "an unknown encoder")
    if not wrote:
        raise InputError("the text tables do not say which encoder wrote them; write them with `medslip books`")
    if encoder.config.hidden_size != books.width:
        widths = f"{encoder.config.hidden_size} wide, the tables {books.width}"
        raise InputError(f"encoder {encoder.name}: its vectors are {widths}; give the encoder of the tables, {name}")
    if encoder.weights_sha256 != wrote:
        hashes = f"weights {encoder.weights_sha256[:12]}, not {wrote[:12]}"
        raise InputError(f"encoder {encoder.name}: did not write the text tables ({hashes}); give {name}")
