import shutil

import pytest

from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.phantom import PhantomOptions
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.report.contents.page import write_page


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("show")
    build("phantom", out=out, options=PhantomOptions(train=2, validation=1, test=1, size=64), workers=1)
    return out / "phantom"


def test_verb_writes_beside_the_data_or_where_told(built, tmp_path, capsys):
    assert main.main(["data", "show", str(built), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path}/page.html\n"
    assert main.main(["data", "show", str(built / "1.0.0")]) == 0
    assert capsys.readouterr().out == f"written: {built}/1.0.0/contents.html\n"
    assert (built / "1.0.0" / "contents.html").read_bytes() == (tmp_path / "page.html").read_bytes()


def test_verb_without_data_ends_with_one_line(tmp_path, capsys):
    assert main.main(["data", "show", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"medslip: {tmp_path}: no built data set there; give OUT/NAME")


def test_unreadable_list_is_named(built, tmp_path):
    shutil.copytree(built, tmp_path / "phantom")
    (tmp_path / "phantom" / "1.0.0" / "drops.json").write_text("[")
    with pytest.raises(InputError, match=r"drops.json: cannot be read"):
        write_page(tmp_path / "phantom", tmp_path / "page.html")
