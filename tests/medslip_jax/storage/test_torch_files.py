"""State dicts on disk: what is read, what is refused, and how it is written."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from safetensors.numpy import load_file, save_file
from tiny_weights import CONFIGS, assert_same, files_below, state_of

from medslip_jax.errors import InputError
from medslip_jax.storage import tensor_files
from medslip_jax.storage.tensor_files import info_file, read_info, write_state
from medslip_jax.storage.tensor_reading import canonical, read_state

STATE = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.ones(2, np.float32),
    "b.num_batches_tracked": np.array(3, np.int64),
}


def _tensors(torch, state=STATE) -> dict:
    return {name: torch.from_numpy(np.require(array, requirements="CW")) for name, array in state.items()}


@pytest.mark.parametrize(
    "suffix", [".safetensors", *(pytest.param(s, marks=pytest.mark.torch) for s in (".pth", ".pt"))]
)
def test_what_is_written_is_read(tmp_path, suffix, request):
    if suffix != ".safetensors":
        request.getfixturevalue("torch")
    path = tmp_path / f"x{suffix}"
    write_state(path, STATE)
    content = read_state(path)
    assert content["left_out"] == []
    assert_same({name: content["state"][name] for name in STATE}, STATE)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.torch
def test_pth_as_released(torch, tmp_path):
    """{"model": state_dict}, names in order, and the same bytes under whatever name and at whatever time."""
    write_state(tmp_path / "x.pth", STATE)
    content = torch.load(tmp_path / "x.pth", weights_only=True)
    assert list(content) == ["model"] and list(content["model"]) == list(STATE)
    assert content["model"]["b.num_batches_tracked"].shape == ()
    write_state(tmp_path / "another_name.pth", STATE)
    assert (tmp_path / "x.pth").read_bytes() == (tmp_path / "another_name.pth").read_bytes()


def test_views_are_written_as_they_look(tmp_path):
    """Transposed and broadcast arrays are not what lies in memory."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_state(tmp_path / "x.safetensors", {"t": array.T, "b": np.broadcast_to(np.float32(2), (3,))})
    back = load_file(tmp_path / "x.safetensors")
    assert back["t"].tolist() == [[0, 3], [1, 4], [2, 5]] and back["b"].tolist() == [2, 2, 2]


def test_written_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "plain").touch()
    write_state(tmp_path / "x.safetensors", STATE)
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.torch
@pytest.mark.parametrize(
    ("wrap", "left_out"),
    [
        (lambda s: s, []),
        (lambda s: {"model": s}, []),
        (lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {0: {"step": 1}}}}, ["epoch", "optimizer"]),
        (lambda s: {"model_state_dict": s, "args": None}, ["args"]),
        (lambda s: {"model": "MeDSLIP", "state_dict": s}, ["model"]),
        (lambda s: {"module": s, "dp_world_size": 8}, ["dp_world_size"]),
        (lambda s: {"state_dict": {"model": s, "ema": None}, "epoch": 3}, ["epoch", "ema"]),
    ],
    ids=["bare", "model", "state_dict and optimiser", "model_state_dict", "model is a name", "DeepSpeed", "nested"],
)
def test_where_the_state_dict_lies(torch, tmp_path, wrap, left_out):
    torch.save(wrap(_tensors(torch)), tmp_path / "x.pth")
    content = read_state(tmp_path / "x.pth")
    assert content["left_out"] == left_out
    assert_same(content["state"], STATE)


@pytest.mark.torch
def test_parameters_and_the_old_format(torch, tmp_path):
    """A module's state_dict without detach, saved before PyTorch 1.6 made archives."""
    state = {"a": torch.nn.Parameter(torch.ones(2)), "b": torch.arange(6.0).reshape(2, 3).T}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert read_state(tmp_path / "x.pth")["state"]["b"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_floats_become_float32(torch, tmp_path, dtype, suffix):
    """1 + 2^-7 and 3 are exact in all of them; counters stay integers."""
    from safetensors.torch import save_file as save_torch

    tensors = {"w": torch.tensor([1 + 2**-7, 3.0], dtype=getattr(torch, dtype)), "n": torch.tensor(5)}
    save = torch.save if suffix == ".pth" else save_torch
    save(tensors, tmp_path / f"x{suffix}")
    want = {"w": np.array([1 + 2**-7, 3], np.float32), "n": np.array(5, np.int64)}
    assert_same(read_state(tmp_path / f"x{suffix}")["state"], want)


def test_bfloat16_without_torch(tmp_path):
    import ml_dtypes

    save_file({"w": np.array([1 + 2**-7, 3], ml_dtypes.bfloat16)}, tmp_path / "x.safetensors")
    assert_same(read_state(tmp_path / "x.safetensors")["state"], {"w": np.array([1 + 2**-7, 3], np.float32)})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.model."])
def test_what_wrappers_add_to_names(prefix):
    plain = {"decoder_anatomy.layers.0.linear1.bias": 1, "pathology_embedding_layer.weight": 2}
    assert canonical({f"{prefix}{name}": value for name, value in plain.items()}) == plain
    inner = {"decoder_anatomy._orig_mod.layers.0.linear1.bias": 1, f"{prefix}disease_embedding_layer.weight": 2}
    assert canonical(inner) == plain


def test_canonical_names():
    state = {"module.disease_embedding_layer.weight": 1, "module.res_features.0.weight": 2, "cl_fc_anatomy.bias": 3}
    assert canonical(state) == {
        "pathology_embedding_layer.weight": 1,
        "res_features.0.weight": 2,
        "cl_fc_anatomy.bias": 3,
    }
    for twin in ("res_features.0.weight", "disease_embedding_layer.weight"):
        with pytest.raises(InputError, match="there twice"):
            canonical({**state, twin: 4})


class Bomb:
    """Unpickled by `pickle.load`, this creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.torch
@pytest.mark.parametrize("save", ["torch", "torch inside", "pickle 2", "pickle 4"])
def test_code_in_a_pickle_is_not_run(torch, tmp_path, save, recwarn):
    path, fuse = tmp_path / "x.pth", tmp_path / "ran"
    if save.startswith("pickle"):
        path.write_bytes(pickle.dumps(Bomb(fuse), protocol=int(save[-1])))
    else:
        torch.save({"model": _tensors(torch), "args": Bomb(fuse)} if save == "torch inside" else Bomb(fuse), path)
    message = r"holds Python objects \(.*\), which could run code when loaded"
    if save == "pickle 4":
        message = r"not a readable checkpoint, truncated or of another format \(Unsupported operand 149\)$"
    with pytest.raises(InputError, match=rf"x\.pth: {message}"):
        read_state(path)
    assert not fuse.exists() and not recwarn.list
    pickle.loads(path.read_bytes()) if save.startswith("pickle") else torch.load(path, weights_only=False)
    assert fuse.exists(), "the file would have run its code"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda torch: torch.nn.Linear(2, 2), r"holds Python objects \(torch.nn.modules.linear.Linear\)"),
        (lambda torch: [torch.ones(2)], "holds a list; expected a state_dict"),
        (lambda torch: {}, "holds no tensor"),
        (lambda torch: {"model": {}}, "holds no tensor"),
        (lambda torch: {"a": torch.ones(2), "epoch": 3}, r"entries that are no tensors: epoch \(int\)"),
        (lambda torch: {"a": torch.eye(3).to_sparse()}, "not a readable checkpoint"),
    ],
    ids=["module", "list", "empty", "empty model", "bare with epoch", "sparse"],
)
def test_content_that_is_no_state_dict(torch, tmp_path, content, message):
    torch.save(content(torch), tmp_path / "x.pth")
    with pytest.raises(InputError, match=f"x.pth: .*{message}") as caught:
        read_state(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def _npz(path: Path) -> bytes:
    np.savez(path, a=np.ones(3))
    data = path.with_name(f"{path.name}.npz").read_bytes()
    path.with_name(f"{path.name}.npz").unlink()
    return data


JUNK = {
    "empty": lambda path: b"",
    "text": lambda path: b"epoch,loss\n1,0.3\n",
    "jpeg": lambda path: bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb") + bytes(200),
    "npz": _npz,
    "zeros": lambda path: bytes(1000),
    "zip of the future": lambda path: _npz(path).replace(b"PK\x01\x02\x2d\x03\x2d", b"PK\x01\x02\x2d\x03\xff"),
}


@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".pth", marks=pytest.mark.torch)])
@pytest.mark.parametrize("junk", JUNK)
def test_other_files_under_a_checkpoints_name(tmp_path, suffix, junk, request):
    if suffix == ".pth":
        request.getfixturevalue("torch")
    path = tmp_path / f"x{suffix}"
    path.write_bytes(JUNK[junk](tmp_path / "junk"))
    with pytest.raises(
        InputError, match=rf"x\{suffix}: not a readable checkpoint, truncated or of another format \("
    ) as e:
        read_state(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".pth", marks=pytest.mark.torch)])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_truncated(tmp_path, suffix, part, request):
    if suffix == ".pth":
        request.getfixturevalue("torch")
    path = tmp_path / f"x{suffix}"
    write_state(path, state_of(CONFIGS["classifier"]))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match="not a readable checkpoint, truncated"):
        read_state(path)


def test_missing(tmp_path):
    with pytest.raises(InputError, match=r"x.pth: no such file"):
        read_state(tmp_path / "x.pth")


def test_without_torch(tmp_path, monkeypatch):
    """.safetensors in and out as ever; .pth says what to install, and leaves nothing behind."""
    monkeypatch.setitem(sys.modules, "torch", None)
    write_state(tmp_path / "x.safetensors", STATE)
    before = files_below(tmp_path)
    with pytest.raises(InputError, match=r"/x\.pth: needs PyTorch; `pip install .*\[torch\]`, or use .safetensors"):
        write_state(tmp_path / "x.pth", STATE)
    assert files_below(tmp_path) == before
    (tmp_path / "y.pth").write_bytes(pickle.dumps({}, protocol=2))
    with pytest.raises(InputError, match="needs PyTorch"):
        read_state(tmp_path / "y.pth")


# A limit on the size of files makes every library fail in the middle of writing, as a full disk does.
_FULL = """
import resource, sys
import numpy as np
from medslip_jax.errors import InputError
from medslip_jax.storage.tensor_files import write_state
sys.dont_write_bytecode = True  # Python does not notice that it wrote half a .pyc
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_state(sys.argv[1], {"a": np.ones(100_000, np.float32), "b": np.ones(100_000, np.float32)})
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".pth", marks=pytest.mark.torch)])
def test_disk_full_while_writing(tmp_path, suffix, request):
    if suffix == ".pth":
        request.getfixturevalue("torch")
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")
    argv = [sys.executable, "-c", _FULL, str(path)]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.startswith(f"{path}: cannot be written (") and "File too large" in run.stdout
    assert run.stdout.count("\n") == 1 and run.stderr == ""
    assert files_below(tmp_path) == {path.name: b"old"}


def test_side_files_of_a_pretrained_directory():
    assert info_file(Path("d/a.pth")) == Path("d/a.pth.json")
    assert info_file(Path("d/model.safetensors")) == Path("d/config.json")
    assert tensor_files.books_file(Path("d/a.pth")) == Path("d/a.pth.books.npz")
    assert tensor_files.books_file(Path("d/model.safetensors")) == Path("d/books.npz")


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', '{"books": "x"}', '{"experiment": [1]}', '{"model": "resnet"}'])
def test_description_that_is_none(tmp_path, text):
    (tmp_path / "a.pth.json").write_text(text)
    with pytest.raises(InputError, match=r"a.pth.json: .* remove it$"):
        read_info(tmp_path / "a.pth")


def test_no_description(tmp_path):
    assert read_info(tmp_path / "a.pth") == {}
