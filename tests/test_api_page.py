"""docs/api.md is what the docstrings say."""

import importlib
import importlib.util
import re
import subprocess
import sys

from places import ROOT

SCRIPT = ROOT / "docs" / "make_api.py"


def _script():
    spec = importlib.util.spec_from_file_location("make_api", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current():
    run = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_names_can_be_imported_from_where_the_page_says():
    names = re.findall(r"^#### ((?:medslip_jax|data_pipelines)\S*)\.(\w+)$", _script().page(), re.MULTILINE)
    assert len(names) > 80
    for module, name in names:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_what_others_rely_on_is_there():
    page = _script().page()
    for name in (
        "medslip_jax.models.MeDSLIP",
        "medslip_jax.models.MeDSLIPConfig",
        "medslip_jax.step.losses.medslip_loss",
        "medslip_jax.weights.torch.conversion.from_torch",
        "medslip_jax.weights.torch.conversion.to_torch",
        "data_pipelines.radgraph.label_matrices",
        "data_pipelines.reports.extract",
        "data_pipelines.datasets.open_split",
        "medslip_jax.evaluation.metrics.grounding.grounding_report",
    ):
        assert f"#### {name}\n" in page


def test_an_entry(tmp_path, monkeypatch):
    script = _script()
    monkeypatch.setattr(script, "ROOT", tmp_path)
    (tmp_path / "tool.py").write_text(
        '"""A tool."""\n\n\ndef cut(x: int, *, by: str = "knife") -> list[int]:\n'
        '    """Cuts x < 9 with `a < b`.\n\n    Args:\n      x: what.\n    """\n\n\ndef _hidden():\n    pass\n'
    )
    assert "\n".join(script._module(tmp_path / "tool.py", module="tool", names=())) == (
        "### tool\n\nA tool.\n\n#### tool.cut\n\n```python\ncut(x: int, *, by: str='knife') -> list[int]\n```\n\n"
        "Cuts x \\< 9 with `a < b`.\n\n```text\nArgs:\n  x: what.\n```\n"
    )
