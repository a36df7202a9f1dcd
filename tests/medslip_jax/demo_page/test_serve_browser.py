"""`medslip serve` as a process, and a real browser in front of it."""

import http.client
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bert_directory import write_toy_bert
from devtools import CHROMIUM, Browser

from data_pipelines import images, phantom
from medslip_jax.models import MeDSLIP
from medslip_jax.models.kinds import initial_variables
from medslip_jax.testing import tiny_config
from medslip_jax.text.books import make_books
from medslip_jax.text.encoder import load_encoder
from medslip_jax.vocabulary import PATHOLOGIES
from medslip_jax.weights.loading import load

pytestmark = [
    pytest.mark.demo,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gradio") is None, reason="Gradio is not installed: pip install 'medslip_jax[demo]'"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
# Gradio puts the page's parts up one after the other.
WHOLE_PAGE = "['#drop input[type=file]', '#finding textarea', '#read'].every(s => document.querySelector(s))"
VALUES = (
    "Object.fromEntries([...document.querySelectorAll('.ms-table tr')].map(r => [r.dataset.name, +r.dataset.value]))"
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, Path]:
    """A tiny model with random weights, and the encoder of its tables."""
    folder = tmp_path_factory.mktemp("model")
    bert, config = write_toy_bert(folder / "toy"), tiny_config(text_dim=16)
    info = {
        "preprocessing": {"image_size": 64},
        "experiment": {"data": {"image_size": 64}, "books": {"tables": "centred"}},
    }
    MeDSLIP(config).save_pretrained(
        folder / "m",
        variables=initial_variables(config),
        books=make_books(load_encoder(bert, max_length=32)),
        info=info,
        license="cc0-1.0",
    )
    return {"model": folder / "m", "encoder": bert}


def _start(saved, temporary: Path, *flags: str) -> tuple[subprocess.Popen, str]:
    """The process and the address that it prints; its temporary folders lie in `temporary`."""
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "medslip_jax.cli.main", "serve", f"--checkpoint={saved['model']}", "--port=0"]
    process = subprocess.Popen(
        [*command, f"--encoder={saved['encoder']}", *flags],
        env=os.environ | {"TMPDIR": str(temporary), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.match(r"http://(\S+):(\d+)  ", line):
            return process, f"http://127.0.0.1:{found[2]}/"
    raise AssertionError("".join(said))


def _files_with_content(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]


def test_from_upload_to_heat_map(saved, tmp_path):
    picture = phantom.draw(5, size=128).image
    good, bad, large = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "large.png"
    good.write_bytes(images.encode_grey(picture, kind="png"))
    bad.write_text("no picture")
    endless = tmp_path / "endless.png"
    endless.write_bytes(good.read_bytes() + bytes(12_000_000))
    large.write_bytes(good.read_bytes() + bytes(1_000_000))
    logits = np.asarray(load(saved["model"])["pretrained"](images.squash(picture, 64)[None])["pathology"]["logits"])[0]
    want = dict(zip(PATHOLOGIES, 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), strict=True))
    server, address = _start(saved, tmp_path / "tmp", "--max_mb=1")
    try:
        with Browser(tmp_path / "profile") as browser:
            browser.open(address)
            browser.wait(WHOLE_PAGE)
            assert "Not for clinical use" in browser.run("document.body.innerText")
            browser.run("document.querySelector('#read').click()")
            assert "No X-ray yet" in browser.wait("document.querySelector('.ms-error').innerText")

            browser.give_file("#drop input[type=file]", good)
            browser.wait("document.querySelector('img.ms-xray').naturalWidth == 128")
            browser.type("#finding textarea", "Ground glass <b>")
            browser.run("document.querySelector('#read').click()")
            browser.wait("document.querySelector('img.ms-heat').naturalWidth == 128")
            shown = browser.run(VALUES)
            assert shown.keys() - want.keys() == {"“Ground glass <b>”"}
            np.testing.assert_allclose([shown[name] for name in PATHOLOGIES], list(want.values()), atol=1e-6)

            browser.run("document.querySelector('#which input').focus()")
            browser.wait("document.querySelectorAll('#which [role=option], [role=listbox] [role=option]').length > 70")
            option = (
                "[...document.querySelectorAll('[role=option]')].find(o => o.innerText.trim().endsWith('effusion'))"
            )
            browser.run(f"{option}.dispatchEvent(new MouseEvent('mousedown', {{bubbles: true}}))")
            browser.wait("document.querySelector('img.ms-heat').alt.startsWith('effusion: ')")
            said = browser.run("document.querySelector('img.ms-heat').alt")
            assert float(said.removeprefix("effusion: ")) == pytest.approx(want["effusion"], abs=6e-4)

            for file, message in ((bad, "bad.png: not a PNG, JPEG or DICOM"), (large, "large.png: too large (1.0 MB")):
                browser.give_file("#drop input[type=file]", file)
                browser.wait(f"document.body.innerText.includes({message!r})")
            browser.give_file("#drop input[type=file]", endless)
            browser.wait("document.body.innerText.match(/Error|exceed/)")
            browser.open(address)
            browser.wait(WHOLE_PAGE)
            browser.give_file("#drop input[type=file]", good)
            browser.wait("document.querySelector('img.ms-xray').naturalWidth == 128")
            assert _files_with_content(tmp_path / "tmp") == []
            asked = [url for url in browser.requests if not url.startswith((address, "data:", "blob:"))]
            assert len(browser.requests) > 20 and asked == []
            server.send_signal(signal.SIGTERM)  # with the page still open
            assert server.wait(300) == 0
    finally:
        server.kill()
    assert list((tmp_path / "tmp").glob("medslip_serve_*")) == []
    rest = server.stdout.read()
    assert rest == "medslip serve: ended\n"


def test_interrupt_and_warning(saved, tmp_path):
    server, _ = _start(saved, tmp_path / "tmp")
    server.send_signal(signal.SIGINT)
    assert server.wait(300) == 130
    assert server.stdout.read() == "medslip: interrupted\n"
    assert list((tmp_path / "tmp").glob("medslip_serve_*")) == []


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_only_this_machines_names_are_answered(saved, tmp_path):
    """A site whose name is made to lead to this machine must not get at the page."""
    server, address = _start(saved, tmp_path / "tmp", "--host=::1")
    port = int(address.rstrip("/").rpartition(":")[2])
    try:
        statuses = {}
        for name in (f"[::1]:{port}", "localhost", "evil.example"):
            connection = http.client.HTTPConnection("::1", port, timeout=20)
            connection.request("GET", "/", headers={"Host": name})
            statuses[name] = connection.getresponse().status
            connection.close()
        assert statuses[f"[::1]:{port}"] == statuses["localhost"] == 200 and statuses["evil.example"] == 400
    finally:
        server.kill()
