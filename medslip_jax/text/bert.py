"""A BERT encoder of any width and depth, evaluation only: the frozen text encoder of SPEC 3.4.

Post-norm as in "BERT: Pre-training of Deep Bidirectional Transformers" (Devlin et al., 2019). It runs once,
in `medslip books`, so it has no dropout and no training mode. `bert_weights.py` reads the weights.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from medslip_jax.errors import InputError

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}
# Without these a config.json does not say which network it is; the others have had one value since the paper.
_REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Shape of a BERT encoder, in the names of a Hugging Face `config.json`; the defaults are BERT-base.

    Raises:
      InputError: a size is not a positive integer, heads do not divide the width, or an unknown activation.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"BERT config: {field.name} is {value!r}; expected a positive integer")
        if not isinstance(self.layer_norm_eps, float) or self.layer_norm_eps <= 0:
            raise InputError(f"BERT config: layer_norm_eps is {self.layer_norm_eps!r}; expected a positive float")
        if self.hidden_size % self.num_attention_heads:
            sizes = f"hidden_size {self.hidden_size}, num_attention_heads {self.num_attention_heads}"
            raise InputError(f"BERT config: {sizes}; heads must divide the width")
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"BERT config: hidden_act is {self.hidden_act!r}; expected one of {[*ACTIVATIONS]}")

    @classmethod
    def from_json(cls, path: str | Path) -> "BertConfig":
        """Reads a Hugging Face `config.json`; keys that only training uses are ignored.

        Raises:
          InputError: unreadable file, a missing or impossible size, or another architecture than BERT.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; give a BERT directory") from error
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON ({error}); fetch the file again") from error
        if not isinstance(values, dict) or any(name not in values for name in _REQUIRED):
            raise InputError(f"{path}: not a BERT config; it needs {', '.join(_REQUIRED)}")
        for name, expected in {"model_type": "bert", "position_embedding_type": "absolute"}.items():
            if values.get(name, expected) != expected:
                raise InputError(f"{path}: {name} is {values[name]!r}; only {expected!r} is supported")
        known = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
        try:
            return cls(**known)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


class BertLayer(nn.Module):
    """Self-attention, then the feed-forward network, each added to its input and then normalised."""

    config: BertConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], bias: Float[Array, "b 1 1 t"]) -> Float[Array, "b t d"]:
        """`bias` is added to the attention scores: 0 at a token, very negative at padding."""
        config = self.config
        attended = nn.Dense(config.hidden_size, name="attention_out")(self._attention(x, bias))
        x = _layer_norm(config, "attention_norm")(x + attended)
        hidden = ACTIVATIONS[config.hidden_act](nn.Dense(config.intermediate_size, name="ffn_in")(x))
        hidden = nn.Dense(config.hidden_size, name="ffn_out")(hidden)
        return _layer_norm(config, "ffn_norm")(x + hidden)

    def _attention(self, x: Float[Array, "b t d"], bias: Float[Array, "b 1 1 t"]) -> Float[Array, "b t d"]:
        width, heads = self.config.hidden_size, self.config.num_attention_heads
        split = (*x.shape[:2], heads, width // heads)
        query, key, value = (nn.Dense(width, name=n)(x).reshape(split) for n in ("query", "key", "value"))
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(split[-1])
        weights = jax.nn.softmax(scores + bias, axis=-1)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape)


class Bert(nn.Module):
    """Token ids to the last layer's hidden states, float32.

    `apply({"params": params}, input_ids, attention_mask)` returns B T D; [:, 0] is that of the first token, [CLS]. The
    pooler is not part of it, and all tokens are of the first type.

    Ids are not range-checked here (JAX clamps under jit): `encoder.encode_texts` does.
    """

    config: BertConfig

    @nn.compact
    def __call__(self, input_ids: Int[Array, "b t"], attention_mask: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        config = self.config
        embed = functools.partial(nn.Embed, features=config.hidden_size)
        x = embed(config.vocab_size, name="word_embeddings")(input_ids)
        positions = jnp.arange(input_ids.shape[1])[None, :]
        x = x + embed(config.max_position_embeddings, name="position_embeddings")(positions)
        x = x + embed(config.type_vocab_size, name="token_type_embeddings")(jnp.zeros_like(input_ids))
        x = _layer_norm(config, "embeddings_norm")(x)
        # The lowest finite number, not -inf: a row that is all padding stays finite.
        bias = jnp.where(attention_mask[:, None, None, :] > 0, 0.0, jnp.finfo(jnp.float32).min)
        for i in range(config.num_hidden_layers):
            x = BertLayer(config, name=f"layer_{i}")(x, bias)
        return x


def _layer_norm(config: BertConfig, name: str) -> nn.LayerNorm:
    # The fast variance E[x^2] - E[x]^2 cancels badly where a few channels are large, as in BERTs.
    return nn.LayerNorm(epsilon=config.layer_norm_eps, use_fast_variance=False, name=name)
