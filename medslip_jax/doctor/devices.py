"""What JAX computes on, tried in a process of its own: a driver that hangs or crashes leaves the doctor alive.

`python -m medslip_jax.doctor.devices` is that process; its last line is JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from medslip_jax.doctor.findings import Section, in_one_line

_EXTRA_OF = {"tpu": "tpu", "cuda": "cuda", "gpu": "cuda"}
_VARIABLE = "JAX_PLATFORMS"
# Files by which Linux shows a device; newer TPUs (from v5e on) come through VFIO.
_NVIDIA = [Path("/dev/nvidia0")]
_TPU = [Path("/dev/accel0"), Path("/dev/vfio/0")]


def devices(*, timeout: float = 120.0) -> Section:
    """Platform and devices, and what is wrong if they do not compute."""
    section = Section("devices")
    section.facts[_VARIABLE] = os.environ.get(_VARIABLE) or "not set"
    command = [sys.executable, "-m", "medslip_jax.doctor.devices"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        section.complain(
            f"JAX did not find its devices in {timeout:g} s",
            next_step="end other programs that hold the device; on a TPU pod all hosts must ask at once; "
            f"{_VARIABLE}=cpu medslip doctor looks at the rest",
        )
        return section
    if run.returncode:
        said = run.stderr.strip().splitlines()[-1:] or [f"it ended with {run.returncode}"]
        section.complain(f"JAX does not work: {in_one_line(said[0])}", next_step=_advice())
        return section
    _tell(section, json.loads(run.stdout.strip().splitlines()[-1]))
    return section


def _advice() -> str:
    wanted = os.environ.get(_VARIABLE)
    if not wanted:
        return "pip install --upgrade --force-reinstall jax jaxlib"
    known = [_EXTRA_OF[name] for name in wanted.split(",") if name in _EXTRA_OF]
    if known:
        return f"{_VARIABLE}={wanted} asks for it: unset it, or pip install 'medslip_jax[{known[0]}]'"
    return f"{_VARIABLE}={wanted} asks for it: unset it, or set it to cpu, cuda or tpu"


def _tell(section: Section, found: dict[str, Any]) -> None:
    section.facts["platform"] = found["platform"]
    section.facts["devices"] = found["devices"]
    if found["memory"]:
        section.facts["memory"] = {"GiB a device": found["memory"]}
    section.facts["2 + 2"] = found["sum"]
    section.facts["jit"] = {"s": found["seconds"]}
    if found["sum"] != 4 or found["product"] != 512:
        section.complain(
            f"the {found['platform']} computes 2 + 2 = {found['sum']:g} and 512 = {found['product']:g}",
            next_step="update the driver, and try another machine",
        )
    # Whoever set the variable has chosen.
    idle = {"cuda": _NVIDIA, "tpu": _TPU} if found["platform"] == "cpu" and not os.environ.get(_VARIABLE) else {}
    for extra, files in idle.items():
        for file in filter(Path.exists, files):
            section.complain(
                f"{file} is here, but JAX computes on the CPU", next_step=f"pip install 'medslip_jax[{extra}]'"
            )


def probe() -> dict[str, Any]:
    """What the default devices of this machine are and compute, JSON-able."""
    import jax
    import jax.numpy as jnp

    local = jax.local_devices()
    start = time.monotonic()
    # Ones, so that a TPU's products of bfloat16 are exact as well.
    product = [jax.jit(lambda x: (x @ x).sum())(jax.device_put(jnp.ones((8, 8)), device)) for device in local]
    seconds = time.monotonic() - start
    limit = (local[0].memory_stats() or {}).get("bytes_limit", 0)
    return {
        "platform": local[0].platform,
        "devices": dict(Counter(device.device_kind for device in local)),
        "memory": round(limit / 2**30, 1),
        "sum": min((float(jax.device_put(2.0, device) + 2.0) for device in local), key=lambda value: value == 4),
        "product": min((float(value) for value in product), key=lambda value: value == 512),
        "seconds": round(seconds, 2),
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
