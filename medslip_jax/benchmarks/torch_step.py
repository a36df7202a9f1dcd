"""The released training step in PyTorch, to measure against: written from SPEC 3 to 5, not from the released code.

The released losses are computed for one image and one class after another in Python. `losses="looped"` does the same
work in that order, `losses="whole"` the same numbers as products over the batch, as somebody would who tunes the
PyTorch code: the harder of the two to beat. There is no dropout, which spares PyTorch a little work.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.weights.torch.torch_model import MeDSLIP, preprocess

Losses = Literal["looped", "whole"]


class TorchStep:
    """Forward, the five losses, backward and AdamW of the paper's model.

    Args:
      books: {"pathology": (75, T), "anatomy": (51, T)} text tables.
      losses: how they are computed.
      state: a state_dict to start from; PyTorch's own initial values without one.
      device: where it computes, as PyTorch calls it.
      model: in place of the paper's, with the tables' width.
    """

    def __init__(
        self,
        books: Mapping[str, np.ndarray],
        *,
        losses: Losses = "looped",
        state: Mapping[str, np.ndarray] | None = None,
        device: str = "cpu",
        model: MeDSLIPConfig | None = None,
    ):
        config = dataclasses.asdict(model) if model else {"text_dim": books["pathology"].shape[1]}
        self.model = MeDSLIP(**config).train().to(device)
        if state is not None:
            self.model.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
        self.books = {stream: torch.as_tensor(book, device=device) for stream, book in books.items()}
        self._losses = {"looped": looped_losses, "whole": whole_losses}[losses]
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.02},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True if torch.device(device).type == "cuda" else None)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> float:
        """One step on {"image": uint8 b h w, "matrix": int8 b 51 75}; returns the total loss."""
        matrix = torch.as_tensor(batch["matrix"])
        terms = self.terms(preprocess(batch["image"]), matrix, draw_negatives(matrix))
        total = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        return total.item()

    def terms(
        self, image: Float[Tensor, "b 3 h w"], matrix: Int[Tensor, "b a p"], negatives: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The five losses of a normalised batch, `negatives` as of `draw_negatives`."""
        out = self.model(image, self.books["pathology"], self.books["anatomy"])
        return self._losses(out, matrix.long(), self.books, negatives)


def draw_negatives(matrix: Int[Tensor, "b a p"], *, count: int = 7) -> dict[str, Int[Tensor, "b q k"]]:
    """Rows of the other table that are not in the prototype, for every query (SPEC 4)."""
    drawn = {}
    for stream, positive in _positive(matrix).items():
        scores = torch.rand(positive.shape, device=positive.device).masked_fill(positive, -1.0)
        drawn[stream] = scores.topk(count, dim=-1).indices
    return drawn


def looped_losses(
    out: Mapping[str, Mapping[str, Tensor]],
    matrix: Int[Tensor, "b a p"],
    books: Mapping[str, Tensor],
    negatives: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """SPEC 4, one class of one image after another; each term a mean over the batch's entries."""
    terms = {}
    for stream, positive in _positive(matrix).items():
        labels, book = positive_or_absent(matrix, stream), _other(books, stream)
        exist, proto = [], []
        for image in range(len(matrix)):
            for query in range(labels.shape[1]):
                label = labels[image, query]
                if label >= 0:
                    exist.append(F.cross_entropy(out[stream]["logits"][image, query], label))
                if label == 1:
                    prototype = book[positive[image, query]].mean(0, keepdim=True)
                    rows = torch.cat([prototype, book[negatives[stream][image, query]]])
                    logits = rows @ out[stream]["projection"][image, query]
                    proto.append(F.cross_entropy(logits, torch.zeros((), dtype=torch.long)))
        terms[f"exist_{stream}"] = torch.stack(exist).mean()
        terms[f"proto_{stream}"] = torch.stack(proto).mean()
    return terms | {"icl": _icl(out, matrix)}


def whole_losses(
    out: Mapping[str, Mapping[str, Tensor]],
    matrix: Int[Tensor, "b a p"],
    books: Mapping[str, Tensor],
    negatives: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The same numbers without a loop over images or classes, and of one shape whatever the labels.

    A GPU would wait for the host where a shape depends on labels, and `torch.compile` would end a program there.
    """
    terms = {}
    for stream, positive in _positive(matrix).items():
        labels = positive_or_absent(matrix, stream)
        terms[f"exist_{stream}"] = F.cross_entropy(
            out[stream]["logits"].flatten(0, 1), labels.flatten(), ignore_index=-1
        )
        logits = out[stream]["projection"] @ _other(books, stream).T
        prototype = (logits * positive).sum(-1, keepdim=True) / positive.sum(-1, keepdim=True).clamp(min=1)
        every = torch.cat([prototype, logits.gather(-1, negatives[stream])], dim=-1)
        first = torch.where(labels == 1, 0, -1).flatten()
        terms[f"proto_{stream}"] = F.cross_entropy(every.flatten(0, 1), first, ignore_index=-1)
    return terms | {"icl": _icl(out, matrix)}


def _positive(matrix: Int[Tensor, "b a p"]) -> dict[str, Tensor]:
    """bool (b q c) a stream: the rows of the other table that make a query's prototype."""
    return {"pathology": (matrix == 1).transpose(1, 2), "anatomy": matrix == 1}


def positive_or_absent(matrix: Int[Tensor, "b a p"], stream: str) -> Int[Tensor, "b q"]:
    """1 if a query's class is present anywhere, 0 if it is only said to be absent, -1 if it is not mentioned."""
    return matrix.amax(dim=1 if stream == "pathology" else 2)


def _other(books: Mapping[str, Tensor], stream: str) -> Tensor:
    return books["anatomy" if stream == "pathology" else "pathology"]


def _icl(out: Mapping[str, Mapping[str, Tensor]], matrix: Int[Tensor, "b a p"]) -> Tensor:
    scores = out["anatomy"]["features"] @ out["pathology"]["features"].transpose(1, 2)
    known, present = (matrix >= 0).float(), (matrix == 1).float()
    each = F.binary_cross_entropy_with_logits(scores, present, reduction="none")
    return (each * known).sum() / known.sum()
