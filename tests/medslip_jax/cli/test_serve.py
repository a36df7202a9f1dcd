"""What the page shows, without a page: answers, HTML, flags, port."""

import re
import socket

import numpy as np
import pytest
from bert_directory import write_toy_bert

from data_pipelines import images, phantom
from medslip_jax.cli import main
from medslip_jax.demo_page import html as serve_html
from medslip_jax.demo_page import server
from medslip_jax.demo_page.answers import Answer, Reader
from medslip_jax.errors import InputError
from medslip_jax.models import ClassifierConfig, SegmenterConfig
from medslip_jax.models.kinds import initial_variables
from medslip_jax.testing import tiny_config
from medslip_jax.text.books import make_books
from medslip_jax.text.encoder import load_encoder
from medslip_jax.vocabulary import PATHOLOGIES, pathology_prompts
from medslip_jax.weights.loading import Pretrained

IMAGE = phantom.draw(3, size=96).image
INFO = {"preprocessing": {"image_size": 64}, "books": {"tables": "centred"}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(write_toy_bert(tmp_path_factory.mktemp("bert") / "toy"), max_length=32)


@pytest.fixture(scope="module")
def pretrained(encoder):
    config = tiny_config(text_dim=16)
    return Pretrained(config, initial_variables(config), make_books(encoder), INFO)


@pytest.fixture(scope="module")
def reader(pretrained, encoder):
    return Reader(pretrained, encoder=encoder)


def test_answer_is_the_models(reader, pretrained):
    answer = reader.answer(IMAGE)
    logits = np.asarray(pretrained(images.squash(IMAGE, 64)[None])["pathology"]["logits"])[0]
    want = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(list(answer.probabilities.values()), want, atol=1e-6)
    assert list(answer.probabilities) == list(answer.maps) == list(PATHOLOGIES)
    assert answer.maps["effusion"].shape == (4, 4) and answer.finding_probability is None


def test_a_finding_leaves_the_classes_as_they_are(reader, pretrained):
    plain, asked = reader.answer(IMAGE), reader.answer(IMAGE, finding=" Ground glass\n opacity ")
    assert asked.probabilities == plain.probabilities and asked.finding == "Ground glass opacity"
    assert 0 < asked.finding_probability < 1 and asked.maps["“Ground glass opacity”"].shape == (4, 4)
    assert serve_html.by_probability(asked)[0] == "“Ground glass opacity”"


def test_the_prompt_of_a_class_says_what_the_class_says(reader):
    """As a 76th row the same vector gets the same answer as its twin; both differ a little from 75 rows' answer."""
    answer = reader.answer(IMAGE, finding=pathology_prompts()[5])
    assert answer.finding_probability == pytest.approx(answer.probabilities[PATHOLOGIES[5]], abs=0.02)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (ClassifierConfig(backbone="resnet18", trunk_width=8, num_classes=2), None),
        (SegmenterConfig(backbone="resnet18", trunk_width=8), (64, 64)),
    ],
    ids=["classifier", "segmenter"],
)
def test_fine_tuned_models(config, shape, encoder):
    model = Pretrained(config, initial_variables(config), None, INFO)
    reader = Reader(model)
    answer = reader.answer(IMAGE)
    assert bool(answer.maps) is (shape is not None)
    assert all(0 <= value <= 1 for value in answer.probabilities.values())
    assert not shape or answer.maps["class_0"].shape == shape
    with pytest.raises(InputError, match="needs the text encoder"):
        reader.answer(IMAGE, finding="fluid")
    with pytest.raises(InputError, match="reads no text; leave it out"):
        Reader(model, encoder=encoder)


def test_another_encoder_is_refused(pretrained, tmp_path):
    other = write_toy_bert(tmp_path)
    with (other / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    with pytest.raises(InputError, match="did not write the text tables"):
        Reader(pretrained, encoder=load_encoder(other, max_length=32))


def test_table_in_order_and_escaped():
    values = {"normal": 0.9, "mass": 0.25, "edema": 0.5, "<b>": 0.125}
    page = serve_html.probabilities(Answer(values, {}, finding="<i>", finding_probability=0.75))
    first = re.findall(r'data-name="([^"]+)" data-value="([^"]+)"', page.partition("<details")[0])
    assert first == [("“&lt;i&gt;”", "0.75"), ("edema", "0.5"), ("mass", "0.25"), ("&lt;b&gt;", "0.125")]
    assert "<b>" not in page and "<i>”" not in page and "All 4 classes" in page
    chosen = serve_html.probabilities(Answer(values, {}), chosen=["normal", "mass"]).partition("<details")[0]
    assert re.findall(r'data-name="(\w+)"', chosen) == ["normal", "mass"]


def test_messages_are_escaped():
    assert "<script" not in serve_html.error("<script>") + serve_html.heading(source="<script>", kind="medslip")
    page = serve_html.pictures(IMAGE, name="<script>", heat=np.eye(4), title="<script>")
    assert "<script" not in page and page.count("data:image/jpeg") == 2
    assert serve_html.notes(()) == "" and "looks inverted" in serve_html.notes(("looks inverted",))


def test_a_taken_port_and_other_bad_flags(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flags, message in (
            ([f"--port={port}"], f"--port {port}: cannot listen there"),
            (["--port=99999"], "--port 99999: must be 0 to 65535"),
            (["--host=192.0.2.1", "--port=0"], "--host 192.0.2.1"),
            (["--max_mb=0"], "--max_mb 0.0: must be above 0"),
        ):
            assert main.main(["serve", f"--checkpoint={tmp_path}", *flags]) == 2
            error = capsys.readouterr().err
            assert message in error and error.count("\n") == 1


def test_without_gradio(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main.main(["serve", "--checkpoint=x"]) == 2
    assert capsys.readouterr().err == "medslip: serve needs Gradio: pip install 'medslip_jax[demo]'\n"


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_who_can_reach_it(host, loopback):
    with server.bind(host, 0) as listener:
        assert server.is_loopback(listener) is loopback
