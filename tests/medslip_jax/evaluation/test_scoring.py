"""What a pass over a loader collects, against the model called directly."""

import jax
import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.evaluation.scoring import PAIR_KEYS, jit_score_step, score
from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.models import MeDSLIP
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import Trainer, init_state, normalise
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config

EXTRA = np.random.default_rng(3).standard_normal((2, 12), np.float32)
N, BATCH = 6, 4


def make_trainer(*, streams: str = "dual", **loss) -> Trainer:
    return Trainer(
        model=tiny_config(streams=streams),
        loss=LossConfig(**loss),
        optim=OptimConfig(),
        books=tiny_books(),
        num_steps=1,
        steps_per_epoch=1,
    )


def make_loader() -> list[dict[str, np.ndarray]]:
    """Six images in batches of four, in the order 5 .. 0; the last two rows are padding with labels of their own."""
    full = synthetic_batch(8, image_size=32)
    full |= {
        "labels": full["matrix"].max(axis=1),
        "valid": np.arange(8) < N,
        "index": np.array([5, 4, 3, 2, 1, 0, 0, 0]),
    }
    return [{key: value[i : i + BATCH] for key, value in full.items()} for i in (0, BATCH)]


def run(trainer: Trainer, **options) -> dict[str, np.ndarray]:
    state = init_state(trainer, image_size=32)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    mesh = sharding.make_mesh()
    return score(jit_score_step(trainer, mesh, **options), variables, make_loader(), mesh=mesh)


def direct(trainer: Trainer, *, extra: np.ndarray | None = None) -> dict:
    """The model's outputs of the six images by increasing index, and their matrix."""
    state = init_state(trainer, image_size=32)
    table = trainer.books.pathology if extra is None else np.concatenate([trainer.books.pathology, extra])
    batches = make_loader()
    image, matrix = (np.concatenate([b[key] for b in batches])[:N][::-1] for key in ("image", "matrix"))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    out = MeDSLIP(trainer.model).apply(variables, normalise(image), table, trainer.books.anatomy)
    return {"out": jax.tree.map(np.asarray, out), "matrix": matrix}


@pytest.mark.parametrize("loss", [{}, {"similarity": "cosine", "temperature": 0.2}])
def test_pairs_are_means_over_the_mentions(loss):
    got, want = run(make_trainer(**loss)), direct(make_trainer(**loss))
    a, p = (want["out"][stream]["features"].astype(np.float64) for stream in ("anatomy", "pathology"))
    if loss:
        a, p = (x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6) for x in (a, p))
    probability = 1 / (1 + np.exp(-np.einsum("bad,bpd->bap", a, p) / loss.get("temperature", 1)))
    said = want["matrix"] >= 0
    count = said.sum(axis=0)
    assert got["pair_count"].tolist() == count.tolist() and (count > 1).any() and (count == 0).any()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(got["pair_predicted"], (probability * said).sum(0) / count, atol=1e-5)
        np.testing.assert_allclose(got["pair_true"], (want["matrix"] == 1).sum(0) / count, atol=1e-7)
    assert [got[key].dtype.name for key in PAIR_KEYS] == ["float32", "float32", "int64"]
    assert np.isnan(got["pair_true"][count == 0]).all() and np.isfinite(got["pair_true"][count > 0]).all()


def test_maps_and_extra_queries_in_one_pass():
    trainer = make_trainer()
    got = run(trainer, map_classes=[3, 70], map_anatomies=[5, 2], extra_queries=EXTRA, map_extra=[1])
    out = direct(trainer, extra=EXTRA)["out"]
    probability = jax.nn.softmax(out["pathology"]["logits"])[..., 1]
    maps = {stream: o["attention"].mean(axis=1) for stream, o in out.items()}
    want = {
        "pathology": probability[:, :75],
        "extra": probability[:, 75:],
        "pathology_map": maps["pathology"][:, [3, 70]],
        "extra_map": maps["pathology"][:, [76]],
        "anatomy_map": maps["anatomy"].mean(axis=1),
        "anatomy_maps": maps["anatomy"][:, [5, 2]],
    }
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-6, err_msg=name)
        assert got[name].dtype == np.float32
    assert got["index"].tolist() == list(range(N)) and got["pair_count"].shape == (51, 75)


def test_extra_queries_reach_the_others_through_self_attention():
    trainer = make_trainer()
    difference = np.abs(run(trainer, extra_queries=EXTRA)["pathology"] - run(trainer)["pathology"]).max()
    assert 0 < difference < 0.1


def test_a_single_stream_has_no_pairs_and_no_anatomy_maps():
    got = run(make_trainer(streams="pathology"), map_classes=[3], map_anatomies=[2], extra_queries=EXTRA)
    assert set(got) == {"index", "labels", "matrix", "pathology", "pathology_map", "extra"}


def test_extra_queries_are_checked():
    mesh = sharding.make_mesh()
    with pytest.raises(InputError, match=r"\(2, 13\); give k x 12"):
        jit_score_step(make_trainer(), mesh, extra_queries=np.zeros((2, 13)))
    with pytest.raises(InputError, match="NaN"):
        jit_score_step(make_trainer(), mesh, extra_queries=np.full((1, 12), np.nan))
