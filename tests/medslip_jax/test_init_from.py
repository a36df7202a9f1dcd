"""Runs that start from trained weights (`--config.init_from`): their first state, their loss, how they go on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from quick_compile import quick_compile

from medslip_jax import experiment, pretrain
from medslip_jax.checkpoint import find_latest, read_config
from medslip_jax.errors import InputError
from medslip_jax.models import MeDSLIP
from medslip_jax.publish import save_weights
from medslip_jax.sharding import make_mesh
from medslip_jax.testing import tiny_config
from medslip_jax.text_books import TextBooks, load_books, save_books
from medslip_jax.torch_checkpoint import flatten
from medslip_jax.train_step import eval_variables, jit_init, jit_train_step, with_variables

ROOT = Path(__file__).parents[2]
LAST = 30


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_compile():
        yield


def make_config(data: Path, **changes):
    """Learns within `LAST` steps to lose less; `changes` are keys with dots for "__"."""
    config = experiment.load_config([f"--config={ROOT / 'configs' / 'phantom.py'}:tiny"])
    config.data.dir, config.data.image_size = str(data), 32
    config.model.trunk_width, config.model.embed_dim, config.model.decoder_ffn_dim = 8, 16, 32
    config.model.decoder_layers = 1
    config.optim.learning_rate, config.optim.warmup_steps, config.optim.ema_decay = 3e-3, 5, 0.5
    config.num_steps, config.log_every, config.eval_every, config.save_every = LAST, 1, 0, 0
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


def losses(workdir: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def same(a, b) -> bool:
    a, b = flatten(jax.device_get(a)), flatten(jax.device_get(b))
    return a.keys() == b.keys() and all(np.array_equal(a[path], b[path]) for path in a)


@pytest.fixture(scope="module")
def source(phantom_data, tmp_path_factory) -> dict:
    """A trained run in each form that init_from reads, and its last state."""
    folder = tmp_path_factory.mktemp("source")
    state = pretrain.pretrain(make_config(phantom_data), workdir=folder / "run")
    pretrained = MeDSLIP.from_pretrained(folder / "run")
    save_weights(pretrained, folder / "weights.safetensors")
    pretrained.save_pretrained(folder / "pretrained", license="mit")
    return {"folder": folder, "state": jax.device_get(state)}


def test_the_run_comes_back_as_its_averages(source):
    pretrained = MeDSLIP.from_pretrained(source["folder"] / "run")
    want = eval_variables(source["state"])
    assert same(pretrained.variables, want)
    assert not same(want, {"params": source["state"].params, "batch_stats": source["state"].batch_stats})
    assert pretrained.info["num_batches_tracked"] == pretrained.info["source"]["step"] == LAST


@pytest.mark.parametrize("form", ["run", "run/checkpoints", "weights.safetensors", "pretrained"])
def test_the_first_state_is_the_source(source, phantom_data, form):
    config = make_config(phantom_data, init_from=str(source["folder"] / form))
    trainer = pretrain.make_trainer(config, num_images=24)
    initial = pretrain.initial_from(config)
    state = with_variables(jit_init(trainer, make_mesh(), image_size=32)(), initial)
    want = eval_variables(source["state"])
    assert same({"params": state.params, "batch_stats": state.batch_stats}, want)
    assert same(state.ema, want)
    # Optimiser and schedule start anew.
    assert int(state.step) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))


def test_arrays_of_the_caller_survive_the_step(source, phantom_data):
    """The step donates its state: parameters, averages and what the caller gave must not share memory."""
    from medslip_jax.sharding import put_batch
    from medslip_jax.testing import synthetic_batch

    trainer = pretrain.make_trainer(make_config(phantom_data), num_images=24)
    mesh = make_mesh()
    given = jax.tree.map(jax.numpy.asarray, eval_variables(source["state"]))
    before = jax.tree.map(np.array, given)
    state = with_variables(jit_init(trainer, mesh, image_size=32)(), given)
    state, _ = jit_train_step(trainer, mesh, state)(state, put_batch(mesh, synthetic_batch(8, image_size=32)))
    assert int(state.step) == 1
    assert same(given, before)
    assert not same(state.ema, before)


def test_loss_goes_on_from_the_trained_level(source, phantom_data, tmp_path):
    first = losses(source["folder"] / "run")
    # The same images in the same order, as the seed is the same.
    config = make_config(phantom_data, init_from=str(source["folder"] / "pretrained"))
    pretrain.pretrain(config, workdir=tmp_path, stop_after=3)
    again = losses(tmp_path)
    start, end = first[1], np.mean([first[LAST - i] for i in range(3)])
    assert end < start - 0.3
    for step in (1, 2, 3):
        assert again[step] < (start + end) / 2, (step, start, end)


def test_a_resume_needs_no_source(source, phantom_data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(source["folder"] / "pretrained", copy)
    config = make_config(phantom_data, init_from=str(copy))
    whole = pretrain.pretrain(config, workdir=tmp_path / "whole", stop_after=4)
    pretrain.pretrain(config, workdir=tmp_path / "parts", stop_after=2)
    shutil.rmtree(copy)
    parts = pretrain.pretrain(config, workdir=tmp_path / "parts", stop_after=4)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, jax.device_get(parts), jax.device_get(whole))))
    assert read_config(find_latest(tmp_path / "parts")).init_from == str(copy)
    # A run that starts does need it.
    with pytest.raises(InputError, match="copy: no such file or directory"):
        pretrain.pretrain(config, workdir=tmp_path / "new")
    assert find_latest(tmp_path / "new") is None


MISMATCH = {
    "width": ({"model__trunk_width": 4}, r"params/trunk/\S+ \(.*8"),
    "embed_dim": ({"model__embed_dim": 32}, r"\(16.*expected.*32"),
    "backbone": ({"model__backbone": "resnet50"}, r"missing \(params/trunk/"),
    "streams": ({"model__streams": "pathology"}, r"unexpected \(params/\S*anatomy|unexpected \(params/decoder_anatomy"),
    "layers": ({"model__decoder_layers": 2}, r"missing \(params/decoder_\w+/layer_1/"),
    # What names and shapes do not show is another model all the same.
    "heads": ({"model__decoder_heads": 2}, r"model\.decoder_heads: 4 -> 2"),
    "mask": ({"model__mask_activation": "sigmoid"}, r"model\.mask_activation: 'none' -> 'sigmoid'"),
}


@pytest.mark.parametrize("case", MISMATCH)
@pytest.mark.parametrize("form", ["run", "pretrained"])
def test_another_architecture_is_one_line(source, phantom_data, case, form):
    changes, message = MISMATCH[case]
    where = str(source["folder"] / form)
    config = make_config(phantom_data, init_from=where, **changes)
    with pytest.raises(InputError, match=message) as error:
        pretrain.initial_from(config)
    text = str(error.value)
    assert text.startswith(f"--config.init_from={where}: ")
    assert "\n" not in text and len(text) < 700


def test_what_does_not_show_is_free_in_a_bare_state_dict(source, phantom_data, tmp_path):
    """Its number of heads was assumed, so the run's config knows better."""
    bare = shutil.copy(source["folder"] / "weights.safetensors", tmp_path / "bare.safetensors")
    config = make_config(phantom_data, init_from=str(bare), model__decoder_heads=2)
    assert same(pretrain.initial_from(config), eval_variables(source["state"]))


def test_excused_parts_start_anew(source, phantom_data):
    where = str(source["folder"] / "pretrained")
    excuse = ("params/decoder_*/layer_*",)
    config = make_config(phantom_data, init_from=where, init_excuse=excuse, model__decoder_layers=2, seed=3)
    got, want = flatten(pretrain.initial_from(config)), flatten(eval_variables(source["state"]))
    fresh = {path for path in got if path not in want}
    assert {"/".join(path.split("/")[:3]) for path in fresh} == {
        f"params/decoder_{stream}/layer_1" for stream in ("pathology", "anatomy")
    }
    assert all(np.array_equal(got[path], want[path]) for path in want)


def test_another_kind_is_refused(phantom_data, tmp_path):
    from tiny_weights import CONFIGS, state_of

    from medslip_jax.torch_files import write_state

    write_state(tmp_path / "classifier.safetensors", state_of(CONFIGS["classifier"]))
    config = make_config(phantom_data, init_from=str(tmp_path / "classifier.safetensors"))
    with pytest.raises(InputError, match="holds a classifier, but a medslip is expected"):
        pretrain.initial_from(config)


def test_other_text_tables_are_said(source, phantom_data, tmp_path, capsys):
    books = load_books()
    save_books(TextBooks(books.pathology[::-1].copy(), books.anatomy, {}), path=tmp_path / "books.npz")
    where = str(source["folder"] / "pretrained")
    pretrain.initial_from(make_config(phantom_data, init_from=where))
    assert capsys.readouterr().out == ""
    pretrain.initial_from(make_config(phantom_data, init_from=where, books__path=str(tmp_path / "books.npz")))
    assert "trained with other text tables" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_named(phantom_data, tmp_path):
    config = make_config(phantom_data, init_from=str(tmp_path / "gone"))
    with pytest.raises(InputError, match="gone: no such file or directory"):
        pretrain.pretrain(config, workdir=tmp_path / "run")


def test_config_flag_sets_it(phantom_data, source, tmp_path):
    """As on the command line; the keys exist, so that a typo is refused."""
    argv = [f"--config={ROOT / 'configs' / 'phantom.py'}:tiny"]
    where = str(source["folder"] / "run")
    assert experiment.load_config([*argv, f"--config.init_from={where}"]).init_from == where
    assert experiment.load_config(argv).init_from == ""
    with pytest.raises(InputError, match="init_form"):
        experiment.load_config([*argv, f"--config.init_form={where}"])


EIGHT_DEVICES = """
import json, sys
import jax
import numpy as np
from medslip_jax import experiment, pretrain, sharding
from medslip_jax.torch_checkpoint import flatten
from medslip_jax.train_step import jit_init, with_variables

config = experiment.from_json(sys.stdin.read())
mesh = sharding.make_mesh(fsdp=config.mesh.fsdp)
initial = pretrain.initial_from(config)
empty = jit_init(pretrain.make_trainer(config, num_images=24), mesh, image_size=config.data.image_size)()
state = with_variables(empty, initial)
got = flatten({"params": state.params, "batch_stats": state.batch_stats})
want = flatten(initial)
checks = {
    "devices": mesh.size,
    "equal": all(np.array_equal(got[path], want[path]) for path in want),
    "split": sum(not leaf.sharding.is_fully_replicated for leaf in got.values()),
    "placed": jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(lambda x: x.sharding, empty),
}
after = pretrain.pretrain(config, workdir=sys.argv[1], stop_after=2)
print(json.dumps(checks | {"step": int(after.step)}))
"""


@pytest.mark.slow
def test_eight_devices_with_split_parameters(source, phantom_data, tmp_path):
    config = make_config(phantom_data, init_from=str(source["folder"] / "run"), mesh__fsdp=2)
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    run = subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES, str(tmp_path / "run")],
        input=experiment.to_json(config),
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    got = json.loads(run.stdout.splitlines()[-1])
    split = got.pop("split")
    assert got == {"devices": 8, "equal": True, "placed": True, "step": 2}
    assert split > 20
    # The trained level again, as on one device.
    first, again = losses(source["folder"] / "run"), losses(tmp_path / "run")
    assert max(again.values()) < (first[1] + first[LAST]) / 2


def test_heads_of_a_tiny_model_differ():
    """What the check of invisible options is for: the same tensors, another function."""
    from tiny_weights import state_of

    from medslip_jax.testing import tiny_books
    from medslip_jax.torch_checkpoint import from_torch

    variables = from_torch(state_of(tiny_config()), tiny_config())
    image, books = np.ones((1, 32, 32, 3), np.float32), tiny_books()
    outs = [
        jax.jit(MeDSLIP(config).apply)(variables, image, books.pathology, books.anatomy)["pathology"]["logits"]
        for config in (tiny_config(), tiny_config(decoder_heads=4))
    ]
    assert np.abs(outs[0] - outs[1]).max() > 1e-3
