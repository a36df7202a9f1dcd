"""Where the phantom's organs are: lungs, their zones and the heart as masks, the truth for anatomy maps.

A lung is what a reader would outline: the field that neither heart nor mediastinum covers, findings in it included.
Painters place findings in zones given as shares of a lung's height, with gaps between them (`findings.ZONES`).
Here the zones are horizontal bands of the lung that meet in the middle of these gaps: together they are the lung. The
apex belongs to the upper zone, and what lies below the dome, in the costophrenic recess, to the lower one.
"""

import numpy as np

from data_pipelines.phantom.anatomy import SIDES, Body, Layers
from data_pipelines.phantom.findings import ZONES

# Coverage of 255 from which a pixel belongs to a region: that of most findings, which do not stick out of a lung then.
_LEAST = 100

REGIONS: tuple[str, ...] = (
    *(f"{side}_lung_unspec" for side in SIDES),
    *(f"{side}_{zone}_lung" for side in SIDES for zone in ("upper", "mid", "lower")),
    "heart_size",
)


def regions(body: Body, layers: Layers) -> dict[str, np.ndarray]:
    """Anatomy -> bool (H, W) for each of `REGIONS`, in that order; nothing random, and nothing is drawn."""
    masks = {f"{side}_lung_unspec": (layers.lungs[side] >= _LEAST) & (layers.air >= _LEAST) for side in SIDES}
    for side in SIDES:
        lung = masks[f"{side}_lung_unspec"]
        upper, down_to_mid = (_above(body, side, share) for share in _limits(side))
        masks |= {
            f"{side}_upper_lung": lung & upper,
            f"{side}_mid_lung": lung & ~upper & down_to_mid,
            f"{side}_lower_lung": lung & ~upper & ~down_to_mid,
        }
    return masks | {"heart_size": layers.heart >= _LEAST}


def _limits(side: str) -> tuple[float, float]:
    """Where the upper zone ends and the lower one begins, 0 at the apex and 1 at the dome of the diaphragm."""
    spans = [ZONES[f"{side}_{zone}_lung"][2] for zone in ("upper", "mid", "lower")]
    return (spans[0][1] + spans[1][0]) / 2, (spans[1][1] + spans[2][0]) / 2


def _above(body: Body, side: str, share: float) -> np.ndarray:
    """bool (H, W): what lies above that share of the lung's height, in the frame of the (tilted) body."""
    _, y = body.place(side, 0.5, share)
    return body.frame.fill(np.array([(-400, -400), (400, -400), (400, y), (-400, y)])) >= 128
