"""XLA flags for a suite that compiles far more than it computes, as far as the installed version has them."""

import json
import os
import subprocess
import sys

# Together they make compiling five times as fast; the programs stay the same, and their loops get slower. Not among
# them is xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE: it gains no more, and sums in longer chains (gradient norms of
# the golden model then miss by up to 2.3e-4; by 5e-5 with these, as with XLA's defaults).
WANTED: dict[str, int | bool] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_llvm_disable_expensive_passes": True,
}
# A flag in XLA_FLAGS that XLA does not know ends the process; the same name as an option of one compilation is refused
# with an error. The process is one of its own, as XLA reads XLA_FLAGS once, when it starts.
_ASK = """
import json, sys
import jax

program, known = jax.jit(lambda x: x + 1).lower(1.0), []
for name, value in json.loads(sys.argv[1]).items():
    try:
        program.compile(compiler_options={name: value})
        known.append(name)
    except jax.errors.JaxRuntimeError as error:
        if name not in str(error):
            raise
print(json.dumps(known))
"""


def xla_flags(wanted: dict[str, int | bool] = WANTED) -> str:
    """The value of XLA_FLAGS with those of the flags that the installed XLA knows.

    Args:
      wanted: flag, without dashes -> value.
    """
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_FLAGS": ""}
    command = [sys.executable, "-c", _ASK, json.dumps(wanted)]
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise RuntimeError(f"JAX does not say which XLA flags it knows: {asked.stderr}")
    known = json.loads(asked.stdout)
    return " ".join(f"--{name}={str(wanted[name]).lower()}" for name in known)
