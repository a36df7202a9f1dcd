"""A Hugging Face directory of a very small BERT with random weights and a letter-by-letter vocabulary."""

import json
import string
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from medslip_jax.text.bert import Bert, BertConfig
from medslip_jax.text.bert_weights import hf_name

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "_", ".", ",", "-"]
VOCABULARY += [prefix + letter for prefix in ("", "##") for letter in string.ascii_lowercase + string.digits]
SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}


def write_toy_bert(directory: Path) -> Path:
    """Writes config.json, model.safetensors and vocab.txt (all that older hub repositories have)."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "bert", **SIZES}))
    (directory / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    ids = jnp.ones((1, 1), jnp.int32)
    shapes = flatten_dict(jax.eval_shape(Bert(BertConfig(**SIZES)).init, jax.random.key(0), ids, ids)["params"])
    rng = np.random.default_rng(0)
    state = {}
    for path, leaf in shapes.items():
        x = rng.standard_normal(leaf.shape).astype(np.float32)
        state[hf_name(path)] = np.ascontiguousarray(x.T) if path[-1] == "kernel" else x
    save_file(state, directory / "model.safetensors")
    return directory
