"""What the phantom draws on a chest: each painter adds one finding and returns its visible extent.

After the Fleischner Society's glossary (Hansell et al., "Glossary of terms for thoracic imaging", 2008):
a nodule is at most 30 mm across and a mass more; consolidation hides vessels and shows air bronchograms; an
opacity here is a haze that does not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from data_pipelines.phantom.anatomy import SIDES, SIGN, Body, Layers
from data_pipelines.phantom.canvas import Dice, bent, blob, ribbon
from data_pipelines.phantom.tables import PHANTOM

# The part of a lung that a name means: side, u (medial 0 .. lateral 1) and v (apex 0 .. diaphragm 1).
ZONES: dict[str, tuple[str, tuple[float, float], tuple[float, float]]] = PHANTOM["zones"]
# Where each pathology occurs.
PLACES: dict[str, tuple[str, ...]] = PHANTOM["places"]
_ORDINALS = {3: "third", 4: "fourth", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth"}


@dataclass(frozen=True)
class Mark:
    """A finding as drawn: `mask` bool (H, W); `which` ("left sixth") says more than the anatomy's name."""

    pathology: str
    anatomy: str
    mask: np.ndarray
    which: str = ""


@dataclass
class Scene:
    """One image in the making, and the discs (x, y, radius in mm) that findings already take."""

    body: Body
    layers: Layers
    dice: Dice
    taken: list[tuple[float, float, float]] = field(default_factory=list)
    device_side: str = "left"
    device_at: tuple[float, float] | None = None

    def room(self, anatomy: str, radius: float) -> tuple[float, float]:
        """A centre in a zone, away from other findings if twenty tries find one."""
        side, u, v = ZONES[anatomy]
        for _ in range(20):
            x, y = self.body.place(side, self.dice.uniform(*u), self.dice.uniform(*v), margin=0.75 * radius)
            if all((x - a) * (x - a) + (y - b) * (y - b) > (radius + r) * (radius + r) for a, b, r in self.taken):
                break
        self.taken.append((x, y, radius))
        return x, y

    def in_air(self, alpha: np.ndarray, side: str) -> np.ndarray:
        """The part of `alpha` over aerated lung of one side."""
        return cv2.min(alpha, cv2.min(self.layers.lungs[side], self.layers.air))


def visible(alpha: np.ndarray, least: int = 100) -> np.ndarray:
    """Where a layer is seen: coverage of at least `least` / 255, or its densest pixels if all are below."""
    return alpha >= max(1, min(least, int(alpha.max())))


def _consolidation(scene: Scene, anatomy: str) -> list[Mark]:
    """Dense, vessels hidden, one straight edge at a fissure, dark air bronchograms."""
    dice, frame, side = scene.dice, scene.body.frame, ZONES[anatomy][0]
    radius = dice.uniform(24, 38)
    x, y = scene.room(anatomy, radius)
    shape = blob(dice, (x, y), radius, roughness=0.3)
    edge = y + radius * dice.uniform(0.25, 0.5) * (-1 if "lower" in anatomy else 1)
    clip = np.maximum if "lower" in anatomy else np.minimum
    shape[:, 1] = clip(shape[:, 1], edge + (shape[:, 0] - x) * dice.uniform(-0.2, 0.2))
    alpha = scene.in_air(frame.soften(frame.fill(shape), 2), side)
    scene.layers.vessels = cv2.subtract(scene.layers.vessels, alpha)
    scene.layers.add(alpha, dice.integer(84, 104))
    root = np.array([x - SIGN[side] * 0.7 * radius, y])
    reach = SIGN[side] * radius * dice.uniform(1.0, 1.5)
    tips = [root + np.array([reach, radius * t]) for t in (-0.5, -0.1, 0.35)]
    branches = frame.fill(*[ribbon(np.array([root, tip]), 5, end_width=2.5) for tip in tips])
    scene.layers.add(cv2.min(branches, alpha), -54)
    return [Mark("consolidation", anatomy, visible(alpha))]


def _opacity(scene: Scene, anatomy: str) -> list[Mark]:
    """A faint haze without an edge; vessels stay visible."""
    dice, frame, side = scene.dice, scene.body.frame, ZONES[anatomy][0]
    radius = dice.uniform(24, 38)
    shape = blob(dice, scene.room(anatomy, radius), radius)
    alpha = scene.in_air(frame.soften(frame.fill(shape), 8), side)
    scene.layers.add(alpha, dice.integer(60, 78))
    return [Mark("opacity", anatomy, visible(alpha, 90))]


def _pneumonia(scene: Scene, anatomy: str) -> list[Mark]:
    """Several small patches close together."""
    dice, frame, side = scene.dice, scene.body.frame, ZONES[anatomy][0]
    radius = dice.uniform(28, 40)
    x, y = scene.room(anatomy, radius)
    patches = []
    for _ in range(dice.integer(6, 9)):
        centre = (x + radius * dice.uniform(-0.8, 0.8), y + radius * dice.uniform(-0.8, 0.8))
        patches.append(blob(dice, centre, dice.uniform(7, 12), roughness=0.35))
    alpha = scene.in_air(frame.soften(frame.fill(*patches), 2.5), side)
    scene.layers.add(alpha, dice.integer(70, 88))
    return [Mark("pneumonia", anatomy, visible(alpha))]


def _lump(scene: Scene, anatomy: str, pathology: str, radius: float, amount: int) -> list[Mark]:
    dice, frame, side = scene.dice, scene.body.frame, ZONES[anatomy][0]
    shape = blob(dice, scene.room(anatomy, radius), radius, roughness=0.12)
    alpha = cv2.min(frame.soften(frame.fill(shape), 1), scene.layers.lungs[side])
    scene.layers.add(alpha, amount)
    return [Mark(pathology, anatomy, visible(alpha))]


def _nodule(scene: Scene, anatomy: str) -> list[Mark]:
    """Round, 20 - 26 mm across on average."""
    return _lump(scene, anatomy, "nodule", scene.dice.uniform(10, 13), scene.dice.integer(92, 112))


def _mass(scene: Scene, anatomy: str) -> list[Mark]:
    """Round, 36 - 56 mm across on average."""
    return _lump(scene, anatomy, "mass", scene.dice.uniform(19, 28), scene.dice.integer(84, 104))


def _atelectasis(scene: Scene, anatomy: str) -> list[Mark]:
    """Plate-like bands, nearly horizontal."""
    dice, frame = scene.dice, scene.body.frame
    parts = ["left_lower_lung", "right_lower_lung"] if anatomy == "lung_bases" else [anatomy]
    bands = []
    for part in parts:
        x, y = scene.room(part, 20)
        for level in range(dice.integer(2, 3)):
            end = np.array([dice.uniform(18, 30), dice.uniform(-9, 9)])
            middle = np.array([x + dice.uniform(-6, 6), y + (level - 1) * dice.uniform(11, 14)])
            line = np.stack([middle - end, middle + np.array([0.0, dice.uniform(-3, 3)]), middle + end])
            bands.append(ribbon(bent(line), dice.uniform(5, 7.5)))
    sides = {ZONES[part][0] for part in parts}
    drawn = frame.soften(frame.fill(*bands), 1)
    alpha = np.maximum.reduce([scene.in_air(drawn, side) for side in sides])
    scene.layers.add(alpha, dice.integer(66, 84))
    return [Mark("atelectasis", anatomy, visible(alpha))]


def _edema(scene: Scene, anatomy: str) -> list[Mark]:
    """Pulmonary: a butterfly around both hila. Interstitial: a net of short lines through both lungs."""
    dice, body, frame = scene.dice, scene.body, scene.body.frame
    if anatomy == "pulmonary":
        wings = [
            blob(
                dice,
                body.place(side, dice.uniform(0.15, 0.4), dice.uniform(0.42, 0.62)),
                dice.uniform(30, 42),
                roughness=0.3,
            )
            for side in SIDES
        ]
        alpha, amount = frame.soften(frame.fill(*wings), 9), dice.integer(26, 40)
    else:
        lines = []
        for side in SIDES:
            for _ in range(46):
                x, y = body.place(side, dice.uniform(0, 1), dice.uniform(0.2, 1), margin=5)
                reach = (dice.uniform(-8, 8), dice.uniform(-7, 7))
                lines.append(ribbon(np.array([(x - reach[0], y - reach[1]), (x + reach[0], y + reach[1])]), 2.6))
        alpha, amount = frame.soften(frame.fill(*lines), 0.8), dice.integer(34, 46)
    alpha = cv2.min(alpha, scene.layers.air)
    scene.layers.add(alpha, amount)
    scene.layers.add(scene.layers.vessels, 10)
    return [Mark("edema", anatomy, visible(alpha, 90))]


def _effusion(scene: Scene, anatomy: str) -> list[Mark]:
    """Fluid from the costophrenic angle upwards, higher at the wall: the meniscus."""
    dice, body, frame = scene.dice, scene.body, scene.body.frame
    side = anatomy.split("_")[0]
    depth, angle = dice.uniform(46, 100), body.sulcus - 0.75 * body.raised[side]
    if body.heart_scale > 1.2:  # less lung is left beside a large heart to show the fluid
        depth += 25
    wall, middle = angle - depth, angle - 0.55 * depth
    edge = [(160, wall - 10), (0.92 * body.outer(wall), wall + 4), (0.6 * body.outer(wall), middle), (20, middle + 4)]
    shape = np.concatenate([bent(np.array(edge)), [(10.0, 150.0), (165.0, 150.0)]])
    alpha = scene.in_air(frame.soften(frame.fill(shape * (SIGN[side], 1.0)), 3), side)
    scene.layers.vessels = cv2.subtract(scene.layers.vessels, alpha)
    scene.layers.add(alpha, dice.integer(70, 94))
    return [Mark("effusion", anatomy, visible(alpha))]


def _pneumothorax(scene: Scene, anatomy: str) -> list[Mark]:
    """Air without vessels over a lung that has come away from the wall, and the fine line of its pleura."""
    dice, body, frame = scene.dice, scene.body, scene.body.frame
    side = anatomy.split("_")[0]
    drop, inward, floor = (
        dice.uniform(20, 48),
        dice.uniform(0.74, 0.9),
        body.place(side, 0.5, dice.uniform(0.5, 0.75))[1],
    )
    outline = body.lung(side, raised=body.raised[side])
    fade = np.clip((floor - outline[:, 1]) / (floor - body.top), 0.0, 1.0)  # collapse is complete at the apex
    shrunk = outline * np.stack([1 - (1 - inward) * np.minimum(1.0, 3 * fade), np.ones(len(outline))], 1)
    shrunk[:, 1] += drop * fade
    gap = scene.in_air(cv2.subtract(scene.layers.lungs[side], frame.fill(shrunk)), side)
    pleura = cv2.subtract(frame.fill(shrunk), frame.fill(shrunk + np.array([-SIGN[side] * 3.0, 3.0])))
    band = frame.fill(np.array([(-200, -200), (200, -200), (200, floor - 8), (-200, floor - 8)]))
    lateral = frame.fill(np.array([(30, -200), (200, -200), (200, 200), (30, 200)]) * (SIGN[side], 1.0))
    scene.layers.vessels = cv2.subtract(scene.layers.vessels, gap)
    scene.layers.add(gap, -dice.integer(16, 26))
    scene.layers.add(cv2.min(cv2.min(pleura, band), cv2.min(lateral, scene.layers.air)), dice.integer(44, 60))
    return [Mark("pneumothorax", anatomy, visible(gap))]


def _cardiomegaly(scene: Scene, anatomy: str) -> list[Mark]:
    return [Mark("cardiomegaly", anatomy, visible(scene.layers.heart))]


def _elevation(scene: Scene, anatomy: str) -> list[Mark]:
    """What the abdomen gained: the usual lung less the lung above the raised dome."""
    side = anatomy.split("_")[0]
    usual = scene.body.frame.fill(scene.body.lung(side, raised=0.0))
    return [Mark("elevation", anatomy, visible(cv2.subtract(usual, scene.layers.lungs[side])))]


def _fracture(scene: Scene, anatomy: str) -> list[Mark]:
    """A cleft, the outer fragment displaced, a little callus around it."""
    dice, frame = scene.dice, scene.body.frame
    ribs = [r for r in scene.body.ribs if r.bone == "posterior" and r.number in _ORDINALS]
    clavicles = [r for r in scene.body.ribs if r.bone == "clavicle"]
    rib = dice.pick(ribs if anatomy == "rib" else clavicles)
    line = rib.pieces[0]
    cut = int(len(line) * dice.uniform(0.45, 0.75))
    offset = np.array([0.0, dice.pick((-1, 1)) * dice.uniform(9, 12)])
    x, y = (line[cut] + offset / 2).tolist()
    rib.pieces = [line[:cut], line[cut:] + offset + np.array([SIGN[rib.side] * 3.0, 0.0])]
    alpha = frame.fill(blob(dice, (x, y), dice.uniform(15, 18), roughness=0.15))
    scene.layers.add(frame.soften(alpha, 2), dice.integer(40, 54))
    ends = [ribbon(line[max(0, cut - 3) : cut], rib.width), ribbon(rib.pieces[1][:3], rib.width)]
    scene.layers.add(frame.fill(*ends), 30)
    scene.taken.append((x, y, 14))
    return [Mark("fracture", anatomy, visible(alpha), f"{rib.side} {_ORDINALS.get(rib.number, '')}".strip())]


PAINTERS: dict[str, Callable[[Scene, str], list[Mark]]] = {
    "effusion": _effusion,
    "elevation": _elevation,
    "cardiomegaly": _cardiomegaly,
    "pneumothorax": _pneumothorax,
    "mass": _mass,
    "nodule": _nodule,
    "consolidation": _consolidation,
    "pneumonia": _pneumonia,
    "opacity": _opacity,
    "atelectasis": _atelectasis,
    "edema": _edema,
    "fracture": _fracture,
}
