"""Hub ids: their forms, the local cache first, and every way of not getting a file."""

import fnmatch
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError
from places import ROOT
from tiny_weights import CONFIGS, state_of

from medslip_jax.errors import InputError
from medslip_jax.storage.hub import fetch_weights, looks_like_hub_id
from medslip_jax.storage.tensor_files import write_state
from medslip_jax.weights.loading import locate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", True),
        ("owner/name@v1.0", True),
        ("owner/name/FILE.pth", True),
        ("owner/name@abc123/sub/FILE.pth", True),
        ("pykale/MeDSLIP", True),
        ("name", False),
        ("/owner/name", False),
        ("./owner/name", False),
        ("owner/name with space", False),
        ("owner/", False),
        ("", False),
    ],
)
def test_form(text, expected):
    assert looks_like_hub_id(text) is expected


class FakeHub:
    """Stands in for the client: {file names} in the cache and online (or the error), and the calls made."""

    def __init__(self, root: Path, *, cached: set[str] = frozenset(), online: set[str] | Exception = frozenset()):
        self.root, self.cached, self.online, self.calls = root, cached, online, []

    def snapshot_download(self, repo, *, allow_patterns, local_files_only, revision=None):
        self.calls.append(("cache" if local_files_only else "network", repo, revision))
        if not local_files_only and isinstance(self.online, Exception):
            raise self.online
        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("not here")
        there = self.cached if local_files_only else self.online
        wanted = {n for n in there if local_files_only or any(fnmatch.fnmatch(n, p) for p in allow_patterns)}
        for name in wanted:
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).touch()
        return str(self.root)

    def model_info(self, repo, *, revision=None):
        self.calls.append(("list", repo, revision))
        if isinstance(self.online, Exception):
            raise self.online
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in self.online])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def install(**kwargs) -> FakeHub:
        fake = FakeHub(tmp_path, **kwargs)
        monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: SimpleNamespace(model_info=fake.model_info))
        return fake

    return install


def test_cache_is_enough(hub, tmp_path, capsys):
    fake = hub(cached={"w.pth", "README.md"}, online=OSError("no network"))
    assert fetch_weights("o/n") == tmp_path / "w.pth"
    assert {kind for kind, *_ in fake.calls} == {"cache"}
    # It may hold less than the repository, where no file is named.
    assert capsys.readouterr().err == "note: o/n: w.pth as it lies in the local cache\n"
    assert fetch_weights("o/n/w.pth") == tmp_path / "w.pth"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("reference", "calls"),
    [
        ("o/n@v1/w.pth", {("cache", "o/n", "v1")}),
        ("o/n/w.pth", {("cache", "o/n", None)}),
        ("o/n@v1", {("cache", "o/n", "v1")}),
    ],
)
def test_revision_and_file(hub, tmp_path, reference, calls):
    fake = hub(cached={"w.pth"})
    assert fetch_weights(reference) == tmp_path / "w.pth"
    assert set(fake.calls) == calls


def test_download_brings_the_side_files_and_nothing_else(hub, tmp_path):
    fake = hub(online={"w.pth", "w.pth.json", "w.pth.books.npz", "README.md", "data/big.bin"})
    assert fetch_weights("o/n@v1") == tmp_path / "w.pth"
    assert {p.name for p in tmp_path.iterdir()} == {"w.pth", "w.pth.json", "w.pth.books.npz"}
    assert fake.calls[-2:] == [("list", "o/n", "v1"), ("network", "o/n", "v1")]


def test_pretrained_repository(hub, tmp_path):
    hub(online={"model.safetensors", "pytorch_model.bin", "config.json", "books.npz", "README.md"})
    assert fetch_weights("o/n") == tmp_path / "model.safetensors"
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors", "config.json", "books.npz"}


def test_repository_of_several_files_and_their_index(hub, tmp_path):
    parts = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    hub(online={*parts, "model.safetensors.index.json", "README.md"})
    assert fetch_weights("o/n") == tmp_path / "model.safetensors.index.json"
    assert {p.name for p in tmp_path.iterdir()} == {*parts, "model.safetensors.index.json"}


@pytest.mark.parametrize("name", ["last.ckpt", "W.PTH", "best.pth.tar"])
def test_other_names_of_weights(hub, tmp_path, name):
    hub(online={name, "README.md"})
    assert fetch_weights("o/n") == tmp_path / name


def test_cache_without_the_wanted_file_asks_the_network(hub, tmp_path):
    fake = hub(cached={"README.md"}, online={"w.pth"})
    assert fetch_weights("o/n/w.pth") == tmp_path / "w.pth"
    assert [kind for kind, *_ in fake.calls] == ["cache", "network"]


def test_optimiser_states_are_no_weights(hub, tmp_path):
    hub(cached={"optimizer.pt", "scheduler.pt", "w.pth"})
    assert fetch_weights("o/n") == tmp_path / "w.pth"


class ConnectError(Exception):
    """As the HTTP library under the client has it: no OSError."""

    __module__ = "httpx2"


_GONE = RepositoryNotFoundError.__new__(RepositoryNotFoundError)


@pytest.mark.parametrize(
    ("reference", "online", "message"),
    [
        ("o/n", {"a.pth", "b.pth", "c.txt"}, r"holds a.pth, b.pth; name one, o/n/a.pth$"),
        ("o/n@v2", {"a.pth", "b.pth"}, r"holds a.pth, b.pth; name one, o/n@v2/a.pth$"),
        ("o/n", {"README.md", "sub/w.pth"}, "no file with .pth, .pt, .bin, .safetensors; name one, owner/name/FILE$"),
        ("o/n/w.pth", {"README.md"}, "no w.pth on the hub or, without network, in the cache"),
        ("o/n", OfflineModeIsEnabled("offline"), "not in the local cache and no network; give a path$"),
        ("o/n", ConnectError("no name"), "not in the local cache and no network; give a path$"),
        ("o/n", _GONE, "not on the hub, or only after a login; give a path$"),
    ],
    ids=["several", "several of a revision", "none", "another", "offline", "no network", "no repository"],
)
def test_cannot_be_had(hub, reference, online, message):
    hub(online=online)
    with pytest.raises(InputError, match=f"^{reference}: .*{message}"):
        fetch_weights(reference)


def test_a_bug_is_not_called_a_network_error(hub):
    hub(online=ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        fetch_weights("o/n")


@pytest.mark.parametrize(
    "where", ["runs/a.pth", "./runs/a", "/runs/a", "~/a", "a.safetensors", "x/y/z w.pth", "runs/a.ckpt"]
)
def test_a_mistyped_path_is_not_looked_up(hub, where):
    fake = hub(cached={"w.pth"})
    with pytest.raises(InputError, match=f"^{where}: no such file or directory$"):
        locate(where)
    assert fake.calls == []


def test_neither_path_nor_id(hub):
    hub()
    with pytest.raises(InputError, match=r"^runs: neither a path nor the form of a hub id \(owner/name"):
        locate("runs")


def _cache(root: Path, repo: str, *, files: dict[str, bytes], revision: str, ref: str = "main") -> Path:
    """The client's layout of a cached repository."""
    folder = root / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / ref).write_text(revision)
    snapshot = folder / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for name, data in files.items():
        (snapshot / name).write_bytes(data)
    return snapshot


_OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was used")
socket.getaddrinfo = socket.socket.connect = refuse
from medslip_jax.cli import main as cli
for i, source in enumerate(sys.argv[2:]):
    print("code", cli.main(["convert", "--from", source, "--to", f"{sys.argv[1]}/{i}.safetensors"]))
"""


def test_real_cache_without_network(tmp_path):
    """The client itself, on a cache as it writes it: default branch, tag, commit, file; then what is not there."""
    out, cache = tmp_path / "out", tmp_path / "cache"
    out.mkdir()
    data = []
    for kind in ("classifier", "segmenter"):
        write_state(tmp_path / "x.safetensors", state_of(CONFIGS[kind], counts="unequal"))
        data.append((tmp_path / "x.safetensors").read_bytes())
    _cache(cache, "owner/one", files={"w.safetensors": data[0], "README.md": b"#"}, revision="a" * 40)
    _cache(cache, "owner/one", files={"w.safetensors": data[1]}, revision="b" * 40, ref="v1")
    _cache(cache, "owner/two", files={"w.safetensors": data[0], "v.safetensors": data[1]}, revision="c" * 40)
    sources = ["owner/one", "owner/one@v1", f"owner/one@{'a' * 40}", "owner/two/v.safetensors"]
    wrong = ["owner/two", "owner/three", "owner/two/u.pth"]
    run = subprocess.run(
        [sys.executable, "-c", _OFFLINE, str(out), *sources, *wrong],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [line for line in run.stdout.splitlines() if line.startswith("code")] == ["code 0"] * 4 + ["code 2"] * 3
    assert [(out / f"{i}.safetensors").read_bytes() for i in range(4)] == [data[0], data[1], data[0], data[1]]
    assert run.stderr.splitlines() == [
        *(f"note: {source}: w.safetensors as it lies in the local cache" for source in sources[:3]),
        "medslip: owner/two: holds v.safetensors, w.safetensors; name one, owner/two/v.safetensors",
        "medslip: owner/three: not in the local cache and no network; give a path",
        "medslip: owner/two/u.pth: no u.pth on the hub or, without network, in the cache; look at its files",
    ]
    assert '"hub": "owner/one@v1"' in (out / "1.safetensors.json").read_text()
