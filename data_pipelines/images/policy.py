"""How image files become grey pictures, as one value that is echoed into every data set's metadata."""

import dataclasses
from typing import Literal

from medslip_jax.errors import check_choices


@dataclasses.dataclass(frozen=True)
class ImagePolicy:
    """What the reader does where files leave a choice; `dataclasses.asdict` gives its JSON form.

    Attributes:
      voi: which values of a grey DICOM become black and white. "lut": its first VOI table, else its first window;
        "window": its first window, else its first table; "none": neither. Where nothing is stated (or "none"), 8 bits
        are taken as they are and more bits from the image's own minimum to its maximum, padding left out.
      polarity: "tagged" inverts what a DICOM calls MONOCHROME1, after the window; "as_stored" inverts nothing, for
        files that are tagged wrongly; "inverted" inverts every image of any format, for a data set of negatives.
      sixteen_bit: of a PNG. "full" maps 0 .. 65535 to 0 .. 255, as PNG defines it; "stretch" maps the image's own
        minimum .. maximum, for files that hold 12-bit values unscaled. Nothing is clipped in either.
      equalise: "released_rsna" spreads the grey values as the released RSNA reader does (SPEC 7); "none" does not.
      resize: "short_side" keeps the aspect, "squash" makes a square of any image as released evaluation does.

    Raises:
      InputError: another value; the message names the field.
    """

    voi: Literal["lut", "window", "none"] = "lut"
    polarity: Literal["tagged", "as_stored", "inverted"] = "tagged"
    sixteen_bit: Literal["full", "stretch"] = "full"
    equalise: Literal["none", "released_rsna"] = "none"
    resize: Literal["short_side", "squash"] = "short_side"

    def __post_init__(self):
        check_choices(self, section="image")
