"""Does this device compute the released model? Its outputs, losses and gradient norms in float32, for known weights.

`assets/parity.npz` has numbers of the released PyTorch code from the golden files (SPEC 9): the paper's ResNet-50
model, two images, evaluation mode, weights by `testing.recipe_state`. Images and text tables are drawn, not shipped.
"""

import time
import zlib
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medslip_jax.experiment.sections import LOSS_TERMS
from medslip_jax.models import MeDSLIP, MeDSLIPConfig
from medslip_jax.models.kinds import abstract_variables
from medslip_jax.step.losses import medslip_loss
from medslip_jax.testing import recipe_state
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES
from medslip_jax.weights.torch.conversion import from_torch, to_torch

# Those of the test suite, on whatever device: absolute for outputs, relative for the others.
LIMITS = {"outputs": 2e-5, "losses": 1e-5, "gradient norms": 2e-4}
_SEED = 7


def check_parity() -> dict:
    """Compares the default device with the released code.

    Returns:
      {"passed": within all limits, "errors" and "limits": {"outputs", "losses", "gradient norms"}: the largest errors,
      or "not finite"; "compile_seconds"}.
    """
    want = released_numbers()
    got = _computed(want, drawn_inputs(image_crc=int(want["image_crc"])))
    errors = {
        # NumPy's maximum, as Python's passes over what is not a number.
        "outputs": float(np.max([np.abs(got[name] - want[name]).max() for name in got["outputs"]])),
        "losses": float(np.abs(got["losses"] / want["losses"] - 1).max()),
        "gradient norms": float(np.abs(got["gradient_norms"] / want["gradient_norms"] - 1).max()),
    }
    passed = all(errors[name] <= limit for name, limit in LIMITS.items())
    said = {name: error if np.isfinite(error) else "not finite" for name, error in errors.items()}
    return {"passed": passed, "errors": said, "limits": LIMITS, "compile_seconds": got["compile_seconds"]}


def released_numbers() -> dict[str, np.ndarray]:
    """The arrays of `assets/parity.npz`."""
    file = resources.files("medslip_jax") / "assets" / "parity.npz"
    with file.open("rb") as opened, np.load(opened) as arrays:
        return dict(arrays)


def drawn_inputs(*, image_crc: int) -> dict[str, np.ndarray]:
    """{"image": float16 (2, 3, 224, 224), "pathology", "anatomy": text tables} of the golden files.

    Raises:
      RuntimeError: NumPy draws other images than those whose CRC-32 is given.
    """
    rng = np.random.default_rng(_SEED)
    width = MeDSLIPConfig().text_dim
    books = {
        stream: (0.3 * rng.standard_normal((count, width))).astype(np.float32)
        for stream, count in (("anatomy", len(ANATOMIES)), ("pathology", len(PATHOLOGIES)))
    }
    image = rng.standard_normal((2, 3, 224, 224)).astype(np.float16)
    if zlib.crc32(image.tobytes()) != image_crc:
        raise RuntimeError(f"NumPy {np.__version__} draws other random numbers than those that golden parity is about")
    return {"image": image, **books}


def _computed(want: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> dict:
    """The same arrays by this device, "outputs": names of those that are outputs, and "compile_seconds"."""
    model = MeDSLIP(MeDSLIPConfig(dropout=0.0))
    image = jnp.asarray(drawn["image"].astype(np.float32).transpose(0, 2, 3, 1))
    books = jnp.asarray(drawn["pathology"]), jnp.asarray(drawn["anatomy"])
    negatives = {s: jnp.asarray(want[f"index_{s}"][:, :, 1:], jnp.int32) for s in ("pathology", "anatomy")}

    def loss_fn(params, batch_stats, image, books, negatives, matrix):
        out: Any = model.apply({"params": params, "batch_stats": batch_stats}, image, *books)
        total, terms = medslip_loss(out, matrix, *books, negatives=negatives)
        return total, {"out": out, "terms": terms}

    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_variables(model.config))
    state = from_torch(recipe_state({name: x.shape for name, x in to_torch(blank).items()}))
    args = state["params"], state["batch_stats"], image, books, negatives, jnp.asarray(want["matrix"])
    start = time.perf_counter()
    compiled = jax.jit(jax.value_and_grad(loss_fn, has_aux=True)).lower(*args).compile()
    compile_seconds = time.perf_counter() - start
    (total, aux), grads = jax.device_get(compiled(*args))
    named = to_torch({"params": grads, "batch_stats": state["batch_stats"]})
    outputs = {
        f"{kind}_{stream}": aux["out"][stream][kind] for stream in negatives for kind in ("logits", "features")
    } | {f"attention_{stream}": aux["out"][stream]["attention"][:1, -1:] for stream in negatives}
    return {
        **{name: value[: len(want[name])] for name, value in outputs.items()},
        "outputs": list(outputs),
        "losses": np.array([total, *(aux["terms"][term] for term in LOSS_TERMS)], np.float64),
        "gradient_norms": np.array([np.linalg.norm(named[name].ravel()) for name in want["gradient_names"]]),
        "compile_seconds": compile_seconds,
    }
