"""Losses on cases small enough to work by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medslip_jax.experiment.sections import LossConfig
from medslip_jax.step import losses
from medslip_jax.step.losses import medslip_loss
from medslip_jax.testing import synthetic_batch, tiny_books
from medslip_jax.vocabulary import PATHOLOGIES

pytestmark = pytest.mark.portable


def _outputs(key, books, *, b=2, d=6, streams=("pathology", "anatomy")):
    out = {}
    for i, stream in enumerate(streams):
        q, t = getattr(books, stream).shape
        k = jax.random.split(jax.random.fold_in(key, i), 3)
        out[stream] = {
            "logits": jax.random.normal(k[0], (b, q, 2)),
            "projection": jax.random.normal(k[1], (b, q, t)),
            "features": jax.random.normal(k[2], (b, q, d)),
        }
    return out


def test_existence_labels():
    # anatomies down, pathologies across
    matrix = jnp.array([[[1, 0, -1], [0, -1, -1]]], jnp.int8)
    assert losses.existence_labels(matrix, axis=1).tolist() == [[1, 0, -1]]
    assert losses.existence_labels(matrix, axis=2).tolist() == [[1, 0]]


def test_existence_ignores_what_is_not_mentioned():
    logits = jnp.array([[[0.0, np.log(3.0)], [np.log(4.0), 0.0], [9.0, -9.0]]])
    labels = jnp.array([[1, 0, -1]], jnp.int8)
    # -log(3/4) and -log(4/5); the third class is not mentioned
    want = -(np.log(3 / 4) + np.log(4 / 5)) / 2
    np.testing.assert_allclose(losses.existence(logits, labels), want, rtol=1e-6)


def test_proto_cl_by_hand():
    book = jnp.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    projection = jnp.array([[[1.0, 0.0]]])
    positive = jnp.array([[[True, True, False]]])
    # prototype (1, 1) -> logit 1; the negative is row 2 -> logit 1: log(2)
    got = losses.proto_cl(projection, book, positive, jnp.array([[[2]]]), jnp.array([[True]]))
    np.testing.assert_allclose(got, np.log(2.0), rtol=1e-6)


def test_icl_by_hand():
    anatomy, pathology = jnp.array([[[1.0], [2.0]]]), jnp.array([[[np.log(3.0)]]])
    matrix = jnp.array([[[1], [0]]], jnp.int8)
    # sigmoid(log 3) = 3/4 and sigmoid(2 log 3) = 9/10
    np.testing.assert_allclose(losses.icl(anatomy, pathology, matrix), -(np.log(3 / 4) + np.log(1 / 10)) / 2, rtol=1e-5)


def test_an_empty_batch_costs_nothing_and_has_finite_gradients():
    books = tiny_books()
    out = _outputs(jax.random.key(0), books)
    matrix = jnp.full((2, 51, 75), -1, jnp.int8)

    def total(out):
        return medslip_loss(out, matrix, books.pathology, books.anatomy, rng=jax.random.key(1))[0]

    value, grads = jax.value_and_grad(total)(out)
    assert value == 0
    assert all(bool((g == 0).all()) for g in jax.tree.leaves(grads))


def test_negatives_are_distinct_and_never_positive():
    positive = jax.random.bernoulli(jax.random.key(0), 0.4, (4, 20, 30))
    drawn = np.asarray(losses.draw_negatives(jax.random.key(1), positive))
    assert drawn.shape == (4, 20, 7)
    assert not np.take_along_axis(np.asarray(positive), drawn, axis=-1).any()
    assert all(len(set(row)) == 7 for row in drawn.reshape(-1, 7))


def test_negatives_are_uniform():
    positive = jnp.zeros((4000, 1, 10), bool).at[..., 3].set(True)
    drawn = np.asarray(losses.draw_negatives(jax.random.key(0), positive, count=3))
    counts = np.bincount(drawn.ravel(), minlength=10)
    # 9 candidates, 12,000 draws: 1333 each, standard deviation about 30
    assert counts[3] == 0
    assert (np.abs(np.delete(counts, 3) - 12000 / 9) < 150).all()


def test_weights_and_terms():
    books, batch = tiny_books(), synthetic_batch(2)
    out = _outputs(jax.random.key(0), books)
    config = LossConfig(exist_weight=2.0, alpha=0.5, beta=0.0)
    total, terms = medslip_loss(
        out, batch["matrix"], books.pathology, books.anatomy, rng=jax.random.key(1), config=config
    )
    want = 2 * (terms["exist_pathology"] + terms["exist_anatomy"]) + 0.5 * (
        terms["proto_pathology"] + terms["proto_anatomy"]
    )
    np.testing.assert_allclose(total, want, rtol=1e-6)
    assert terms["icl"] > 0


def test_single_stream_has_two_terms():
    books, batch = tiny_books(), synthetic_batch(2)
    out = _outputs(jax.random.key(0), books, streams=("pathology",))
    _, terms = medslip_loss(out, batch["matrix"], books.pathology, books.anatomy, rng=jax.random.key(1))
    assert set(terms) == {"exist_pathology", "proto_pathology"}


def test_excluded_classes_do_not_touch_the_pathology_terms():
    books, batch = tiny_books(), synthetic_batch(2)
    out = _outputs(jax.random.key(0), books)
    moved = jax.tree.map(lambda x: x, out)
    for name in ("logits", "projection"):
        moved["pathology"][name] = moved["pathology"][name].at[:, [4, 9]].multiply(3.0)

    def terms(out, excluded):
        config = LossConfig(exclude_classes=tuple(PATHOLOGIES[i] for i in excluded))
        args = (batch["matrix"], books.pathology, books.anatomy)
        return medslip_loss(out, *args, rng=jax.random.key(1), config=config)[1]

    for name in ("exist_pathology", "proto_pathology"):
        assert terms(out, (4, 9))[name] == terms(moved, (4, 9))[name]
        assert terms(out, ())[name] != terms(moved, ())[name]


def test_cosine_similarity_ignores_lengths():
    books, batch = tiny_books(), synthetic_batch(2)
    out = _outputs(jax.random.key(0), books)
    longer = jax.tree.map(lambda x: x, out)
    for stream in longer:
        for name in ("projection", "features"):
            longer[stream][name] = 10 * longer[stream][name]

    def terms(out):
        args = (batch["matrix"], books.pathology, books.anatomy)
        return medslip_loss(out, *args, rng=jax.random.key(1), config=LossConfig(similarity="cosine"))[1]

    for name in ("proto_pathology", "proto_anatomy", "icl"):
        np.testing.assert_allclose(terms(out)[name], terms(longer)[name], rtol=1e-4)


def test_rng_or_negatives_is_required():
    books = tiny_books()
    with pytest.raises(ValueError, match="exactly one"):
        medslip_loss({}, jnp.zeros((1, 51, 75), jnp.int8), books.pathology, books.anatomy)
