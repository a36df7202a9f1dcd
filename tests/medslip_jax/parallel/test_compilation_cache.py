"""The cache is on by default, where the user says, and holds what was compiled."""

import os
import subprocess
import sys
from pathlib import Path

from medslip_jax.parallel import compilation_cache

PROGRAM = """
from medslip_jax.parallel import compilation_cache
compilation_cache.enable()
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.config.jax_compilation_cache_dir)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
"""


def run(**changes) -> str:
    env = {k: v for k, v in os.environ.items() if k != compilation_cache.VARIABLE} | {"JAX_PLATFORMS": "cpu"} | changes
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120, check=True
    ).stdout.strip()


def test_programs_are_kept_in_the_cache_directory(tmp_path):
    where = run(XDG_CACHE_HOME=str(tmp_path))
    assert where.startswith(str(tmp_path / "medslip_jax" / "xla"))
    assert list(Path(where).glob("jit_*"))


def test_the_users_choice_stands(tmp_path):
    assert run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"), XDG_CACHE_HOME=str(tmp_path)) == str(tmp_path / "mine")
    assert run(JAX_COMPILATION_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path)) in ("", "None")
    assert not (tmp_path / "medslip_jax").exists()


def test_another_processor_has_another_directory(monkeypatch):
    here = compilation_cache.directory()
    monkeypatch.setattr(compilation_cache, "_processor", lambda: b"flags : sse2")
    assert compilation_cache.directory() != here
