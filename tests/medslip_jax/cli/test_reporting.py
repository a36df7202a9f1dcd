"""`medslip report`: the page of a run, what is missing, what is refused, and how a browser shows and prints it."""

import http.server
import json
import re
import shutil
import subprocess
import threading
import zlib

import numpy as np
import pytest

from data_pipelines.datasets import open_split
from medslip_jax.cli import main
from medslip_jax.evaluation import zero_shot
from medslip_jax.evaluation.metrics.calibration import calibration_report
from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.metrics.classification_intervals import classification_intervals
from medslip_jax.evaluation.result_files import ids_hash
from medslip_jax.pretraining import pretrain
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

MAPPED = ("nodule", "mass", "effusion", "edema", "pneumonia", "fracture")
EVIL = '<script>alert(1)</script><img src="http://evil.example/x.png" onerror=alert(2)>'
PROTOCOL = {"n_images": 3, "protocol": "per-image"}
PROTOCOL |= {"maps": "alone", "upsampling": "cells", "threshold": 0.5, "iou": 0.2, "dice": 0.3}
OTHER = {"protocol": EVIL, "pointing_cell": 0.5}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")


def scores_of(source, rng) -> dict:
    """A split as `scoring.score` gives it, of a model that knows a little."""
    records = [source[i] for i in range(len(source))]
    labels = np.array([record["labels"] for record in records])
    n = len(records)
    matrix = np.array([record["matrix"] for record in records])
    said = (matrix >= 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        true = (matrix == 1).sum(axis=0) / said
    return {
        "index": np.arange(n),
        "labels": labels,
        "matrix": matrix,
        "pathology": np.clip(0.3 * (labels == 1) + 0.7 * rng.random(labels.shape), 0, 1).astype(np.float32),
        "anatomy": rng.random((n, len(ANATOMIES))).astype(np.float32),
        "pathology_map": rng.random((n, len(MAPPED), 16)).astype(np.float32),
        "anatomy_map": rng.random((n, 16)).astype(np.float32),
        "pair_true": true.astype(np.float32),
        "pair_predicted": (0.8 * true).astype(np.float32),
        "pair_count": said * 5,
    }


def judged(test) -> dict:
    """metrics.json's section on pathologies."""
    columns = np.flatnonzero((test["labels"] >= 0).any(axis=0))
    known = {"labels": test["labels"][:, columns], "names": [PATHOLOGIES[i] for i in columns]}
    return judged_section(test["pathology"][:, columns], patients=test["patient_id"], **known)


def judged_section(scores, *, patients, **known) -> dict:
    return {
        "report": classification_report(scores, **known),
        "intervals": classification_intervals(scores, patients=patients, resamples=20, **known),
        "calibration": calibration_report(scores, **known),
    }


@pytest.fixture(scope="module")
def whole(phantom_data, tmp_path_factory):
    """A run directory with everything that the page can show, and no checkpoint."""
    run = tmp_path_factory.mktemp("report") / "run"
    (run / "zero_shot").mkdir(parents=True)
    source = open_split(phantom_data, "phantom", "test")
    test = zero_shot.identify(scores_of(source, np.random.default_rng(0)), source)
    result = {
        "checkpoint": {"path": str(run / "checkpoints" / "6"), "sha256": "c" * 64},
        "data": {"name": "phantom", "split": "test", "images": 16, "ids_sha256": ids_hash(test)},
        "protocol": {"data": {"dir": str(phantom_data)}, "grounding": {"focal": ["mass"]}},
        "classification": {"pathology": judged(test)},
        "grounding": {
            "size": 224,
            "truth": "boxes",
            "pooled": {},
            "classes": {EVIL: {"n_images": 3, "protocols": [PROTOCOL, *[PROTOCOL | OTHER] * 60], "detection": []}},
        },
    }
    arrays = {key: value for key, value in test.items() if key != "matrix" and isinstance(value, np.ndarray)}
    arrays |= {"pathology_names": np.array(PATHOLOGIES), "anatomy_names": np.array(ANATOMIES)}
    arrays |= {"map_names": np.array(MAPPED)}
    (run / "zero_shot" / "metrics.json").write_text(json.dumps(result))
    np.savez(run / "zero_shot" / "predictions.npz", **arrays)
    lines = [{"step": step, "loss": 3.0 / step, "icl": 1 / step, "learning_rate": 1e-4 * step} for step in range(1, 40)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40, "lo')
    return run


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture(scope="module")
def page(whole, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "page.html"
    assert main.main(["report", str(whole), "--out", str(out)]) == 0
    return out


def changed(run, change) -> None:
    """Edits metrics.json."""
    file = run / "zero_shot" / "metrics.json"
    result = json.loads(file.read_text())
    change(result)
    file.write_text(json.dumps(result))


def test_page_of_a_whole_run(page, whole):
    text = page.read_text()
    for title in (
        "Training",
        "Zero-shot classification",
        "ROC and precision-recall curves",
        "Calibration",
        "Grounding",
    ):
        assert f"<h2>{title}</h2>" in text
    assert "Not for clinical use" in text and "c" * 64 in text and "16 of 16 patients" in text
    assert "1 lines of metrics.jsonl could not be read" in text
    assert text.count('<article class="card">') > 2 and re.search(r"<h3>mass: (true|false) positive", text)
    assert "mass map" in text and "anatomy map" in text
    assert "Correlation over these pairs" in text
    assert len(text) < 3e6


def test_page_asks_nothing_of_the_network_and_runs_nothing(page):
    text = page.read_text()
    assert "default-src 'none'" in text and "<script" not in text
    assert set(re.findall(r'(?:src|href)="(.{5})', text)) == {"data:"}
    assert not re.search(r"@import|url\(|<link|<iframe", text)


def test_same_bytes_again_beside_the_results(page, whole, run, capsys):
    assert main.main(["report", str(run)]) == 0
    assert capsys.readouterr().out.startswith(f"written: {run}/zero_shot/report.html (")
    again = (run / "zero_shot" / "report.html").read_text().replace(str(run), str(whole))
    assert again == page.read_text()


def test_missing_parts_are_said(run, capsys):
    (run / "metrics.jsonl").unlink()

    def strip(result):
        result["classification"]["pathology"].pop("calibration", None)
        del result["grounding"], result["protocol"]

    changed(run, strip)
    file = run / "zero_shot" / "predictions.npz"
    with np.load(file) as arrays:
        kept = {key: arrays[key] for key in arrays if not key.startswith(("pair_", "map_", "pathology_map", "anatomy"))}
    np.savez(file, **kept)
    assert main.main(["report", str(run)]) == 0
    text = (run / "zero_shot" / "report.html").read_text()
    assert "metrics.jsonl is not there" in text and "hold no calibration" in text and "one stream" in text
    assert "No gallery: neither the results nor a checkpoint" in text and "<h2>Grounding" not in text
    assert "note: No gallery" in capsys.readouterr().out


def test_data_that_are_not_there_or_others(run, phantom_data, tmp_path, capsys):
    assert main.main(["report", str(run), "--data_dir", str(tmp_path / "none")]) == 0
    assert "note: No gallery: " in capsys.readouterr().out
    file = run / "zero_shot" / "predictions.npz"
    with np.load(file) as arrays:
        moved = dict(arrays) | {"index": np.roll(arrays["index"], 1)}
    np.savez(file, **moved)
    assert main.main(["report", str(run), "--data_dir", str(phantom_data)]) == 0
    assert "so it was built anew or differently" in capsys.readouterr().out
    assert "<article" not in (run / "zero_shot" / "report.html").read_text()


def test_number_of_cases(run, capsys):
    for count, cards in ((0, 0), (2, 2)):
        assert main.main(["report", str(run), f"--cases={count}"]) == 0
        assert (run / "zero_shot" / "report.html").read_text().count("<article") == cards


def test_an_older_checkpoint_than_the_newest_is_said(run, capsys):
    (run / "checkpoints" / "12").mkdir(parents=True)
    assert main.main(["report", str(run)]) == 0
    assert "evaluate again for that one" in capsys.readouterr().out
    assert '<p class="warn">The results are of checkpoint' in (run / "zero_shot" / "report.html").read_text()


def ask_by_text(run) -> None:
    """Adds the query "liquid" with the truth of effusion, as a class map with a text does."""
    truth = np.load(run / "zero_shot" / "predictions.npz")["labels"][:, [PATHOLOGIES.index("effusion")]]
    scores = np.clip(truth * 0.4 + np.linspace(0, 0.6, len(truth))[:, None], 0, 1)
    rewrite(run, extra=scores, targets=truth, target_names=np.array(["liquid"]))
    section = judged_section(scores, patients=np.arange(len(truth)), labels=truth, names=["liquid"])
    changed(run, lambda result: result["classification"].update(targets=section))
    changed(run, lambda result: result.update(prompts={"texts": {"liquid": f"Liquid. {EVIL}"}}))


def test_queries_given_as_text_beside_classes(run, page):
    ask_by_text(run)
    assert main.main(["report", str(run), "--cases=4"]) == 0
    text = (run / "zero_shot" / "report.html").read_text()
    assert text.count("<h3>Pathologies</h3>") == text.count("<h3>Queries given as text</h3>") == 2
    assert "<dt>liquid</dt><dd>Liquid. &lt;script&gt;" in text and "query given as text" in text
    assert "reliability of liquid" in text and "ROC of liquid" in text
    assert re.findall(r"<h3>(\w+): true positive", text) == ["liquid", "mass"]
    assert "<h3>Pathologies</h3>" not in page.read_text()


def test_queries_given_as_text_alone(run, capsys):
    """As COVIDx's results are: no pathology judged, no maps, no anatomy-by-pathology matrix needed."""
    ask_by_text(run)
    changed(run, lambda result: result["classification"].pop("pathology"))
    changed(run, lambda result: result.pop("grounding"))
    rewrite(run, map_names=None, pathology_map=None, anatomy_map=None)
    assert main.main(["report", str(run)]) == 0
    assert "note: " not in capsys.readouterr().out
    text = (run / "zero_shot" / "report.html").read_text()
    assert "ROC of liquid" in text and "all classes" not in text and "<h3>Queries" not in text
    kinds = re.findall(r"<h3>liquid: ([\w ]+)</h3>", text)
    assert kinds[0] == "true positive" and len(kinds) == text.count("<article")
    # An X-ray each and no map; the boxes are of classes, of which "liquid" is none.
    cards = text.split("<h2>Cases")[1]
    assert cards.count("<img") == len(kinds) and "<rect" not in cards


def rewrite(run, **arrays) -> None:
    file = run / "zero_shot" / "predictions.npz"
    with np.load(file) as old:
        kept = dict(old) | arrays
    np.savez(file, **{key: value for key, value in kept.items() if value is not None})


NAN = np.full((16, 75), np.nan)
BAD = {
    "no run": (shutil.rmtree, r"run: no such directory; give a --workdir"),
    "no results": (lambda run: shutil.rmtree(run / "zero_shot"), r"metrics.json: no such file; `medslip evaluate"),
    "no JSON": (lambda run: (run / "zero_shot" / "metrics.json").write_text("{"), r"metrics.json: not a result of"),
    "other JSON": (
        lambda run: (run / "zero_shot" / "metrics.json").write_text("[1]"),
        r"metrics.json: not a result of",
    ),
    "empty": (lambda run: changed(run, lambda r: r.update(classification={})), r"metrics.json: not a result of"),
    "no arrays": (lambda run: (run / "zero_shot" / "predictions.npz").unlink(), r"predictions.npz: no such file"),
    "no zip": (
        lambda run: (run / "zero_shot" / "predictions.npz").write_bytes(b"x"),
        r"predictions.npz: cannot be read",
    ),
    "an array less": (lambda run: rewrite(run, labels=None), r"predictions.npz: has no array 'labels'"),
    "shapes": (lambda run: rewrite(run, labels=np.zeros((3, 75))), r"its arrays do not fit each other"),
    "NaN": (lambda run: rewrite(run, pathology=NAN), r"probabilities that are not finite"),
    "other images": (lambda run: rewrite(run, image_id=np.arange(16).astype(str)), r"other images than those of"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(case, run, tmp_path, capsys):
    breaks, expected = BAD[case]
    breaks(run)
    out = tmp_path / "out"
    out.mkdir()
    assert main.main(["report", str(run), "--out", str(out / "page.html")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(expected, error) and list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(["--cases=-1"], "--cases -1: give a number"), (["--out=/no/such/page.html"], "cannot be written")],
)
def test_bad_flags(flags, expected, run, capsys):
    assert main.main(["report", str(run), *flags]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.slow
def test_after_pretrain_and_evaluate(tiny_run, tmp_path):
    tiny_run.eval_every = 0
    pretrain(tiny_run, workdir=tmp_path, stop_after=2)
    out = tmp_path / "zero_shot"
    assert main.main(["evaluate", f"--checkpoint={tmp_path}", f"--out={out}", "--resamples=20", "--pictures=0"]) == 0
    assert main.main(["report", str(tmp_path)]) == 0
    text = (out / "report.html").read_text()
    assert "<article" in text and "Expected calibration error" in text and "Correlation over these pairs" in text
    assert "arg-max cell" in text and "total loss" in text and 'class="warn"' not in text


def chromium(profile, *flags) -> str:
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
    command = [CHROMIUM, *quiet, "--no-first-run", f"--user-data-dir={profile}", *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout


@browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("details", ["closed", "open"])
def test_nothing_overflows(page, width, details, tmp_path):
    """In a frame of that width, as a window may have a least width; the copy allows the script that measures."""
    script = (
        "<script>addEventListener('load',()=>{const root=document.documentElement;"
        f"document.querySelectorAll('details').forEach(d=>d.open={str(details == 'open').lower()});"
        "const out=[...document.body.querySelectorAll('*')].filter(e=>!e.closest('.scroll *,svg')&&"
        "e.checkVisibility()&&e.getBoundingClientRect().right>root.clientWidth+1).map(e=>e.tagName+'.'+e.className);"
        "const broken=[...document.images].filter(i=>!i.naturalWidth).length;"
        "parent.postMessage(JSON.stringify({inner:innerWidth,scroll:root.scrollWidth,height:root.scrollHeight,"
        "images:document.images.length,out,broken}),'*')})</script>"
    )
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(), count=1)
    (tmp_path / "copy.html").write_text(text.replace("</body>", f"{script}</body>"))
    (tmp_path / "frame.html").write_text(
        f'<!doctype html><iframe src="copy.html" width="{width}" height="800" style="border:0"></iframe><pre></pre>'
        "<script>onmessage=e=>document.querySelector('pre').textContent=e.data</script>"
    )
    dom = chromium(tmp_path / "profile", "--virtual-time-budget=5000", "--dump-dom", f"file://{tmp_path}/frame.html")
    found = json.loads(re.search(r"<pre>(.*)</pre>", dom)[1])
    assert found["inner"] == width and found["scroll"] <= width, found
    assert found["out"] == [] and found["broken"] == 0 and found["images"] > 6 and found["height"] > 2000


def asked_for(body: bytes, profile) -> list[str]:
    """Host and path of every request that a browser makes for a page, whatever host it believes to reach."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f"{self.headers['Host']}{self.path}")
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rules = f"--host-resolver-rules=MAP * 127.0.0.1:{server.server_address[1]}"
    try:
        chromium(profile, rules, "--virtual-time-budget=3000", "--dump-dom", "http://page.example/page.html")
    finally:
        server.shutdown()
        server.server_close()
    # Not the browser's own, which asks its maker for the time of day.
    return [one for one in asked if "google" not in one and "favicon" not in one]


@browser
def test_a_browser_asks_for_the_page_only(page, tmp_path):
    assert asked_for(page.read_bytes(), tmp_path / "profile") == ["page.example/page.html"]
    open_to_all = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(), count=1)
    control = open_to_all.replace("</body>", '<img src="http://evil.example/x.png"></body>').encode()
    assert "evil.example/x.png" in asked_for(control, tmp_path / "control")


@browser
def test_it_prints(page, tmp_path):
    target = tmp_path / "page.pdf"
    chromium(tmp_path / "profile", "--no-pdf-header-footer", f"--print-to-pdf={target}", f"file://{page}")
    data = target.read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", data)) or len(re.findall(rb"/Type\s*/Page\b", _inflated(data)))
    assert data.startswith(b"%PDF") and 3 <= pages <= 40


def _inflated(data: bytes) -> bytes:
    """The compressed streams of a PDF, those that can be read."""
    parts = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.S):
        try:
            parts.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return b"".join(parts)
