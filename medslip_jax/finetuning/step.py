"""Fine-tuning as the training loop sees it: a classifier or a U-Net, the parts that learn, and the loss (SPEC 7)."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import Tune
from medslip_jax.models.config import ClassifierConfig, SegmenterConfig
from medslip_jax.models.kinds import make_module
from medslip_jax.parallel import sharding
from medslip_jax.step.losses import mean_where
from medslip_jax.step.optim import make_optimizer
from medslip_jax.step.train_step import StepParts, normalise

# Stages of the trunk that keep weights and statistics.
_FROZEN_STAGES = {"full": 0, "last_blocks": 3, "head": 3}


def bce(logits: Float[Array, "*b k"], labels: Int[Array, "*b k"], *, count: Array | None = None) -> Float[Array, ""]:
    """Binary cross-entropy, mean over the known labels (1 or 0; -1 is unknown); 0 if none is known."""
    each = jax.nn.softplus(logits) - logits * jnp.asarray(labels == 1, logits.dtype)
    return mean_where(each, labels >= 0, count=count)


def soft_dice_loss(logits: Float[Array, "b h w k"], masks: Int[Array, "b h w k"]) -> Float[Array, ""]:
    """1 - (2 I + 1) / (S + 1) over the whole batch, the mean over classes (SPEC 7)."""
    probability, truth = jax.nn.sigmoid(logits), jnp.asarray(masks, logits.dtype)
    intersection = (probability * truth).sum((0, 1, 2))
    total = (probability + truth).sum((0, 1, 2))
    return (1 - (2 * intersection + 1) / (total + 1)).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuner(StepParts):
    """Fine-tuning of one model.

    Attributes:
      model: a classifier, trained with `bce` on {"image", "labels"}, or a U-Net, with bce + `soft_dice_loss` on
        {"image", "masks"} (batches of a `Loader` with targets).
      tune: "full"; "last_blocks": all but the pre-trained trunk up to layer3; "head": the last linear layer on the
        trunk's features, a linear probe. Frozen parts keep their batch statistics too.

    Raises:
      InputError: a probe of features that pre-training has not made.
    """

    model: ClassifierConfig | SegmenterConfig
    tune: Tune = "full"

    def __post_init__(self):
        if self.tune not in _FROZEN_STAGES:
            raise InputError(f"tune={self.tune!r}: one of {', '.join(_FROZEN_STAGES)}")
        if self.tune == "head" and getattr(self.model, "last_stage", "") != "layer3":
            raise InputError(
                "tune='head' trains one linear layer, and what pre-training ends with is layer3: it goes with a "
                "classifier and --config.model.last_stage=layer3"
            )
        if isinstance(self.model, SegmenterConfig) and self.optim.accumulate > 1:
            raise InputError(
                "optim.accumulate: the soft Dice loss is a ratio over the whole batch, which parts of a batch do not "
                "add up to; for less memory use --config.model.remat=blocks"
            )

    @property
    def truth(self) -> str:
        """Key of a batch."""
        return "labels" if isinstance(self.model, ClassifierConfig) else "masks"

    def init_variables(self, key: PRNGKeyArray, image: Float[Array, "1 h w 3"]) -> dict[str, dict]:
        return dict(make_module(self.model).init(key, image))

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """Of the parts that learn: neither decay nor moments touch the others."""
        learning = make_optimizer(self.optim, self.schedule)
        return optax.multi_transform({"learns": learning, "frozen": optax.set_to_zero()}, self.parts)

    def parts(self, params: Mapping) -> dict:
        """ "learns" or "frozen" for every leaf."""

        def part(path: tuple, _) -> str:
            names = [entry.key for entry in path]
            frozen = (self.tune == "head" and names[0] != "head") or (
                self.tune == "last_blocks" and names[0] == "trunk" and not names[1].startswith("layer4")
            )
            return "frozen" if frozen else "learns"

        return jax.tree_util.tree_map_with_path(part, params)

    def whole_batch(self, batch: Mapping[str, Array], key: PRNGKeyArray) -> tuple[dict, dict[str, Array]]:
        return dict(batch), {"bce": jnp.asarray((batch[self.truth] >= 0).sum(), jnp.float32)}

    def loss_terms(
        self, variables: Mapping, batch: Mapping, *, key: PRNGKeyArray, counts: Mapping[str, Array]
    ) -> tuple[Array, dict, dict]:
        parts = self.parts(variables["params"])
        # No gradient is computed that the optimiser would throw away.
        params = jax.tree.map(
            lambda x, part: x if part == "learns" else jax.lax.stop_gradient(x), variables["params"], parts
        )
        logits, updated = make_module(self.model, norm_groups=self.norm_groups).apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            normalise(batch["image"]),
            train=True,
            frozen=_FROZEN_STAGES[self.tune],
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        terms = {"bce": bce(logits, batch[self.truth], count=counts["bce"])}
        if self.truth == "masks":
            terms["soft_dice"] = soft_dice_loss(logits, batch["masks"])
        return jnp.asarray(sum(terms.values())), terms, updated["batch_stats"]


def jit_judge_step(tuner: FineTuner, mesh: Mesh, *, threshold: float = 0.5) -> jax.stages.Wrapped:
    """(variables, batch) -> rows for `scoring.score`, replicated, so that every host has all of them.

    Of a classifier "probability" (b, k) and "labels" (b, k). Of a U-Net areas in pixels at `probability > threshold`,
    int32 (b, k): "intersection", "said" and "true"; the masks stay on the device.
    """

    def step(variables: Mapping, batch: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        logits: Any = make_module(tuner.model).apply(variables, normalise(batch["image"]))
        probability = jax.nn.sigmoid(logits)
        rows = {"valid": batch["valid"], "index": batch["index"]}
        if tuner.truth == "labels":
            return {"rows": rows | {"probability": probability, "labels": batch["labels"]}, "pairs": {}}
        said, true = probability > threshold, batch["masks"] == 1
        areas = {"intersection": said & true, "said": said, "true": true}
        return {"rows": rows | {name: x.sum((1, 2), dtype=jnp.int32) for name, x in areas.items()}, "pairs": {}}

    return jax.jit(step, in_shardings=(None, sharding.batch_sharding(mesh)), out_shardings=sharding.replicated(mesh))
