"""Hardware on the phantom: what a report mentions (pacemaker, leads, tubes, PICC) and what it passes over."""

from collections.abc import Callable

import cv2
import numpy as np

from data_pipelines.phantom.anatomy import SIGN
from data_pipelines.phantom.canvas import CIRCLE, bent, ribbon, rounded
from data_pipelines.phantom.findings import Mark, Scene, visible

_WIRE = 3.8  # mm; nearly twice the true width, so that 128 pixels show it
_SVC = (-22.0, -62.0)
_LETTERS = {  # strokes of L and R in mm
    "left": ([(0, 0), (0, 16)], [(0, 16), (9, 16)]),
    "right": ([(0, 0), (0, 16)], [(0, 0), (8, 1), (8, 7), (0, 8)], [(2, 8), (9, 16)]),
}


def _line(scene: Scene, points: list, *, width: float, amount: int) -> np.ndarray:
    """Draws a radio-opaque line and returns its mask."""
    alpha = scene.body.frame.fill(ribbon(bent(points, times=3), width))
    scene.layers.add(alpha, amount)
    return visible(alpha)


def _generator(scene: Scene) -> tuple[float, float]:
    """Where a pacemaker's can lies, whether or not it is drawn: the leads start there."""
    dice, body = scene.dice, scene.body
    return SIGN[scene.device_side] * body.wide * dice.uniform(72, 124), body.tall * dice.uniform(-108, -36)


def _pacemaker(scene: Scene, anatomy: str) -> list[Mark]:
    """A can of some 44 x 40 mm with its header."""
    dice, frame = scene.dice, scene.body.frame
    x, y = scene.device_at = _generator(scene)
    half, tall = dice.uniform(18, 24), dice.uniform(16, 22)
    can = np.array([(x - half, y - tall), (x + half, y - tall), (x + half, y + tall), (x - half, y + tall)])
    alpha = frame.fill(rounded(can, times=2))
    scene.layers.add(alpha, dice.integer(60, 100))
    battery = np.array([x, y + 0.35 * tall]) + CIRCLE * (0.62 * half, 0.42 * tall)
    scene.layers.add(frame.fill(battery), -26)
    return [Mark("pacemaker", anatomy, alpha >= 100)]


def _lead(scene: Scene, anatomy: str) -> list[Mark]:
    """From the can through the subclavian vein and the superior vena cava into the right heart."""
    dice, body = scene.dice, scene.body
    start = scene.device_at or _generator(scene)
    sign, tall = SIGN[scene.device_side], body.tall
    heart = body.heart_scale
    ends = {
        "right_atrium": [(-26, 8 * tall), (-34, 34 * tall), (-44 * heart, 22 * tall)],
        "right_ventricle": [(-26, 10 * tall), (-16, 62 * tall), (26 * heart, 78 * tall), (60 * heart, 70 * tall)],
    }
    jitter = dice.uniform(-5, 5)
    course = [
        start,
        (start[0] - sign * 12, start[1] - 30),
        (sign * 58, -108 * tall + jitter),
        (sign * 20, -96 * tall),
        _SVC,
    ]
    mask = _line(
        scene,
        [*course, *[(x + jitter, y + jitter) for x, y in ends[anatomy]]],
        width=_WIRE,
        amount=dice.integer(44, 72),
    )
    return [Mark("lead", anatomy, mask)]


def _tube(scene: Scene, anatomy: str) -> list[Mark]:
    """Endotracheal (ends above the carina) or enteric (ends under the left dome)."""
    dice, tall = scene.dice, scene.body.tall
    drift = dice.uniform(-6, 6)
    if anatomy == "trachea":
        points = [(drift, -300), (drift, -150), (2 - drift, (dice.uniform(-98, -74)) * tall)]
        return [Mark("tube", anatomy, _line(scene, points, width=7.5, amount=dice.integer(34, 54)))]
    floor = scene.body.dome["left"] - scene.body.raised["left"]
    end = (dice.uniform(50, 92), floor + dice.uniform(12, 30))
    points = [(drift, -300), (5 + drift, -90), (10, 0), (14, floor - 6), (26, floor + 24), end]
    return [Mark("tube", anatomy, _line(scene, points, width=4.6, amount=dice.integer(34, 54)))]


def _picc(scene: Scene, anatomy: str) -> list[Mark]:
    """From the arm along the axilla into the superior vena cava or to the right atrium's mouth."""
    dice, body = scene.dice, scene.body
    side = dice.pick(("left", "right"))
    sign, tall = SIGN[side], body.tall
    arm = [(sign * 250, dice.uniform(-60, -20)), (sign * 165, dice.uniform(-90, -75) * tall), (sign * 108, -100 * tall)]
    course = [*arm, (sign * 58, -108 * tall), (sign * 20, -94 * tall), _SVC]
    end = (-24, dice.uniform(-48, -34) * tall) if anatomy == "svc" else (-30, dice.uniform(-6, 8) * tall)
    return [Mark("picc", anatomy, _line(scene, [*course, end], width=_WIRE - 0.6, amount=dice.integer(36, 56)), side)]


def paint_clutter(scene: Scene) -> None:
    """What no report mentions: ECG electrodes and cables, a side marker, skin folds, breast shadows."""
    dice, frame, body = scene.dice, scene.body.frame, scene.body
    if dice.chance(0.3):
        for sign in SIGN.values():
            x, y = sign * body.wide * dice.uniform(70, 135), dice.uniform(-100, 90)
            scene.layers.add(frame.fill(np.array([x, y]) + CIRCLE * 5.5), 60)
            cable = bent([(x, y), (x + sign * dice.uniform(-20, 30), y + 50), (sign * dice.uniform(60, 230), 300)])
            scene.layers.add(frame.fill(ribbon(cable, 1.8)), 34)
    if dice.chance(0.5):
        _paint_marker(scene)
    if dice.chance(0.4):
        x, y, radius = body.wide * dice.uniform(70, 88), dice.uniform(38, 80), dice.uniform(42, 58)
        breasts = [np.array([sign * x, y]) + CIRCLE * (radius, radius * 0.8) for sign in SIGN.values()]
        scene.layers.add(frame.soften(frame.fill(*breasts), 4), dice.integer(6, 16))
    for _ in range(dice.integer(0, 2)):
        x, y = dice.uniform(-130, 130), dice.uniform(-80, 80)
        fold = bent([(x, y), (x + dice.uniform(-20, 20), y + 30), (x + dice.uniform(-30, 30), y + 80)])
        scene.layers.add(frame.soften(frame.fill(ribbon(fold, 6)), 3), dice.integer(-14, 14))


def _paint_marker(scene: Scene) -> None:
    """An upright L or R of lead in a corner of its own side."""
    dice, frame = scene.dice, scene.body.frame
    side = dice.pick(("left", "right"))
    corner = np.array([SIGN[side] * dice.uniform(158, 180), dice.uniform(-185, -160)])
    outlines = [ribbon(np.array(stroke, np.float64) + corner, 3) for stroke in _LETTERS[side]]
    scene.layers.level = cv2.max(scene.layers.level, frame.fill(*outlines).astype(np.int32))


PAINTERS: dict[str, Callable[[Scene, str], list[Mark]]] = {
    "pacemaker": _pacemaker,
    "lead": _lead,
    "tube": _tube,
    "picc": _picc,
}
