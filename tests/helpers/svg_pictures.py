"""The SVG pictures of a page of ours, read back."""

import base64
import re
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"


def pictures(page: str) -> list[ElementTree.Element]:
    """Every chart of a page, in its order."""
    found = re.findall(r'<img class="chart" src="data:image/svg\+xml;base64,([^"]*)"', page)
    return [ElementTree.fromstring(base64.b64decode(data)) for data in found]


def texts(picture: ElementTree.Element) -> list[str]:
    """What can be read in it: numbers at the axes, labels, legend."""
    return [text.text or "" for text in picture.iter(f"{_SVG}text")]


def paths(picture: ElementTree.Element) -> list[str]:
    """The lines, as "M x y L x y ..."."""
    return [path.get("d", "").strip() for path in picture.iter(f"{_SVG}path")]
