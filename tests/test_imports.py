"""The rules of README's layout: imports go down its rooms, no circles, no device in the data, no TensorFlow."""

import subprocess
import sys

import pytest
from import_graph import (
    LOOKS_UP,
    circles,
    drawn_rooms,
    files,
    folder_sizes,
    graph,
    imported,
    longest_chain,
    room_of,
    rooms,
    summary,
    upward,
)
from places import ROOT

FILES = files()
GRAPH = graph()
IMPORTS = {name: imported(file) for name, file in FILES.items()}
# library -> the only files that may import it, as they begin
OWNERS = {
    "orbax": "medslip_jax.checkpoints.",
    "tensorboardX": "medslip_jax.training.writers",
    "pydicom": "data_pipelines.images.dicom",
}


def users(library: str) -> set[str]:
    return {name for name, found in IMPORTS.items() for one in found if one.name.split(".")[0] == library}


def is_for_pytorch(module: str) -> bool:
    """Modules for those who have PyTorch are called torch_*.py; nobody else imports them or it at the top."""
    return module.rpartition(".")[2].startswith("torch_")


def test_readme_draws_every_room():
    assert sorted(drawn_rooms()) == sorted(rooms(GRAPH)), "give a new folder or file a line in README's layout"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    drawing = readme.partition("## Layout")[2].split("```")[1].strip()
    assert len(drawing.splitlines()) <= 25


def test_imports_go_down():
    wrong = list(upward(GRAPH, order=drawn_rooms()))
    assert not wrong, "\n".join(["these imports go up:", *wrong, summary()])


def test_the_one_way_up_is_inside_functions_and_leads_to_the_weights():
    late = {one.name for one in IMPORTS[LOOKS_UP] if one.late and one.name in FILES}
    assert {room_of(name) for name in late} <= {"weights", "models", "text"}


def test_no_circles():
    assert not circles(GRAPH), summary()
    assert not circles(rooms(GRAPH)), summary()


def test_no_folder_with_more_than_20_files():
    assert not [folder for folder, number in folder_sizes().items() if number > 20], summary()


@pytest.mark.parametrize("name", FILES)
def test_tensorflow_nowhere_and_pytorch_inside_functions(name):
    for one in IMPORTS[name]:
        first = one.name.split(".")[0]
        assert first != "tensorflow", "TensorFlow is imported nowhere"
        if first == "torch" or (one.name in FILES and is_for_pytorch(one.name)):
            assert one.late or is_for_pytorch(name), f"{one.name}: inside functions only"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("data_pipelines")])
def test_the_data_know_no_device(name):
    assert not {one.name.split(".")[0] for one in IMPORTS[name]} & {"jax", "flax", "optax", "orbax"}
    assert {other for other in GRAPH[name] if other.startswith("medslip_jax")} <= {
        "medslip_jax.vocabulary",
        "medslip_jax.errors",
    }


@pytest.mark.parametrize("library", OWNERS)
def test_only_its_own_files_know_a_library(library):
    found = users(library)
    assert found, f"nobody imports {library}: take it out of OWNERS"
    assert all(name.startswith(OWNERS[library]) for name in found), sorted(found)


def test_the_picture_of_a_graph():
    """What the messages above rest on, by hand: a > b > d, a > c > b, and e, f in a circle above d."""
    drawn = {"a": {"b", "c"}, "b": {"d"}, "c": {"b"}, "d": set(), "e": {"f", "d"}, "f": {"e"}}
    assert circles(drawn) == [["e", "f"]]
    assert longest_chain(drawn) == ["a", "c", "b", "d"]


@pytest.mark.portable
def test_importing_the_package_needs_no_extra_and_no_jax():
    code = (
        "import sys, medslip_jax, medslip_jax.vocabulary; "
        "bad = {'jax', 'torch', 'tensorflow', 'apache_beam', 'gradio'} & set(sys.modules); "
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
