"""The resumable half of a build: encoded records in small files, each written whole or not at all.

A part holds what became of `PART_JOBS` consecutive jobs of a split: a checksum, then msgpack. A build that is killed
loses the parts in work and finds the others again; one that is damaged, as by a power cut, is made again. Which
process, or which machine of a Beam runner, writes a part changes nothing in it.
"""

import dataclasses
import functools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgpack
import numpy as np
from tqdm import tqdm

from data_pipelines.datasets.building.plan import Job, Made, Plan, Policy
from data_pipelines.datasets.building.workers import in_order
from medslip_jax.errors import InputError

PART_JOBS = 32
_CHECKSUM_BYTES = 4
_ARRAY = 1  # msgpack's extension type of the one kind of array that records hold: float32 boxes


@dataclasses.dataclass(frozen=True)
class Part:
    """`PART_JOBS` jobs at most, and the file that their results go to."""

    path: Path
    jobs: Sequence[Job]


def parts_of(plan: Plan, directory: Path) -> dict[str, list[Part]]:
    """split -> its parts in order."""
    return {
        split: [
            Part(directory / f"{split}-{start // PART_JOBS:06d}.msgpack", jobs[start : start + PART_JOBS])
            for start in range(0, len(jobs), PART_JOBS)
        ]
        for split, jobs in plan.jobs.items()
    }


def missing_parts(parts: Sequence[Part]) -> list[Part]:
    """Those that are not there, or are damaged; the others are read through, a second or two a gigabyte."""
    return [part for part in parts if not part.path.exists() or not _sound(part)]


def encode_parts(plan: Plan, parts: Sequence[Part], *, workers: int, name: str) -> None:
    """Makes the parts that are not there yet, with a progress bar.

    Raises:
      InputError: policy "fail" and a row that cannot be used (its part is not written, so that the row is read again
        after a repair), or a worker that died.
    """
    missing = missing_parts(parts)
    done = sum(len(part.jobs) for part in parts) - sum(len(part.jobs) for part in missing)
    bar = tqdm(total=sum(len(part.jobs) for part in parts), initial=done, desc=name, unit="image", disable=None)
    write = functools.partial(write_part, encode=plan.encode, policy=plan.policy, wanted_drops=plan.wanted_drops)
    with bar:
        for part, failure in zip(missing, in_order(write, missing, workers=workers), strict=True):
            if failure:
                raise InputError(f"{plan.listing}: {failure}; repair it or build with policy skip")
            bar.update(len(part.jobs))


def write_part(
    part: Part, *, encode: Callable[[Job], Made], policy: Policy, wanted_drops: frozenset[str] = frozenset()
) -> str:
    """Encodes the jobs of a part and writes its file; returns the first failure that policy "fail" forbids, or ""."""
    made = []
    for job in part.jobs:
        result = encode(job)
        if result.record is None and policy == "fail" and result.kind not in wanted_drops:
            return f"row {job.row}: {result.reason}"
        made.append(dataclasses.asdict(result))
    temporary = part.path.with_name(f".{part.path.name}.{os.getpid()}")
    try:
        body = msgpack.packb(made, default=_pack)
        temporary.write_bytes(zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") + body)
        temporary.replace(part.path)
    finally:
        temporary.unlink(missing_ok=True)
    return ""


def read_parts(parts: Sequence[Part]) -> Iterator[tuple[Job, Made]]:
    """Every job with what became of it, in order; one part in memory at a time.

    Raises:
      InputError: a part that was damaged since it was made.
    """
    for part in parts:
        try:
            body = _body(part)
        except (OSError, ValueError) as error:
            raise InputError(f"{part.path}: cannot be read ({error}); build again, it is made anew") from error
        for job, fields in zip(part.jobs, msgpack.unpackb(body, ext_hook=_unpack), strict=True):
            yield job, Made(**fields | {key: tuple(fields[key]) for key in ("labels", "notes")})


def _sound(part: Part) -> bool:
    try:
        _body(part)
    except (OSError, ValueError):
        return False
    return True


def _body(part: Part) -> bytes:
    """The msgpack of a part; `ValueError` if its checksum is another."""
    data = part.path.read_bytes()
    checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if not body or checksum != zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little"):
        raise ValueError("damaged")
    return body


def _pack(value):
    if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == 1:
        return msgpack.ExtType(_ARRAY, value.tobytes())
    if isinstance(value, np.integer):
        return int(value)
    raise TypeError(f"a record holds a {type(value).__name__}, which a part cannot")


def _unpack(code: int, data: bytes):
    return np.frombuffer(data, np.float32) if code == _ARRAY else msgpack.ExtType(code, data)
