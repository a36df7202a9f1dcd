"""The three losses of SPEC 4 as pure functions over the label matrix: no loop over images or classes.

Notation: B images, A anatomies, P pathologies, D feature width, T text width, K negatives.
Every mean is over the global batch; a batch with no entry for a term contributes 0. Of a batch that is computed in
parts, each part gives its sums over the whole batch's counts (`loss_counts`), so that the parts add up.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8, PRNGKeyArray

from medslip_jax.experiment.sections import LossConfig

NUM_NEGATIVES = 7


def existence_labels(matrix: Int8[Array, "b a p"], *, axis: int) -> Int8[Array, "b q"]:
    """1 if any entry along `axis` is 1, else 0 if any is 0, else -1: simply the maximum of {-1, 0, 1}.

    >>> existence_labels(jnp.array([[[1, -1], [0, -1]]], jnp.int8), axis=1).tolist()
    [[1, -1]]
    """
    return matrix.max(axis=axis)


def mean_where(values: Array, keep: Array, *, count: Array | None = None) -> Float[Array, ""]:
    """Mean of the kept values; 0, with a zero gradient, if none is kept. `count` divides in place of their number.

    >>> values, keep = jnp.array([1.0, 2.0, 6.0]), jnp.array([True, False, True])
    >>> float(mean_where(values, keep)), float(mean_where(values, keep, count=4)), float(mean_where(values, values < 0))
    (3.5, 1.75, 0.0)
    """
    keep = jnp.asarray(keep, values.dtype)
    return (values * keep).sum() / jnp.maximum(keep.sum() if count is None else count, 1)


def existence(
    logits: Float[Array, "b q 2"], labels: Int8[Array, "b q"], *, count: Array | None = None
) -> Float[Array, ""]:
    """Cross-entropy over the mentioned classes (label >= 0); index 1 of the logits means present.

    Equal logits are a coin's: log 2, whatever is said of a class that the report does not mention.

    >>> round(float(existence(jnp.zeros((1, 3, 2)).at[0, 2].set(9.0), jnp.array([[1, 0, -1]]))), 4)
    0.6931
    """
    log_p = jax.nn.log_softmax(logits)
    chosen = jnp.where(labels == 1, log_p[..., 1], log_p[..., 0])
    return -mean_where(chosen, labels >= 0, count=count)


def draw_negatives(key: PRNGKeyArray, positive: Array, *, count: int = NUM_NEGATIVES) -> Int[Array, "b q k"]:
    """`count` candidates a query, uniform without replacement among those that are not positive.

    The `count` largest of independent uniform numbers are such a draw; positives get -1 and so come last.

    Args:
      key: random key; drawn on the device that runs the step.
      positive: bool b q c, True where candidate c is part of the prototype.
      count: negatives a query; at least that many candidates must be negative.
    """
    scores = jnp.where(positive, -1.0, jax.random.uniform(key, positive.shape))
    return jax.lax.top_k(scores, count)[1]


def proto_cl(
    projection: Float[Array, "b q t"],
    book: Float[Array, "c t"],
    positive: Array,
    negatives: Int[Array, "b q k"],
    counted: Array,
    *,
    config: LossConfig = LossConfig(),
    count: Array | None = None,
) -> Float[Array, ""]:
    """Prototype-contrastive loss of one stream against the other stream's text table.

    The prototype is the mean of the positive rows, so its logit is the mean of their logits: one product
    projection x book serves the prototype and all candidates.

    Args:
      projection: decoder outputs in text space.
      book: text table of the other stream, c rows.
      positive: bool b q c, the rows whose mean is the prototype.
      negatives: row indices of the other candidates.
      counted: bool b q, the (image, class) entries that enter the mean.
      config: similarity and temperature.
      count: number of counted entries to divide by, if not of these.
    """
    logits = _similarity("bqt,ct->bqc", projection, book, config)
    positive = jnp.asarray(positive, logits.dtype)
    prototype = (logits * positive).sum(-1) / jnp.maximum(positive.sum(-1), 1)
    candidates = jnp.take_along_axis(logits, negatives, axis=-1)
    every = jnp.concatenate([prototype[..., None], candidates], axis=-1)
    return mean_where(jax.nn.logsumexp(every, axis=-1) - prototype, counted, count=count)


def icl(
    anatomy: Float[Array, "b a d"],
    pathology: Float[Array, "b p d"],
    matrix: Int8[Array, "b a p"],
    *,
    config: LossConfig = LossConfig(),
    count: Array | None = None,
) -> Float[Array, ""]:
    """Intra-image loss: S = z_A . z_P against M, binary cross-entropy over the entries with M >= 0.

    One anatomy along x, pathologies along x (present: cheap) and against it (present: dear):

    >>> features = jnp.array([[[1.0, 0.0]]]), jnp.array([[[5.0, 0.0], [-5.0, 0.0]]])
    >>> [round(float(icl(*features, jnp.array([[row]]))), 3) for row in ([1, -1], [-1, 1], [1, 0])]
    [0.007, 5.007, 0.007]
    """
    score = pair_logits(anatomy, pathology, config=config)
    target = jnp.asarray(matrix == 1, score.dtype)
    return mean_where(jax.nn.softplus(score) - target * score, matrix >= 0, count=count)


def pair_logits(
    anatomy: Float[Array, "b a d"], pathology: Float[Array, "b p d"], *, config: LossConfig = LossConfig()
) -> Float[Array, "b a p"]:
    """S of SPEC 4 under the run's similarity: its sigmoid is the probability that anatomy i has pathology j."""
    return _similarity("bad,bpd->bap", anatomy, pathology, config)


def _similarity(equation: str, x: Array, y: Array, config: LossConfig) -> Array:
    if config.similarity == "cosine":
        x, y = (v * jax.lax.rsqrt(jnp.square(v).sum(-1, keepdims=True) + 1e-6) for v in (x, y))
        return jnp.einsum(equation, x, y, precision=jax.lax.Precision.HIGHEST) / config.temperature
    return jnp.einsum(equation, x, y, precision=jax.lax.Precision.HIGHEST)


def _targets(matrix: Int8[Array, "b a p"], config: LossConfig) -> dict[str, dict[str, Array]]:
    """A stream: "exists", labels of its existence term (b q), and "positive", the rows of each prototype (b q c)."""
    exists = {"pathology": existence_labels(matrix, axis=1), "anatomy": existence_labels(matrix, axis=2)}
    if config.excluded:
        exists["pathology"] = exists["pathology"].at[:, jnp.array(config.excluded)].set(-1)
    positive = {"pathology": (matrix == 1).swapaxes(1, 2), "anatomy": matrix == 1}
    return {stream: {"exists": exists[stream], "positive": positive[stream]} for stream in exists}


def loss_counts(matrix: Int8[Array, "b a p"], *, config: LossConfig = LossConfig()) -> dict[str, Array]:
    """{term: number of entries that its mean is over}, which labels alone decide."""
    counts = {"icl": (matrix >= 0).sum()}
    for stream, target in _targets(matrix, config).items():
        counts[f"exist_{stream}"] = (target["exists"] >= 0).sum()
        counts[f"proto_{stream}"] = (target["exists"] == 1).sum()
    return {name: jnp.asarray(n, jnp.float32) for name, n in counts.items()}


def draw_all_negatives(key: PRNGKeyArray, matrix: Int8[Array, "b a p"]) -> dict[str, Int[Array, "b q k"]]:
    """Negatives of both streams, as `medslip_loss` draws them from `rng=key`."""
    positive = {"pathology": (matrix == 1).swapaxes(1, 2), "anatomy": matrix == 1}
    return {s: draw_negatives(jax.random.fold_in(key, i), positive[s]) for i, s in enumerate(positive)}


def medslip_loss(
    out: Mapping[str, Mapping[str, Array]],
    matrix: Int8[Array, "b a p"],
    pathology_book: Float[Array, "p t"],
    anatomy_book: Float[Array, "a t"],
    *,
    rng: PRNGKeyArray | None = None,
    negatives: Mapping[str, Array] | None = None,
    config: LossConfig = LossConfig(),
    counts: Mapping[str, Array] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Total loss and its five terms.

    Args:
      out: what `MeDSLIP` returns; without "anatomy" (single stream) the anatomy and ICL terms are absent.
      matrix: labels in {-1, 0, 1}.
      pathology_book: the pathology text table.
      anatomy_book: the anatomy text table.
      rng: key for drawing negatives; or
      negatives: given indices {"pathology": b p 7, "anatomy": b a 7}.
      config: weights and options.
      counts: of the whole batch (`loss_counts`), if this is a part of one.

    Returns:
      (total, {"exist_pathology", "proto_pathology", "exist_anatomy", "proto_anatomy", "icl"}), unweighted terms.

    Raises:
      ValueError: unless exactly one of rng and negatives is given.
    """
    matrix = jnp.asarray(matrix)
    targets, counts = _targets(matrix, config), counts or {}
    if rng is not None and negatives is None:
        negatives = draw_all_negatives(rng, matrix)
    elif rng is not None or negatives is None:
        raise ValueError("medslip_loss: give exactly one of rng= and negatives=")
    other_book = {"pathology": anatomy_book, "anatomy": pathology_book}
    terms = {}
    for stream in (s for s in targets if s in out):
        exists, positive = targets[stream]["exists"], targets[stream]["positive"]
        exist, proto = f"exist_{stream}", f"proto_{stream}"
        terms[exist] = existence(out[stream]["logits"], exists, count=counts.get(exist))
        terms[proto] = proto_cl(
            out[stream]["projection"],
            other_book[stream],
            positive,
            negatives[stream],
            exists == 1,
            config=config,
            count=counts.get(proto),
        )
    if "anatomy" in out:
        features = out["anatomy"]["features"], out["pathology"]["features"]
        terms["icl"] = icl(*features, matrix, config=config, count=counts.get("icl"))
    weights = {"exist": config.exist_weight, "proto": config.alpha, "icl": config.beta}
    total = sum(weights[name.split("_")[0]] * value for name, value in terms.items())
    return jnp.asarray(total), terms
