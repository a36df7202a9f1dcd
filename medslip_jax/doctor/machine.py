"""Python, cores, memory, free disk and the compilation cache of this machine."""

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import psutil

from data_pipelines.loading import usable_cores
from medslip_jax.doctor.findings import Section
from medslip_jax.parallel import compilation_cache
from medslip_jax.storage import home

_GIB = 2**30
# Below it, a run of any size would end in the middle.
_LEAST_GIB = 1.0
_CGROUP = Path("/sys/fs/cgroup/memory.max")
# Through it data workers hand over their batches; Docker gives 64 MiB.
_SHARED = Path("/dev/shm")
_LEAST_SHARED_MIB = 32


def machine(*, data_dir: Path) -> Section:
    """What the host gives to a run."""
    section = Section("machine")
    section.facts["Python"] = f"{platform.python_version()} ({sys.executable})"
    section.facts["system"] = platform.platform()
    section.facts["cores"] = {"usable": usable_cores()}
    section.facts["cores"] |= {"there": os.cpu_count() or 0}
    section.facts["memory"] = memory = host_memory()
    if memory["GiB free"] < _LEAST_GIB:
        what = f"only {memory['GiB free']} GiB of memory are free"
        section.complain(what, next_step="end other programs, or take a larger machine")
    disks = {"disk here": Path.cwd(), "disk of the data": data_dir}
    if (temporary := home.temporary()) is None:
        section.complain(home.NO_TEMPORARY, next_step=home.MAKE_TEMPORARY)
    else:
        disks["temporary files"] = temporary
    for name, path in disks.items():
        _disk(section, name, path)
    if sys.platform == "linux":
        shared_memory(section)
    return section


def host_memory(limit: Path = _CGROUP) -> dict[str, float]:
    """{"GiB", "GiB free"}, at most what the container may use."""
    found = psutil.virtual_memory()
    try:
        most = int(limit.read_text())
    except (OSError, ValueError):  # "max": no limit
        most = found.total
    return {"GiB": round(min(found.total, most) / _GIB, 1), "GiB free": round(min(found.available, most) / _GIB, 1)}


def _disk(section: Section, name: str, path: Path) -> None:
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free / _GIB
    section.facts[name] = f"{free:.1f} GiB free ({there})"
    if free < _LEAST_GIB:
        section.complain(f"{there}: only {free:.2f} GiB are free", next_step="remove what is not needed there")


def shared_memory(section: Section, where: Path = _SHARED) -> None:
    """Whether data workers have room for their batches; runs without them (config.data.workers=0) need none."""
    if not where.is_dir() or not os.access(where, os.W_OK):
        section.facts["shared memory"] = what = f"{where} is missing or cannot be written"
    else:
        free = shutil.disk_usage(where).free / 2**20
        section.facts["shared memory"] = f"{free:.0f} MiB free ({where})"
        if free >= _LEAST_SHARED_MIB:
            return
        what = f"{where}: only {free:.0f} MiB are free"
    step = "docker run --shm-size=2g; or threads in place of data workers: --config.data.workers=0"
    section.complain(what, next_step=step)


def cache() -> Section:
    """The persistent compilation cache: where, how full, and can it be written?"""
    section = Section("compilation cache")
    where = os.environ.get(compilation_cache.VARIABLE, str(compilation_cache.directory() or ""))
    if not where:
        section.facts["path"] = f"switched off ({compilation_cache.VARIABLE} is empty, or no folder can be written)"
        return section
    section.facts["path"] = where
    if home.private_folder() in Path(where).parents:
        section.facts["why there"] = "there is no home directory, or it cannot be written"
    if "://" in where:
        section.facts["content"] = "in a bucket: not looked at"
        return section
    try:
        Path(where).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=where):
            pass
        sizes = [file.stat().st_size for file in Path(where).rglob("*") if file.is_file()]
    except OSError as error:
        step = f"set {compilation_cache.VARIABLE} to a folder that can be written, or to nothing to do without"
        section.complain(f"compilation cache {where}: cannot be written ({error.strerror})", next_step=step)
        return section
    section.facts["content"] = {"files": len(sizes), "MiB": round(sum(sizes) / 2**20, 1)}
    return section
