"""The image policy as flags, for every verb that reads image files: what an error or a note advises can be typed."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

from data_pipelines.images.policy import ImagePolicy

_HELP = {
    "voi": "DICOM: its look-up table, else window; window, else table; neither",
    "polarity": "what MONOCHROME1 inverts; nothing; every image",
    "sixteen_bit": "PNG: 0 .. 65535, or the image's own range",
    "equalise": "grey values as the released RSNA reader spreads them",
    "resize": "to the model's square at once, or the short side first, as a data set stores it",
}


def add_image_flags(parser: argparse.ArgumentParser, *, names: Sequence[str] = tuple(_HELP), say: str = "") -> None:
    """A flag for each of these fields of `ImagePolicy`, in a group of its own; None where it is not given."""
    group = parser.add_argument_group("how files become grey", say or "defaults: lut, tagged, full, none")
    kinds = get_type_hints(ImagePolicy)
    for name in names:
        group.add_argument(f"--{name}", choices=get_args(kinds[name]), help=_HELP[name])


def given_image(flags: argparse.Namespace) -> dict[str, Any]:
    """The fields that were given."""
    found = {field.name: getattr(flags, field.name, None) for field in dataclasses.fields(ImagePolicy)}
    return {name: value for name, value in found.items() if value is not None}
