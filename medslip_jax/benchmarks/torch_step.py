"""The released training step in PyTorch, to measure against: written from SPEC 3 to 5, not from the released code.

The released losses are computed for one image and one class after another in Python. `losses="looped"` does the same
work in that order, `losses="whole"` the same numbers as products over the batch, as somebody would who tunes the
PyTorch code: the harder of the two to beat. There is no dropout, which spares PyTorch a little work.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from medslip_jax.weights.torch.torch_model import MeDSLIP, preprocess

Losses = Literal["looped", "whole"]


class TorchStep:
    """Forward, the five losses, backward and AdamW of the paper's model.

    Args:
      books: {"pathology": (75, T), "anatomy": (51, T)} text tables.
      losses: how they are computed.
      state: a state_dict to start from; PyTorch's own initial values without one.
    """

    def __init__(
        self,
        books: Mapping[str, np.ndarray],
        *,
        losses: Losses = "looped",
        state: Mapping[str, np.ndarray] | None = None,
    ):
        self.model = MeDSLIP(text_dim=books["pathology"].shape[1]).train()
        if state is not None:
            self.model.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
        self.books = {stream: torch.as_tensor(book) for stream, book in books.items()}
        self._losses = {"looped": looped_losses, "whole": whole_losses}[losses]
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.02},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4)

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
        scores = torch.rand(positive.shape).masked_fill(positive, -1.0)
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
    """The same numbers without a loop over images or classes."""
    terms = {}
    for stream, positive in _positive(matrix).items():
        labels = positive_or_absent(matrix, stream)
        known, present = labels >= 0, labels == 1
        terms[f"exist_{stream}"] = F.cross_entropy(out[stream]["logits"][known], labels[known])
        logits = out[stream]["projection"] @ _other(books, stream).T
        prototype = (logits * positive).sum(-1, keepdim=True) / positive.sum(-1, keepdim=True).clamp(min=1)
        every = torch.cat([prototype, logits.gather(-1, negatives[stream])], dim=-1)[present]
        terms[f"proto_{stream}"] = F.cross_entropy(every, torch.zeros(len(every), dtype=torch.long))
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
    known = matrix >= 0
    return F.binary_cross_entropy_with_logits(scores[known], (matrix[known] == 1).float())
