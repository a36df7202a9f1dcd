"""One X-ray in, what a page shows of it out: probabilities and heat maps, and those of a finding in one's own words."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np

from data_pipelines import images
from medslip_jax.errors import InputError
from medslip_jax.evaluation.prediction import class_maps, class_names, class_values
from medslip_jax.models.kinds import kind_of
from medslip_jax.text.encoder import TextEncoder
from medslip_jax.text.user_queries import check_encoder, encode_query
from medslip_jax.weights.export.stablehlo import FreeTables, serving_function
from medslip_jax.weights.loading import Pretrained


@dataclasses.dataclass(frozen=True)
class Answer:
    """Of one X-ray.

    Attributes:
      probabilities: 0 .. 1 by class; of a segmenter, the share of pixels above 0.5.
      maps: float (h, w) by class, not negative; empty where the model has none.
      finding: the user's own words, "" if there are none.
      finding_probability: of it, or None.
    """

    probabilities: Mapping[str, float]
    maps: Mapping[str, np.ndarray]
    finding: str = ""
    finding_probability: float | None = None


class Reader:
    """A model of any kind, and for a pre-training model the encoder of its tables.

    Args:
      pretrained: the model.
      encoder: for findings in one's own words; None leaves these out.

    Raises:
      InputError: text tables are missing, or the encoder is not theirs.
    """

    def __init__(self, pretrained: Pretrained, *, encoder: TextEncoder | None = None):
        self.kind = kind_of(pretrained.config)
        self.names = class_names(pretrained)
        self._pretrained, self._encoder = pretrained, encoder
        _ = pretrained.inputs
        if encoder is not None:
            if pretrained.books is None or self.kind != "medslip":
                raise InputError(f"--encoder: a {self.kind} reads no text; leave it out")
            check_encoder(encoder, books=pretrained.books)

    @property
    def takes_findings(self) -> bool:
        return self._encoder is not None

    def answer(self, image: np.ndarray, *, finding: str = "") -> Answer:
        """Grey uint8 (H, W) -> `Answer`.

        The classes are asked without the finding, so that their numbers are those of `medslip predict`: a further query
        moves the others a little, as queries attend to one another.

        Raises:
          InputError: a finding without an encoder.
        """
        finding = " ".join(finding.split())
        if not finding:
            return self._classes(image)
        books = self._pretrained.books
        if self._encoder is None or books is None:
            raise InputError("a finding in your own words needs the text encoder: start with --encoder")
        answer = self._classes(image)
        described = self._pretrained.info.get("books", {}).get("tables", "as_is")
        row = encode_query(finding, books=books, encoder=self._encoder, tables=described)
        outputs = self._outputs(image, np.concatenate([self._pretrained.inputs[0], row]))
        return dataclasses.replace(
            answer,
            maps={**answer.maps, finding_name(finding): outputs["pathology_attention"][-1]},
            finding=finding,
            finding_probability=float(outputs["pathology_probability"][-1]),
        )

    def _classes(self, image: np.ndarray) -> Answer:
        outputs = self._outputs(image, self._pretrained.inputs[0] if self.kind == "medslip" else None)
        maps = class_maps(outputs)
        probabilities = {name: float(value) for name, value in zip(self.names, class_values(outputs), strict=True)}
        return Answer(probabilities, {} if maps is None else dict(zip(self.names, maps, strict=True)))

    def _outputs(self, image: np.ndarray, pathology: np.ndarray | None) -> dict[str, np.ndarray]:
        batch = images.squash(image, self._pretrained.info["preprocessing"]["image_size"])[None]
        return {name: array[0] for name, array in jax.device_get(self._step(batch, pathology)).items()}

    @functools.cached_property
    def _step(self):
        """Compiled twice at most: for 75 rows and for 76, which are arguments and no constants."""
        module, variables, inputs = self._pretrained.module, self._pretrained.variables, self._pretrained.inputs

        def step(image: jax.Array, pathology: jax.Array | None) -> dict[str, jax.Array]:
            tables = None if pathology is None else FreeTables(pathology, inputs[1])
            return serving_function(module, kind=self.kind, variables=variables, books=tables)(image)

        return jax.jit(step)


def finding_name(finding: str) -> str:
    """The user's words as they stand beside the classes, none of which has quotation marks."""
    return f"“{finding}”"
