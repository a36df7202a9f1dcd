"""Names of image files: what other systems leave beside them, and how one that is not UTF-8 is written."""

from pathlib import Path, PurePath

# Of macOS, Windows and a network disk; macOS writes "._NAME" on foreign disks and "__MACOSX" into archives.
_LEFT_BEHIND = frozenset(
    {
        ".DS_Store",
        ".AppleDouble",
        ".Spotlight-V100",
        ".TemporaryItems",
        ".Trashes",
        ".fseventsd",
        "__MACOSX",
        "@eaDir",
        "Thumbs.db",
        "desktop.ini",
    }
)


def is_left_behind(path: str | PurePath) -> bool:
    """Whether a relative path is a file, or in a folder, that a system and not its user made.

    >>> [is_left_behind(path) for path in ("a/._1.png", "__MACOSX/1.png", ".DS_Store", "1.png")]
    [True, True, True, False]
    """
    return any(part.startswith("._") or part in _LEFT_BEHIND for part in PurePath(path).parts)


def files_of(root: Path, pattern: str) -> list[Path]:
    """What a glob pattern below `root` means, in order, without what `is_left_behind`."""
    return sorted(path for path in root.glob(pattern) if not is_left_behind(path.relative_to(root)))


def printable(text: str | PurePath) -> str:
    """Text for tables, pages and terminals: bytes of a file name that are not UTF-8 as \\xNN.

    >>> printable(Path("caf\\udce9.png"))
    'caf\\\\xe9.png'
    """
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
