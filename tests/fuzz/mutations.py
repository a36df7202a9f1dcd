"""Ways to damage a file: bytes, lines, cells, JSON values, members of a zip. All from one random generator."""

import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable, Mapping

# Values that readers meet rarely and tests seldom.
_NUMBERS = ["0", "-1", "1e999", "nan", "-0.0", "2147483648", "9" * 400, "0x10", "١٢", "1,5", "", " 7 ", "1_000"]
_TEXTS = [
    "\ufeff",
    "\0",
    "\r",
    "\n\n",
    '"',
    "'",
    "\\",
    "\U0001fac1",
    "\u202e",
    "\ud800",
    "<",
    "&amp;",
    "../" * 9,
    "a" * 5000,
]
_VALUES: list = [None, True, -1, 1e308, "", "x", [], {}, [[]], {"a": {"b": []}}, "\n", 10**30, ["a", 1, None]]
_WORDS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"\0\0\0\1"]


def mutated(files: Mapping[str, bytes], rng: random.Random) -> dict[str, bytes]:
    """A copy of an input in which one file has one to four faults."""
    name = rng.choice([name for name in sorted(files) if not name.endswith("sum.txt")])
    data = files[name]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_ways(data))(data, rng)
    return dict(files) | {name: data}


def _ways(data: bytes) -> list[Callable[[bytes, random.Random], bytes]]:
    ways = [_flip, _flip, _word, _overwrite, _cut, _remove, _repeat, _swap, _insert]
    if data[:4] == b"PK\3\4":
        ways += [_in_member] * 4
    if _is_text(data):
        ways += [_line, _line, _number, _text, _cells]
        ways += [_json] * 5 if data.lstrip()[:1] in (b"{", b"[") else []
    return ways


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data[:4096].decode()
    except UnicodeDecodeError:
        return False


def _span(data: bytes, rng: random.Random, *, longest: int) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + rng.randint(1, longest))


def _place(data: bytes, rng: random.Random) -> int:
    """Half of all faults lie in the first kilobyte, where headers are."""
    return rng.randrange(min(len(data), 1024) if rng.random() < 0.5 else len(data)) if data else 0


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if data else 0):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _word(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    word = rng.choice(_WORDS)[: rng.choice((1, 2, 4))]
    return data[:at] + word + data[at + len(word) :]


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, longest=64)
    return data[:start] + rng.choice((b"\0", b"\xff", rng.randbytes(1))) * (end - start) + data[end:]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, longest=256)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, longest=256)
    return data[:end] + data[start:end] * rng.choice((1, 3, 100)) + data[end:]


def _swap(data: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = sorted((_span(data, rng, longest=64), _span(data, rng, longest=64)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.randint(1, 32)) + data[at:]


def _line(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = lines[at].rstrip(b"\r\n")
    return b"".join(lines)


def _number(data: bytes, rng: random.Random) -> bytes:
    digits = [i for i, byte in enumerate(data) if 48 <= byte < 58]
    if not digits:
        return data
    start = end = rng.choice(digits)
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    return data[:start] + rng.choice(_NUMBERS).encode() + data[end:]


def _text(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice(_TEXTS).encode("utf-8", "surrogatepass") + data[at:]


def _cells(data: bytes, rng: random.Random) -> bytes:
    cells = data.split(b",")
    at, other = rng.randrange(len(cells)), rng.randrange(len(cells))
    cells[at], cells[other] = cells[other], rng.choice((cells[at], b"", b" "))
    return b",".join(cells)


def _json(data: bytes, rng: random.Random) -> bytes:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return data
    nodes = list(_nodes(tree))
    if not nodes:
        return data
    (parent, key), (other, place) = rng.choice(nodes), rng.choice(nodes)
    match rng.randrange(4):
        case 0:
            parent[key] = rng.choice(_VALUES)
        case 1:
            parent[key] = json.loads(json.dumps(other[place]))
        case 2 if isinstance(parent, dict):
            parent[rng.choice(["x", "", "\n", *map(str, parent)])] = parent.pop(key)
        case _:
            del parent[key]
    return json.dumps(tree).encode()


def _nodes(tree):
    places = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(places):
        yield tree, key
        yield from _nodes(value)


def _in_member(data: bytes, rng: random.Random) -> bytes:
    """A fault in one member of a zip, whose checksum is right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError):
        return data
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in (mutated(members, rng) if members else members).items():
            archive.writestr(name, content)
    return packed.getvalue()
