"""The released model's outputs, losses and gradients are reproduced (SPEC 9, tolerances of the issue)."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from places import GOLDEN

from medslip_jax.experiment.sections import OptimConfig
from medslip_jax.models import MeDSLIP, MeDSLIPConfig
from medslip_jax.models.folding import fold
from medslip_jax.step.losses import medslip_loss
from medslip_jax.step.optim import make_optimizer
from medslip_jax.testing import recipe_state
from medslip_jax.weights.torch.conversion import from_torch, to_torch

pytestmark = pytest.mark.portable

# As users' programs are compiled, whatever the suite asks for to compile fast (CONTRIBUTING.md): without optimisation
# other roundings let one activation near zero pass a ReLU, which moves the norms upstream of it by 2e-4.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})

MANIFEST = json.loads((GOLDEN / "resnet50.manifest.json").read_text())
TERMS = ("exist_pathology", "proto_pathology", "exist_anatomy", "proto_anatomy", "icl")
LIMITS = {
    "eval": {"output": 2e-5, "patches": 1e-4, "loss": 1e-5, "norm": 2e-4, "gradient": 1e-5, "stem": 3e-3},
    "train": {"output": 2e-3, "patches": 2e-3, "loss": 1e-4, "norm": 1e-2, "gradient": 4e-2, "stem": 4e-2},
}

# After four AdamW steps. A bias of two numbers that Adam moves by 1e-4 a step in the direction that the gradient's sign
# says, and rounding tips the sign: weights changed by 1e-7 move this norm by up to 8.3e-3 (six draws, under jax 0.10.2
# and 0.12.0), and every other by 1.2e-3 at most.
TIPPED = {"classifier_pathology.bias": 2e-2}


@pytest.fixture(scope="module")
def case(golden):
    """Inputs, variables and a compiled loss-and-gradients function for each mode."""
    arrays = golden("resnet50")
    image = jnp.asarray(arrays["image"].astype(np.float32).transpose(0, 2, 3, 1))
    books = (jnp.asarray(arrays["pathology_book"]), jnp.asarray(arrays["anatomy_book"]))
    negatives = {s: jnp.asarray(arrays[f"index_{s}"][:, :, 1:], jnp.int32) for s in ("pathology", "anatomy")}
    model = MeDSLIP(MeDSLIPConfig(dropout=0.0))

    def make(mode):
        def loss_fn(params, batch_stats):
            out, updated = model.apply(
                {"params": params, "batch_stats": batch_stats},
                image,
                *books,
                train=mode == "train",
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
            total, terms = medslip_loss(out, jnp.asarray(arrays["matrix"]), *books, negatives=negatives)
            return total, {"out": out, "terms": terms, "batch_stats": updated["batch_stats"]}

        return jit(jax.value_and_grad(loss_fn, has_aux=True))

    state = recipe_state(MANIFEST)
    return {
        "golden": arrays,
        "inputs": (image, *books),
        "state": state,
        "variables": from_torch(state),
        "eval": make("eval"),
        "train": make("train"),
    }


@pytest.fixture(scope="module", params=["eval", "train"])
def result(request, case):
    (total, aux), grads = case[request.param](case["variables"]["params"], case["variables"]["batch_stats"])
    gradients = to_torch({"params": grads, "batch_stats": case["variables"]["batch_stats"]})
    return {"mode": request.param, "total": total, "gradients": gradients, **aux}


def check_outputs(out, golden, *, mode: str) -> None:
    limits = LIMITS[mode]
    for stream in ("pathology", "anatomy"):
        for name in ("patches", "features", "attention", "logits"):
            error = np.abs(np.asarray(out[stream][name]) - golden[f"{mode}/{name}_{stream}"]).max()
            assert error <= limits["patches" if name == "patches" else "output"], (stream, name)


def test_outputs(case, result):
    check_outputs(result["out"], case["golden"], mode=result["mode"])


def test_outputs_with_folded_norms(case):
    out = jax.jit(MeDSLIP().apply)(fold(case["variables"]), *case["inputs"])
    check_outputs(out, case["golden"], mode="eval")


def test_losses(case, result):
    got = np.array([result["total"], *(result["terms"][name] for name in TERMS)])
    np.testing.assert_allclose(got, case["golden"][f"{result['mode']}/losses"], rtol=LIMITS[result["mode"]]["loss"])


def test_gradient_norms(case, result):
    mode = result["mode"]
    # PyTorch lists the shared norm's gradient under the anatomy decoder, our rules under both (SPEC 9).
    names = case["golden"][f"{mode}/grad_names"].tolist()
    norms = [np.linalg.norm(result["gradients"][name].ravel()) for name in names]
    np.testing.assert_allclose(norms, case["golden"][f"{mode}/grad_norms"], rtol=LIMITS[mode]["norm"])
    unnamed = set(result["gradients"]) - set(names)
    assert all("running" in n or "num_batches" in n or n.startswith("decoder_pathology.norm") for n in unnamed)


def test_whole_gradients(case, result):
    prefix = f"{result['mode']}/grad/"
    names = [key.removeprefix(prefix) for key in case["golden"] if key.startswith(prefix)]
    assert len(names) == 6
    for name in names:
        want = case["golden"][prefix + name]
        limit = LIMITS[result["mode"]]["stem" if name == "res_features.0.weight" else "gradient"]
        assert np.abs(result["gradients"][name] - want).max() <= limit * np.abs(want).max(), name


def test_batch_statistics_after_one_step(case):
    (_, aux), _ = case["train"](case["variables"]["params"], case["variables"]["batch_stats"])
    got = to_torch({"params": case["variables"]["params"], "batch_stats": aux["batch_stats"]})
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(got[f"res_features.1.{name}"], case["golden"][f"train/bn1_{name}"], atol=1e-5)


def four_steps(case, params) -> dict:
    """{"losses": 4 x (total and five terms), "norms": by PyTorch name} of four AdamW steps in train mode."""
    batch_stats = case["variables"]["batch_stats"]
    optimizer = make_optimizer(OptimConfig(), lambda step: 1e-4)
    opt_state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    losses = []
    for _ in range(4):
        (total, aux), grads = case["train"](params, batch_stats)
        losses.append([total, *(aux["terms"][name] for name in TERMS)])
        updates, opt_state = update(grads, opt_state, params)
        params, batch_stats = optax.apply_updates(params, updates), aux["batch_stats"]
    norms = {name: np.linalg.norm(x) for name, x in to_torch({"params": params, "batch_stats": batch_stats}).items()}
    return {"losses": np.array(losses), "norms": norms}


@pytest.fixture(scope="module")
def steps(case):
    return four_steps(case, case["variables"]["params"])


def test_four_adamw_steps(case, steps):
    """Step 1 and all parameter norms are close; from step 2 on only the size of the losses can be compared.

    The issue asks for 1e-3 at step 2 and 2e-2 at steps 3 and 4. With two images a step, batch statistics and Adam's
    near-sign updates amplify rounding: exact (float64) arithmetic misses the golden losses by 4e-3, 2.9e-1 and
    2.8e-1, and `test_adamw_losses_depend_on_rounding` shows that a change of 1e-7 moves ours as far.
    """
    want = case["golden"]["adamw/losses"]
    np.testing.assert_allclose(steps["losses"][0], want[0], rtol=1e-4)
    np.testing.assert_allclose(steps["losses"][1], want[1], rtol=2e-2)
    np.testing.assert_allclose(steps["losses"][2:], want[2:], rtol=0.5)
    names = case["golden"]["eval/grad_names"].tolist()
    norms = [steps["norms"][name.replace("decoder_anatomy.norm", "decoder_pathology.norm")] for name in names]
    errors = np.abs(norms / case["golden"]["adamw/param_norms"] - 1)
    for name, error in zip(names, errors, strict=True):
        assert error < TIPPED.get(name, 2e-3), name


def test_adamw_losses_depend_on_rounding(case, steps):
    """Evidence for the limits above: weights changed by 1e-7, a float32 rounding, leave the asked limits."""
    rng = np.random.default_rng(0)
    nudged = jax.tree.map(
        lambda x: x * (1 + 1e-7 * rng.standard_normal(x.shape)).astype(np.float32), case["variables"]["params"]
    )
    spread = np.abs(four_steps(case, nudged)["losses"] / steps["losses"] - 1).max(axis=1)
    assert spread[0] < 1e-4
    assert spread[1] > 1e-3
    assert spread[2:].min() > 2e-2


def test_parameter_count(case):
    assert sum(p.size for p in jax.tree.leaves(case["variables"]["params"])) == 21_237_572
