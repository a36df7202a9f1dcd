"""The import rules of the layout (README): one direction, no device in the data, no TensorFlow, torch only inside."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

FILES = sorted([*(ROOT / "medslip_jax").rglob("*.py"), *(ROOT / "data_pipelines").rglob("*.py")])

# Lower rooms may not import higher ones.
# Modules that are for those who have PyTorch.
NEED_TORCH = ("torch_model.py", "torch_step.py")
ROOMS = {
    "vocabulary": 0,
    "errors": 0,
    "version": 0,
    "files": 0,
    "matching": 0,
    "torch_files": 0,
    "hub": 0,
    "metrics": 1,
    "models": 1,
    "optim": 1,
    "losses": 1,
    "sharding": 1,
    "text_books": 2,
    "text_encoder": 2,
    "user_queries": 3,
    "torch_names": 2,
    "torch_checkpoint": 2,
    "torch_config": 2,
    "torch_model": 3,
    "transfer": 3,
    "model_card": 2,
    "writers": 2,
    "exit_codes": 0,
    "help_layout": 0,
    "benchmarks": 8,
    "hbm_traffic": 1,
    "compile": 8,
    "step_shapes": 8,
    "aot": 8,
    "fitting": 8,
    "compiled": 1,
    "collectives": 0,
    "launch": 4,
    "compilation_cache": 0,
    "home": 0,
    "interrupts": 0,
    "chips": 0,
    "watchdog": 1,
    "stopping": 1,
    "distributed": 1,
    "step_clock": 1,
    "late_metrics": 3,
    "profiling": 1,
    "report": 2,
    "train_step": 2,
    "scoring": 3,
    "experiment": 3,
    "zero_shot": 3,
    "grounding_cases": 2,
    "grounding_pooled": 2,
    "grounding": 3,
    "checkpoint": 4,
    "checkpoint_choice": 2,
    "checkpoint_failures": 1,
    "checkpoint_files": 4,
    "checkpoint_integrity": 1,
    "checkpoint_retention": 1,
    "testing": 4,
    "train_loop": 5,
    "bundle": 4,
    "publish": 5,
    "pretrained": 6,
    "pretrain": 6,
    "data": 6,
    "books": 6,
    "bench": 8,
    "protocol": 4,
    "judging": 7,
    "provenance": 0,
    "result_files": 2,
    "results": 7,
    "evaluate": 7,
    "compare": 7,
    "convert": 7,
    "serving": 3,
    "serving_versions": 0,
    "onnx_export": 4,
    "export": 7,
    "predicting": 7,
    "predict": 8,
    "serve": 8,
    "serve_page": 8,
    "serve_uploads": 7,
    "serve_model": 8,
    "serve_html": 8,
    "reporting": 8,
    "best": 5,
    "fine_tuner": 3,
    "fine_tuning": 8,
    "finetune": 9,
    "sweep": 9,
    "doctor": 9,
    "cli": 10,
    "completion": 10,
    "completion_scripts": 0,
    "__init__": 11,
}


# The one way up: `MeDSLIP.from_pretrained` is looked for on the class, and what it does lives above the models.
HUB_METHODS = ("medslip_jax.weights.loading", "medslip_jax.text.books")


def imported(file: Path) -> list[tuple[str, bool]]:
    """(module, is at the top level of the file) of every import."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(scope)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", id(node) not in inside))
            found += [(f"{node.module}.{alias.name}", id(node) not in inside) for alias in node.names]
    return found


def room(module: str) -> int | None:
    parts = module.split(".")
    return ROOMS.get(parts[1]) if parts[0] == "medslip_jax" and len(parts) > 1 else None


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_rules(file):
    names = imported(file)
    for module, top in names:
        first = module.split(".")[0]
        assert first != "tensorflow", "TensorFlow is imported nowhere"
        if first == "torch":
            assert file.name in (*NEED_TORCH, "torch_files.py", "inference.py")
            assert file.name in NEED_TORCH or not top, "torch only inside functions"
        if module.startswith("medslip_jax.weights.torch.torch_model") and file.name not in NEED_TORCH:
            assert not top, "torch_model is for those who have PyTorch"
    relative = file.relative_to(ROOT)
    if relative.parts[0] == "data_pipelines":
        for module, _ in names:
            assert module.split(".")[0] not in ("jax", "flax", "optax", "orbax"), "data_pipelines never knows a device"
            if module.startswith("medslip_jax."):
                assert module.split(".")[1] in ("vocabulary", "errors")
        return
    own = room("medslip_jax." + (relative.parts[1].removesuffix(".py")))
    assert own is not None, f"{relative}: give it a room in ROOMS and in README's layout"
    for module, _ in names:
        if relative.name == "pretrainable.py" and module.startswith(HUB_METHODS):
            continue
        other = room(module)
        assert other is None or other <= own, f"{relative} imports {module}: imports point one way"


def test_only_its_own_file_knows_a_library():
    owners = {
        "orbax": {"checkpoint.py", "checkpoint_files.py", "checkpoint_retention.py"},
        "tensorboardX": {"writers.py"},
        "pydicom": {"dicom.py", "dicom_tags.py"},
    }
    for library, files in owners.items():
        users = {f.name for f in FILES if any(m.split(".")[0] == library for m, _ in imported(f))}
        assert users <= files, library


@pytest.mark.portable
def test_importing_the_package_needs_no_extra_and_no_jax():
    code = (
        "import sys, medslip_jax, medslip_jax.vocabulary; "
        "bad = {'jax', 'torch', 'tensorflow', 'apache_beam', 'gradio'} & set(sys.modules); "
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
