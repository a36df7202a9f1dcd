"""Run-length masks of the SIIM-ACR challenge: "offset length offset length ...", column after column.

Each offset counts from the end of the run before it, the first one from the first pixel, which is number 0; a run goes
on from the bottom of a column to the top of the next; "-1" is no mask. Source: the challenge's data description
(SIIM-ACR Pneumothorax Segmentation, 2019) and its published `mask_functions`, whose arrays are (x, y), the transpose of
an image. Their encoder loses a run that ends at the last pixel; `encode_rle` does not.
"""

import numpy as np

from medslip_jax.errors import InputError

NO_MASK = "-1"


def decode_rle(text: str, *, shape: tuple[int, int], name: str) -> np.ndarray:
    """Run lengths -> uint8 (H, W) of 0 and 255.

    Args:
      text: the runs.
      shape: of the image.
      name: what an error calls the mask.

    Raises:
      InputError: not pairs of whole numbers, or a run beyond the image.

    >>> decode_rle("1 2 1 1", shape=(3, 2), name="m").tolist()
    [[0, 0], [255, 255], [255, 0]]
    """
    mask = np.zeros(shape[0] * shape[1], np.uint8)
    if text.strip() in ("", NO_MASK):
        return mask.reshape(shape)
    try:
        numbers = np.array(text.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{name}: run lengths are not whole numbers ({error})") from error
    if len(numbers) % 2 or (numbers < 0).any():
        raise InputError(f"{name}: run lengths must be pairs of offset and length, none negative")
    lengths = numbers[1::2]
    ends = np.minimum(numbers, mask.size + 1).reshape(-1, 2).sum(axis=1).cumsum()  # without overflow
    if ends[-1] > mask.size:
        raise InputError(f"{name}: runs go beyond the {mask.size} pixels of an image of {shape[1]} x {shape[0]}")
    for start, end in zip(ends - lengths, ends, strict=True):
        mask[start:end] = 255
    return np.ascontiguousarray(mask.reshape(shape[::-1]).T)


def encode_rle(mask: np.ndarray) -> str:
    """uint8 or bool (H, W) -> run lengths; the inverse of `decode_rle`.

    >>> encode_rle(np.array([[0, 0], [1, 1], [1, 0]], bool)), encode_rle(np.zeros((2, 2), bool))
    ('1 2 1 1', '-1')
    """
    flat = np.concatenate([[0], (mask.T.reshape(-1) > 0).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return NO_MASK
    offsets = starts - np.concatenate([[0], ends[:-1]])
    return " ".join(f"{offset} {length}" for offset, length in zip(offsets, ends - starts, strict=True))
