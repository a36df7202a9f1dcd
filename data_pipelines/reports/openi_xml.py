"""The IU X-Ray (Open-I) report files: NLMCXR_reports.tgz, or the XML files of it, read without trusting them.

A document type is refused before anything in it is used, so no entity is ever expanded; nothing is unpacked to disk;
members that are no plain files, or far bigger than a report, are refused.
"""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from data_pipelines.images import files_of, is_left_behind
from medslip_jax.errors import InputError

LARGEST = 1 << 20


@dataclass(frozen=True)
class OpeniReport:
    """One report; `codes` are the human MeSH codes ("Opacity/lung/base/left"), `images` the ids of its pictures."""

    report_id: str
    sections: dict[str, str]
    codes: tuple[str, ...]
    images: tuple[str, ...]

    @property
    def text(self) -> str:
        """Findings and impression, as a reader of images wrote them."""
        names = [name for name in ("FINDINGS", "IMPRESSION") if self.sections.get(name)]
        return "\n\n".join(f"{name}: {self.sections[name]}" for name in names)


def read_reports(path: str | Path) -> Iterator[OpeniReport]:
    """All reports of the official archive, or of a directory with its XML files, in the order of their names.

    Raises:
      InputError: the file cannot be read, holds no report, or a report is malformed; one line that names it.
    """
    path = Path(path)
    count = 0
    for name, content in sorted(_directory(path) if path.is_dir() else _archive(path), key=lambda pair: pair[0]):
        count += 1
        yield parse_report(content, name=f"{path}: {name}")
    if not count:
        raise InputError(f"{path}: no .xml files in it; expected NLMCXR_reports.tgz or the directory it unpacks to")


def _directory(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in files_of(path, "**/*.xml"):
        _check_size(file.stat().st_size, f"{path}: {file.name}")
        yield str(file.relative_to(path)), file.read_bytes()


def _archive(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                wanted = member.name.endswith(".xml") and member.isfile() and not is_left_behind(member.name)
                content = archive.extractfile(member) if wanted else None
                if content is not None:
                    _check_size(member.size, f"{path}: {member.name}")
                    yield member.name, content.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(":\n")[0]
        raise InputError(f"{path}: cannot read the archive ({reason}); expected NLMCXR_reports.tgz") from error


def _check_size(size: int, where: str) -> None:
    if size > LARGEST:
        raise InputError(f"{where}: {size} bytes, more than a report can have ({LARGEST})")


def parse_report(content: bytes, *, name: str) -> OpeniReport:
    """One XML file.

    Args:
      content: its bytes.
      name: of the file, for messages.

    Raises:
      InputError: no well-formed XML, a document type in it, or no report.
    """
    root = _tree(content, name)
    identity = root.find("uId")
    if root.tag != "eCitation" or identity is None or not identity.get("id"):
        raise InputError(f"{name}: no Open-I report (expected <eCitation> with <uId id=...>)")
    sections: dict[str, str] = {}
    for part in root.iter("AbstractText"):
        label, text = (part.get("Label") or "").upper(), " ".join("".join(part.itertext()).split())
        sections[label] = f"{sections[label]} {text}".strip() if label in sections else text
    codes = tuple(" ".join(code.text.split()) for code in root.iterfind("MeSH/major") if code.text)
    images = tuple(image.get("id", "") for image in root.iter("parentImage"))
    return OpeniReport(identity.get("id", ""), sections, codes, images)


def _tree(content: bytes, name: str) -> Element:
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{name}: has a document type or entities, which no Open-I report has: refused")

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as error:  # the latter for an encoding that nobody knows
        raise InputError(f"{name}: not well-formed XML ({error})") from error
    return builder.close()
