"""What the data sets with an official download share: the tree that is expected, and options of every one of them."""

import dataclasses
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from data_pipelines.datasets.building.plan import Drop, Plan, Policy
from data_pipelines.datasets.building.planned import PlannedBuilder
from data_pipelines.datasets.shared.xray import Storing
from data_pipelines.images import ImagePolicy, files_of
from data_pipelines.reports import TextPolicy
from medslip_jax.errors import InputError, from_section


@dataclasses.dataclass(frozen=True)
class Expected:
    """A file, or the files of a glob pattern, of an official download.

    Attributes:
      pattern: relative to the root; "*" does not cross folders, "**" does.
      count: how many files the official release has.
      what: in words, with the place it comes from.
      required: a build cannot begin without at least one.
    """

    pattern: str
    count: int = 1
    what: str = ""
    required: bool = True


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of an `Expected`: `state` is "ok", "differs" from the official count or, where nothing was found,
    "missing", or "absent" if it is not required."""

    expected: Expected
    found: int

    @property
    def state(self) -> str:
        if not self.found:
            return "missing" if self.expected.required else "absent"
        return "ok" if self.found == self.expected.count else "differs"


@dataclasses.dataclass(frozen=True)
class OfficialOptions:
    """Options of every official data set; each adds its own.

    Attributes:
      size: short side of the stored images in pixels.
      image_format: "jpeg" (quality 95) or "png" (lossless).
      partial: accept a download whose counts differ from the official release's.
      image: `images.ImagePolicy`, how image files become grey; a mapping of its fields will do.
      text: `reports.TextPolicy`, how reports and views are used; likewise.
    """

    size: int = 256
    image_format: str = "jpeg"
    partial: bool = False
    image: ImagePolicy = dataclasses.field(default_factory=ImagePolicy)
    text: TextPolicy = dataclasses.field(default_factory=TextPolicy)

    def __post_init__(self):
        if type(self.size) is not int or self.size < 32:
            raise InputError(f"size={self.size!r}: expected a whole number of pixels, at least 32")
        if self.image_format not in ("jpeg", "png"):
            raise InputError(f"image_format={self.image_format!r}: expected 'jpeg' or 'png'")
        if type(self.partial) is not bool:
            raise InputError(f"partial={self.partial!r}: expected true or false")
        for name, policy in (("image", ImagePolicy), ("text", TextPolicy)):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                object.__setattr__(self, name, from_section(policy, value, name=name))
            elif not isinstance(value, policy):
                fields = ", ".join(field.name for field in dataclasses.fields(policy))
                raise InputError(f"{name}={value!r}: expected an object of {fields}")

    @property
    def storing(self) -> Storing:
        return Storing(size=self.size, image_format=self.image_format, policy=self.image)


def check_download(root: str | Path, expected: Iterable[Expected]) -> list[Finding]:
    """Counts what is there of an official download.

    Raises:
      InputError: the root is no directory.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"--root {root}: no such directory")
    return [Finding(entry, len(files_of(root, entry.pattern))) for entry in expected]


def require(root: str | Path, expected: Sequence[Expected], *, partial: bool, name: str) -> None:
    """Before a build: nothing required is missing and, unless `partial`, every count is the official one.

    Raises:
      InputError: the first thing that is not as it should be, and the command that shows all of it.
    """
    hint = f"see medslip data check {name} --root {root}"
    for finding in check_download(root, expected):
        pattern = finding.expected.pattern
        if finding.state == "missing":
            raise InputError(f"{Path(root) / pattern}: not there ({finding.expected.what}); {hint}")
        if finding.state == "differs" and not partial:
            counts = f"{finding.found} files, the official release has {finding.expected.count}"
            raise InputError(f"{Path(root) / pattern}: {counts}; complete it or build with --partial; {hint}")


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Lines for the user, one a finding."""
    width = max(len(finding.expected.pattern) for finding in findings)
    for finding in findings:
        e = finding.expected
        yield f"{finding.state:<8} {e.pattern:<{width}} {finding.found:>7} of {e.count:<7} {e.what}"


def require_rows(path: Path, found: int, *, official: int, partial: bool) -> None:
    """`InputError` if a list was cut off, as a download that breaks does, and this is not a `partial` one."""
    if found != official and not partial:
        raise InputError(
            f"{path}: {found} rows, the official release has {official}; download it again or build with --partial"
        )


def files_by_name(root: Path, pattern: str) -> dict[str, str]:
    """Name -> path relative to the root of every file of a glob pattern.

    Raises:
      InputError: two files of one name.
    """
    found: dict[str, str] = {}
    for path in files_of(root, pattern):
        other = found.setdefault(path.name, path.relative_to(root).as_posix())
        if other != path.relative_to(root).as_posix():
            raise InputError(f"{path}: a file of this name is {root / other} too; remove one of them")
    return found


def obey(policy: Policy, *, listing: Path, drops: Sequence[Drop], kinds: Sequence[str]) -> None:
    """Policy "fail" also for what is known before an image is read: `InputError` at the first drop of these kinds."""
    for drop in drops:
        if policy == "fail" and drop.kind in kinds:
            raise InputError(f"{listing}: row {drop.row}: {drop.reason}; repair it or build with policy skip")


class OfficialBuilder(PlannedBuilder, skip_registration=True):  # type: ignore[call-arg]  # as PlannedBuilder
    """Base of the builders of official downloads. A subclass has `EXPECTED`, a text in assets/downloads.toml and
    `planned`; its `OPTIONS` are `OfficialOptions`."""

    EXPECTED: tuple[Expected, ...] = ()

    @classmethod
    def tree(cls) -> str:
        """What the download looks like, for people."""
        text = (resources.files("data_pipelines") / "assets" / "downloads.toml").read_text(encoding="utf-8")
        return tomllib.loads(text)[cls.name]

    @classmethod
    def expected(cls, options: Any) -> tuple[Expected, ...]:
        """`EXPECTED` with these options."""
        del options
        return cls.EXPECTED

    @classmethod
    def plan(cls, *, root: str | Path, options: Any = None, policy: Policy = "skip") -> Plan:
        """`PlannedBuilder.plan` of a complete download.

        Raises:
          InputError: as `require`, and as `planned`.
        """
        root, options = Path(root), options or cls.OPTIONS()
        require(root, cls.expected(options), partial=options.partial, name=cls.name)
        return cls.planned(root, options, policy)

    @classmethod
    def planned(cls, root: Path, options: Any, policy: Policy) -> Plan:
        """The plan of a download whose files are there.

        Raises:
          InputError: a list that cannot be read, or nothing is left.
        """
        raise NotImplementedError
