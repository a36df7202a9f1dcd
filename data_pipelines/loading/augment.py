"""The training augmentations of SPEC 5 as pure functions on grey uint8 images, never held as float.

A sample is a dict {"image": uint8 (H, W), "matrix": int8 (51, 75)} with, if wanted, "boxes": float32 (n, 4)
as (x0, y0, x1, y1) fractions of width and height, and "masks": uint8 (k, H, W) of 0 and 255, with "mirrored", the
place of each after a flip that exchanges sides. Every geometric operation is one affine map of fractions,
used both to move the pixels (and masks) and to move the boxes; randomness comes from the
`numpy.random.Generator` that is passed in, so a sample depends on nothing but its inputs and that generator.

Paper of RandAugment: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
space", 2019; the ranges of its operations are AutoAugment's (Cubuk et al., 2018), but for translation, see
`MAXIMA`.
"""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from data_pipelines import images
from data_pipelines.loading.targets import mask_to
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import side_swap

FLIPS = ("none", "as_released", "swap_sides")
MAGNITUDE_SCALE = 10

# What magnitude 10 means. AutoAugment translates by up to 150 of 331 pixels; 45 % of a chest out of the frame
# would remove findings that the labels still claim, so ours is 10 % of the side.
MAXIMA = {
    "brightness": 0.9,
    "sharpness": 0.9,
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 0.1,
    "translate_y": 0.1,
    "rotate": 30.0,
}
OPERATIONS = ("identity", "auto_contrast", "equalize", *MAXIMA)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """The released training augmentation; every field can be set by name.

    Attributes:
      scale: smallest and largest share of the image's area that a crop keeps, each in (0, 1].
      ratio: smallest and largest width / height of a crop.
      flip: "none", "as_released" (mirrors the image only) or "swap_sides" (also exchanges left and right
        anatomies in the label matrix, so that image and labels still agree); a sample is mirrored with
        probability 1/2.
      randaugment_ops: operations drawn for a sample, with replacement, from `OPERATIONS`.
      randaugment_magnitude: 0 .. 10, the share in tenths of each operation's entry in `MAXIMA`.
      randaugment_p: probability that a drawn operation is applied.
    """

    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: str = "swap_sides"
    randaugment_ops: int = 2
    randaugment_magnitude: float = 7.0
    randaugment_p: float = 0.5

    def __post_init__(self):
        checks = {
            "scale": 0 < self.scale[0] <= self.scale[1] <= 1,
            "ratio": 0 < self.ratio[0] <= self.ratio[1],
            "flip": self.flip in FLIPS,
            "randaugment_ops": self.randaugment_ops >= 0,
            "randaugment_magnitude": 0 <= self.randaugment_magnitude <= MAGNITUDE_SCALE,
            "randaugment_p": 0 <= self.randaugment_p <= 1,
        }
        for name, holds in checks.items():
            if not holds:
                value = getattr(self, name)
                raise InputError(
                    f"augment.{name}={value!r} is out of range; see data_pipelines.loading.augment.AugmentConfig"
                )


def augment(sample: dict, *, rng: np.random.Generator, size: int, config: AugmentConfig) -> dict:
    """Random resized crop, flip, RandAugment, in that order (SPEC 5); the image becomes (size, size).

    Boxes move along; what leaves the image is cut off, and a box wholly outside becomes empty
    (x0 = x1 or y0 = y1).
    """
    sample = random_resized_crop(sample, rng=rng, size=size, scale=config.scale, ratio=config.ratio)
    if config.flip != "none" and rng.random() < 0.5:
        sample = flip(sample, mode=config.flip)
    for _ in range(config.randaugment_ops):
        name, sign = OPERATIONS[rng.integers(len(OPERATIONS))], 1 - 2 * int(rng.integers(2))
        if rng.random() < config.randaugment_p:
            sample = apply_operation(sample, name, magnitude=config.randaugment_magnitude, sign=sign)
    return sample


def random_resized_crop(
    sample: dict,
    *,
    rng: np.random.Generator,
    size: int,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> dict:
    """Crops a random window and scales it to (size, size), bicubic.

    The window's area is uniform in `scale` times the image's area and its width / height log-uniform in
    `ratio`; after ten windows that do not fit, the largest central one with an allowed ratio is taken (as in
    torchvision's RandomResizedCrop).
    """
    height, width = sample["image"].shape
    x0, y0, x1, y1 = crop_window(rng, height=height, width=width, scale=scale, ratio=ratio)
    pixels = images.resize(sample["image"][y0:y1, x0:x1], height=size, width=size)
    to_crop = np.array([[width / (x1 - x0), 0, -x0 / (x1 - x0)], [0, height / (y1 - y0), -y0 / (y1 - y0)]])
    return _moved(
        sample, pixels, to_crop, mask=lambda m: mask_to(np.ascontiguousarray(m[y0:y1, x0:x1]), height=size, width=size)
    )


def crop_window(
    rng: np.random.Generator, *, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    """Int (4,): x0, y0, x1, y1 in pixels of the window that `random_resized_crop` cuts out."""
    low, high = np.log(ratio)
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x0, y0 = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return np.array([x0, y0, x0 + w, y0 + h])
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    x0, y0 = (width - w) // 2, (height - h) // 2
    return np.array([x0, y0, x0 + w, y0 + h])


def flip(sample: dict, *, mode: str = "swap_sides") -> dict:
    """Mirrors left to right; "swap_sides" also exchanges the matrix rows of left and right anatomies.

    A finding of `left_pleural` at box (.1, .2, .3, .4) is one of `right_pleural` at (.7, .2, .9, .4)
    afterwards.

    >>> sample = {"image": np.array([[1, 2, 3]], np.uint8), "boxes": np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)}
    >>> flipped = flip(sample)
    >>> flipped["image"].tolist(), flipped["boxes"].round(1).tolist() == np.float32([[0.7, 0.2, 0.9, 0.4]]).tolist()
    ([[3, 2, 1]], True)
    """
    affine = np.array([[-1.0, 0, 1], [0, 1, 0]])
    mirrored = _moved(sample, _mirror(sample["image"]), affine, mask=_mirror)
    if mode == "swap_sides" and "matrix" in sample:
        mirrored["matrix"] = sample["matrix"][side_swap()]
    if mode == "swap_sides" and "masks" in sample:
        mirrored["masks"] = mirrored["masks"][list(sample["mirrored"])]
    return mirrored


def _mirror(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1])


def apply_operation(sample: dict, name: str, *, magnitude: float, sign: int = 1) -> dict:
    """One RandAugment operation at `magnitude` 0 .. 10; `sign` (-1 or 1) is its direction where it has one.

    Worked numbers at magnitude 7: brightness and sharpness multiply by 1 +/- 0.63, shear moves by 0.21 of the
    distance from the centre, translation by 0.07 of the side (16 of 224 pixels), rotation turns by 21
    degrees. Uncovered pixels are black.
    """
    amount = sign * MAXIMA.get(name, 0.0) * magnitude / MAGNITUDE_SCALE
    if name in _TONES:
        return dict(sample) | {"image": _TONES[name](sample["image"], amount)}
    moves = {
        "shear_x": [[1, amount], [0, 1]],
        "shear_y": [[1, 0], [amount, 1]],
        "rotate": [
            [math.cos(math.radians(amount)), math.sin(math.radians(amount))],
            [-math.sin(math.radians(amount)), math.cos(math.radians(amount))],
        ],
    }
    linear = np.array(moves.get(name, np.eye(2)), float)
    offset = np.array([amount * (name == "translate_x"), amount * (name == "translate_y")])
    height, width = sample["image"].shape
    # Shear and rotation are meant in pixels: on an image that is not square, fractions alone would skew the
    # rotation.
    to_pixels = np.diag([width, height])
    linear = np.linalg.inv(to_pixels) @ linear @ to_pixels
    affine = np.column_stack([linear, 0.5 - linear @ [0.5, 0.5] + offset])
    return _moved(
        sample,
        _warp(sample["image"], affine),
        affine,
        mask=lambda m: np.where(_warp(m, affine) > 127, 255, 0).astype(np.uint8),
    )


def move_boxes(boxes: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Bounding boxes after an affine map of fractions, cut to the image.

    Half a width to the right, and what leaves the image is cut off:

    >>> move_boxes(np.array([[0.25, 0.0, 0.75, 1.0]]), np.array([[1, 0, 0.5], [0, 1, 0]])).tolist()
    [[0.75, 0.0, 1.0, 1.0]]

    Args:
      boxes: float (n, 4), x0, y0, x1, y1.
      affine: float (2, 3), new = affine @ (x, y, 1).

    Returns:
      float32 (n, 4) in [0, 1]: the smallest upright box around the four moved corners.
    """
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]].astype(np.float64)
    moved = corners @ affine[:, :2].T + affine[:, 2]
    return np.concatenate([moved.min(1), moved.max(1)], 1).clip(0, 1).astype(np.float32)


def _moved(sample: dict, image: np.ndarray, affine: np.ndarray, *, mask: Callable[[np.ndarray], np.ndarray]) -> dict:
    """The sample with its moved image; `mask` moves one mask the same way."""
    boxes = {"boxes": move_boxes(sample["boxes"], affine)} if "boxes" in sample else {}
    masks = {"masks": np.stack([mask(m) for m in sample["masks"]])} if "masks" in sample else {}
    return dict(sample) | {"image": image} | boxes | masks


def _warp(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Moves pixels by an affine map of fractions. The centre of pixel i is at (i + 0.5) / side."""
    height, width = image.shape
    sides = np.array([width, height])
    linear = affine[:, :2] * sides[:, None] / sides[None, :]
    offset = affine[:, 2] * sides + linear @ [0.5, 0.5] - 0.5
    matrix = np.column_stack([linear, offset])
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=0)


def _brightness(image: np.ndarray, amount: float) -> np.ndarray:
    """Multiplies by 1 + amount: 100 -> 163 at amount 0.63, 200 -> 255."""
    return cv2.convertScaleAbs(image, alpha=1 + amount)


def _sharpness(image: np.ndarray, amount: float) -> np.ndarray:
    """Moves away from (amount > 0) or towards (< 0) a smoothed copy: image + amount * (image - smooth)."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    return cv2.addWeighted(image, 1 + amount, cv2.filter2D(image, -1, kernel), -amount, 0)


def _auto_contrast(image: np.ndarray, amount: float) -> np.ndarray:
    """Stretches the darkest .. brightest value to 0 .. 255; an image of one value stays as it is."""
    low, high = int(image.min()), int(image.max())
    if low == high:
        return image
    return cv2.LUT(image, np.rint((np.arange(256) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8))


_TONES = {
    "identity": lambda image, amount: image,
    "auto_contrast": _auto_contrast,
    "equalize": lambda image, amount: cv2.equalizeHist(image),
    "brightness": _brightness,
    "sharpness": _sharpness,
}
