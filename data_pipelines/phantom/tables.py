"""The phantom's tables in assets/, as dicts and tuples."""

import tomllib
from importlib import resources
from typing import Any


def read_table(name: str) -> dict[str, Any]:
    """assets/NAME.toml, its lists as tuples."""
    text = (resources.files("data_pipelines") / "assets" / f"{name}.toml").read_text(encoding="utf-8")
    return _fixed(tomllib.loads(text))


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _fixed(entry) for key, entry in value.items()}
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


PHANTOM = read_table("phantom")
