"""The normal chest of the phantom: one body drawn at random, and its layers as pixels.

Frontal view: the patient's left is on the image's right, so `SIGN["left"]` is +1 along x. Lengths are in mm.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from data_pipelines.phantom.canvas import CIRCLE, Dice, Frame, bent, ramp, ribbon, rounded
from data_pipelines.phantom.tables import PHANTOM

SIGN = {"left": 1.0, "right": -1.0}
SIDES = ("left", "right")

_OUTLINES, _WIDTHS = PHANTOM["outlines"], PHANTOM["widths"]


@dataclass
class Rib:
    """Half a rib as a centre line, from the spine outwards or from the side inwards; or a clavicle."""

    side: str
    bone: str  # "posterior", "anterior" or "clavicle"
    number: int
    pieces: list[np.ndarray]  # more than one where it is broken
    width: float


@dataclass
class Body:
    """A person: sizes, outlines and bones in mm. `raised` says how much too high a hemidiaphragm stands."""

    frame: Frame
    wide: float
    tall: float
    heart_scale: float
    dome: dict[str, float]
    raised: dict[str, float]
    ribs: list[Rib] = field(default_factory=list)

    @property
    def top(self) -> float:
        return -132.0 * self.tall

    @property
    def sulcus(self) -> float:
        """y of the costophrenic angles."""
        return 112.0 * self.tall

    def outer(self, y: float) -> float:
        return ramp(y / self.tall, _WIDTHS["outer"]) * self.wide

    def inner(self, side: str, y: float) -> float:
        heart = self.heart_scale if y > -25 * self.tall else 1.0
        return ramp(y / self.tall, _WIDTHS[f"inner_{side}"]) * max(heart, 0.9)

    def place(self, side: str, u: float, v: float, *, margin: float = 0.0) -> tuple[float, float]:
        """A point in a lung: u 0 medial .. 1 lateral, v 0 apex .. 1 diaphragm, `margin` mm off the walls."""
        floor = self.dome[side] - self.raised[side]
        y = self.top + margin + v * (floor - self.top - 2 * margin)
        low, high = self.inner(side, y) + margin, self.outer(y) - margin
        x = low + u * (high - low) if high > low else (low + high) / 2
        return SIGN[side] * x, y

    def lung(self, side: str, *, raised: float) -> np.ndarray:
        """Closed outline of a lung whose hemidiaphragm stands `raised` mm above its usual place."""
        wide, tall, dome = self.wide, self.tall, self.dome[side] - raised
        sulcus = self.sulcus - 0.75 * raised
        wall = [(x * wide, y * tall) for y, x in _WIDTHS["outer"][:-1] if y * tall < sulcus - 12]
        floor = [(140 * wide, sulcus - 6), (140 * wide, sulcus), (138 * wide, sulcus), (124 * wide, dome + 19)]
        floor += [(98 * wide, dome + 2), (66 * wide, dome - 4), (40 * wide, dome + 8), (20, dome + 16)]
        inner = [(18, 0.0), (20, -70 * tall), (24, -112 * tall), (34, -130 * tall)]
        points = np.array(wall + floor + inner)
        return rounded(points * (SIGN[side], 1.0), times=3)

    def heart(self) -> np.ndarray:
        low = min(self.dome.values()) - 78.0  # the heart rests on the diaphragm
        scale = np.array([self.heart_scale, self.tall * (0.75 + 0.25 * self.heart_scale)])
        return rounded(np.array(_OUTLINES["heart"]) * scale + (0.0, 0.35 * low), times=3)


def make_body(dice: Dice, *, size: int, heart_scale: float | None, raised: dict[str, float]) -> Body:
    """A body of random habitus; `heart_scale` None draws a normal heart."""
    frame = Frame(
        size=size,
        sine=dice.uniform(-0.07, 0.07),
        zoom=dice.uniform(0.88, 1.08),
        shift=(dice.uniform(-22, 22), dice.uniform(-16, 20)),
    )
    tall = dice.uniform(0.86, 1.08)
    right = (74 + dice.uniform(-12, 14)) * tall
    body = Body(
        frame=frame,
        wide=dice.uniform(0.88, 1.08),
        tall=tall,
        heart_scale=heart_scale or dice.uniform(0.78, 1.06),
        dome={"right": right, "left": right + dice.uniform(0, 14)},
        raised=raised,
    )
    body.ribs = [rib for side in SIDES for rib in _side_ribs(body, side, dice)]
    return body


def _side_ribs(body: Body, side: str, dice: Dice) -> list[Rib]:
    sign, step, first = SIGN[side], dice.uniform(23, 27) * body.tall, dice.uniform(-128, -118) * body.tall
    width, lift = dice.uniform(8.5, 11), dice.uniform(4, 14)
    ribs = []
    for number in range(10):
        y = first + number * step
        turn = y + 0.32 * step + 26  # where the rib reaches the side of the chest and comes forward
        out = body.outer(turn) + 2
        back = [(16, y), (0.4 * out, y - lift), (0.72 * out, y - 0.2 * lift), (0.92 * out, y + 14), (out, turn)]
        ribs.append(Rib(side, "posterior", number + 1, [bent(np.array(back) * (sign, 1.0))], width))
        if number < 7:
            front = [(out, turn), (0.93 * out, turn + 18), (0.72 * out, turn + 38), (0.4 * out, turn + 46)]
            ribs.append(Rib(side, "anterior", number + 1, [bent(np.array(front) * (sign, 1.0))], width + 2))
    height = dice.uniform(-122, -108) * body.tall
    bone = [(12, height + 6), (50, height - 2), (90, height - 16), (130, height - 24), (165, height - 22)]
    return [*ribs, Rib(side, "clavicle", 0, [bent(np.array(bone) * (sign, 1.0))], 12.0)]


@dataclass
class Layers:
    """One image in the making. `level` is int32, grey values before exposure; the rest uint8 coverage."""

    level: np.ndarray
    skin: np.ndarray  # inside the body
    lungs: dict[str, np.ndarray]  # inside each lung's outline, heart included
    air: np.ndarray  # aerated lung that nothing overlies
    heart: np.ndarray
    vessels: np.ndarray

    def add(self, alpha: np.ndarray, amount: int) -> None:
        """Brighten (or darken) by `amount` grey values where `alpha` is 255."""
        self.level += (alpha.astype(np.int32) * amount) >> 8


def paint_soft_tissue(body: Body, dice: Dice) -> Layers:
    """Body, lungs, heart, mediastinum, spine, trachea and vessels."""
    frame = body.frame
    half = bent(np.array(_OUTLINES["skin"]) * (body.wide * dice.uniform(0.94, 1.06), 1.0))
    skin = frame.soften(frame.fill(np.concatenate([half, half[::-1] * (-1.0, 1.0)])), 4)
    lungs = {side: frame.fill(body.lung(side, raised=body.raised[side])) for side in SIDES}
    heart = frame.soften(frame.fill(body.heart()), 2)
    stretch = np.array([dice.uniform(0.85, 1.1), body.tall])
    middle = frame.soften(frame.fill(rounded(np.array(_OUTLINES["mediastinum"]) * stretch)), 3)
    both = frame.soften(cv2.max(lungs["left"], lungs["right"]), 1.5)
    air = cv2.subtract(cv2.subtract(both, heart), middle)

    layers = Layers(
        np.zeros((frame.size, frame.size), np.int32), skin, lungs, air, heart, cv2.min(air, _vessels(body, dice))
    )
    layers.add(skin, 138)
    layers.add(air, -dice.integer(48, 66))
    layers.add(frame.soften(air, 14), -44)
    layers.add(heart, dice.integer(10, 36))
    layers.add(middle, dice.integer(4, 28))
    layers.add(cv2.subtract(frame.soften(_abdomen(body), 6), both), 22)
    _paint_midline(body, layers, dice)
    return layers


def _abdomen(body: Body) -> np.ndarray:
    y = min(body.dome.values()) - 20
    return body.frame.fill(
        np.array([(-170 * body.wide, y), (170 * body.wide, y), (170 * body.wide, 300), (-170 * body.wide, 300)])
    )


def _paint_midline(body: Body, layers: Layers, dice: Dice) -> None:
    frame, lean = body.frame, dice.uniform(-9, 9)
    column = bent([(0, -300), (lean, -60), (-lean, 60), (0, 300)])
    layers.add(frame.soften(frame.fill(ribbon(column, 36)), 3), dice.integer(6, 24))
    step = dice.uniform(21, 25)
    discs = [np.array([(-17, y), (17, y), (17, y + 4), (-17, y + 4)]) for y in (np.arange(22) * step - 250).tolist()]
    layers.add(frame.fill(*discs), -9)
    windpipe = bent([(0, -300), (lean * 0.5, -120), (3, -62 * body.tall)])
    layers.add(frame.soften(frame.fill(ribbon(windpipe, 17)), 2), -dice.integer(18, 44))
    carina = windpipe[-1]
    for sign in SIGN.values():
        layers.add(frame.soften(frame.fill(ribbon(np.stack([carina, carina + np.array([sign * 34, 30])]), 11)), 2), -16)
    if dice.chance(0.6):
        x, y = dice.uniform(45, 85), body.dome["left"] - body.raised["left"] + dice.uniform(14, 26)
        bubble = rounded(np.array([x, y]) + CIRCLE[::3] * (dice.uniform(16, 30), dice.uniform(7, 13)))
        layers.add(frame.soften(frame.fill(bubble), 3), -40)


def _vessels(body: Body, dice: Dice) -> np.ndarray:
    """Branching shadows from both hila."""
    outlines = []
    for side in SIDES:
        root = np.array([SIGN[side] * 36, -14 * body.tall + (4 if side == "right" else -4)])
        outlines.append(root + (CIRCLE[::2] * (dice.uniform(9, 15), dice.uniform(14, 22))))
        for v in (0.12, 0.28, 0.42, 0.56, 0.7, 0.82, 0.93):
            end = np.array(body.place(side, dice.uniform(0.3, 0.8), v + dice.uniform(-0.06, 0.06)))
            middle = root + (end - root) * dice.uniform(0.4, 0.6) + (0.0, dice.uniform(-14, 14))
            outlines.append(ribbon(bent([root, middle, end]), dice.uniform(5, 8), end_width=1.2))
            for _ in range(2):
                tip = middle + np.array([SIGN[side] * dice.uniform(10, 45), dice.uniform(-22, 32)])
                outlines.append(ribbon(np.array([middle, tip]), 3.4, end_width=0.8))
    return body.frame.soften(body.frame.fill(*outlines), 1.2)


def paint_bones(body: Body, layers: Layers, dice: Dice) -> None:
    """Ribs and clavicles, broken ones included, over everything that lies in the chest."""
    frame = body.frame
    strength = {"posterior": dice.integer(24, 38), "anterior": dice.integer(14, 24), "clavicle": dice.integer(26, 40)}
    for bone, amount in strength.items():
        outlines = [ribbon(line, rib.width) for rib in body.ribs if rib.bone == bone for line in rib.pieces]
        core = [ribbon(line, rib.width - 5) for rib in body.ribs if rib.bone == bone for line in rib.pieces]
        layers.add(cv2.min(layers.skin, frame.soften(frame.fill(*outlines), 1)), amount)
        layers.add(cv2.min(layers.skin, frame.fill(*core)), -amount // 3)  # the cortex is denser than the marrow
