"""The built-in chest phantom: a frontal X-ray, its report, what the report says, and what is really there.

Nothing is downloaded and nothing random is left open: `draw(seed)` gives the same bytes on every machine
(canvas.py says how). It is a teaching model of appearances, not of X-ray physics.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from data_pipelines.phantom import devices, findings
from data_pipelines.phantom.anatomy import make_body, paint_bones, paint_soft_tissue
from data_pipelines.phantom.canvas import Dice, Frame
from data_pipelines.phantom.findings import PLACES, ZONES, Mark, Scene
from data_pipelines.phantom.regions import regions
from data_pipelines.phantom.report import write_report
from data_pipelines.phantom.tables import PHANTOM
from medslip_jax.errors import InputError

PATHOLOGIES_DRAWN: tuple[str, ...] = tuple(PLACES)

# Findings small enough that pointing at them says something.
FOCAL: tuple[str, ...] = PHANTOM["focal"]
# Of 100 images, how many draw 0, 1, 2, 3 and 4 of the groups below.
_COUNTS = (14, 10, 20, 30, 26)
_GROUPS = (*(name for name in PLACES if name not in ("pacemaker", "lead")), "pacing")


@dataclass(frozen=True)
class Finding:
    """One drawn finding.

    `anatomy` is the landmark where it lies. `mask`, bool (H, W), is its visible extent; `box` that mask's
    tight bounds x0, y0, x1, y1 in fractions of width and height. `mentioned`: the report speaks of it. Its
    triplet has the same anatomy, or "unspecified" where the words name no place ("There is cardiomegaly.").
    """

    pathology: str
    anatomy: str
    box: tuple[float, float, float, float]
    mask: np.ndarray
    mentioned: bool


@dataclass(frozen=True)
class Phantom:
    """One study.

    `image` is uint8 (H, W), `report` English text, `triplets` what that says as (anatomy, pathology, exists)
    in vocabulary names, `findings` everything that is drawn, mentioned or not; `regions` anatomy -> bool (H, W) of the
    lungs, their zones and the heart (`regions.py`).
    """

    image: np.ndarray
    report: str
    triplets: tuple[tuple[str, str, bool], ...]
    findings: tuple[Finding, ...]
    regions: Mapping[str, np.ndarray]


def draw(seed: int, *, size: int = 256) -> Phantom:
    """Draws study number `seed`: the same picture, findings and report at any `size`.

    Args:
      seed: 0 or more.
      size: pixels of the square image, 64 or more; findings are meant to be seen from 128 upwards.

    Raises:
      InputError: a negative seed or a smaller size.
    """
    if seed < 0 or size < 64:
        raise InputError(f"phantom seed {seed}, size {size}: give a seed of 0 or more and 64 pixels or more")
    streams = [Dice(stream) for stream in np.random.SeedSequence(seed).spawn(6)]
    plan = _plan(streams[0])
    body = make_body(
        streams[1],
        size=size,
        heart_scale=streams[0].uniform(1.22, 1.5) if "cardiomegaly" in plan else None,
        raised={
            side: streams[0].uniform(32, 52) if f"{side}_diaphragm" in plan.get("elevation", ()) else 0.0
            for side in ("left", "right")
        },
    )
    scene = Scene(
        body, paint_soft_tissue(body, streams[1]), streams[2], device_side=streams[0].pick(("left", "left", "right"))
    )
    marks = _paint(scene, plan, clutter=streams[3])
    image = _expose(scene.layers.level, body.frame, streams[4])
    written = write_report(marks, streams[5])
    findings = tuple(
        Finding(mark.pathology, mark.anatomy, bounds(mark.mask), mark.mask, mark.pathology in written.mentioned)
        for mark in marks
    )
    return Phantom(image, written.text, written.triplets, findings, regions(body, scene.layers))


def _plan(dice: Dice) -> dict[str, tuple[str, ...]]:
    """Pathology -> the anatomies at which it is drawn."""
    lot, count = dice.integer(1, sum(_COUNTS)), 0
    while lot > sum(_COUNTS[: count + 1]):
        count += 1
    plan: dict[str, tuple[str, ...]] = {}
    for group in dice.shuffled(_GROUPS)[:count]:
        if group == "pacing":
            plan |= _plan_pacing(dice)
        elif group in ("effusion", "nodule") and dice.chance(0.25):
            plan[group] = tuple(dice.shuffled(PLACES[group])[:2])
        else:
            plan[group] = (_place(group, plan, dice),)
    return plan


def _place(group: str, plan: Mapping[str, tuple[str, ...]], dice: Dice) -> str:
    """A place of the group, in a third of a lung that is still empty if there is one."""
    used = {_third(anatomy) for places in plan.values() for anatomy in places}
    empty = [anatomy for anatomy in PLACES[group] if _third(anatomy) not in used]
    return dice.pick(empty or PLACES[group])


def _third(anatomy: str) -> str:
    """Names of one third of one lung share a key; what lies outside the lungs shares none with them."""
    if anatomy not in ZONES:
        return anatomy
    side, _, (top, bottom) = ZONES[anatomy]
    return side + ("upper", "middle", "lower")[int(1.5 * (top + bottom))]


def _plan_pacing(dice: Dice) -> dict[str, tuple[str, ...]]:
    """Mostly a can with its leads; now and then one without the other (a new can, abandoned leads)."""
    chambers = dice.pick((("right_atrium", "right_ventricle"), ("right_ventricle",), ("right_atrium",)))
    parts = {"pacemaker": (dice.pick(PLACES["pacemaker"]),), "lead": chambers}
    dropped = dice.pick(("pacemaker", "lead")) if dice.chance(0.25) else ""
    return {name: where for name, where in parts.items() if name != dropped}


def _paint(scene: Scene, plan: Mapping[str, tuple[str, ...]], *, clutter: Dice) -> list[Mark]:
    """Back to front: lungs, vessels, bones, devices, clutter."""
    if "pacemaker" in plan:
        scene.device_side = plan["pacemaker"][0].split("_")[0]
    marks = []
    for name, painter in findings.PAINTERS.items():
        for anatomy in plan.get(name, ()):
            marks += painter(scene, anatomy)
    scene.layers.add(scene.layers.vessels, 28)
    paint_bones(scene.body, scene.layers, clutter)
    for name, painter in devices.PAINTERS.items():
        for anatomy in plan.get(name, ()):
            marks += painter(scene, anatomy)
    devices.paint_clutter(Scene(scene.body, scene.layers, clutter))
    return [mark for mark in marks if mark.mask.any()]


def bounds(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Tight box x0, y0, x1, y1 of a mask with a pixel in it, in fractions of width and height."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return (
        float(columns[0]) / width,
        float(rows[0]) / height,
        float(columns[-1] + 1) / width,
        float(rows[-1] + 1) / height,
    )


def _expose(level: np.ndarray, frame: Frame, dice: Dice) -> np.ndarray:
    """Scatter, grain and the film's curve: int32 levels to uint8."""
    mottle = frame.mottle(dice, 9).astype(np.int32) + frame.mottle(dice, 40) - 255
    level = level + ((mottle * dice.integer(4, 12)) >> 7)
    size, strength = frame.size, dice.integer(8, 16)
    gain, offset, bend = dice.integer(200, 310), dice.integer(-14, 30), dice.integer(-70, 70)
    grain = dice.bytes(size, size).astype(np.int32) + dice.bytes(size, size) - 255
    level = np.clip(((level * gain) >> 8) + offset + ((grain * strength) >> 8), 0, 255)
    curve = np.arange(256)
    curve = np.clip(curve + (curve * (255 - curve) * bend) // 65025, 0, 255).astype(np.uint8)
    return cv2.LUT(level.astype(np.uint8), curve)
