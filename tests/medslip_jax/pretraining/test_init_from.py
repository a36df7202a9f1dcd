"""Runs that start from trained weights (`--config.init_from`): their first state, their loss, how they go on."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT
from trainers import tables_of, trainer_of
from warm_processes import together

from medslip_jax import experiment
from medslip_jax.checkpoints import find_latest, read_config
from medslip_jax.errors import InputError
from medslip_jax.models import MeDSLIP
from medslip_jax.parallel.sharding import make_mesh
from medslip_jax.pretraining import pretrain
from medslip_jax.pretraining.start import initial_from
from medslip_jax.step.train_step import eval_variables, jit_init, with_variables
from medslip_jax.text.books import TextBooks, load_books, save_books
from medslip_jax.training import loop
from medslip_jax.weights.saving import save_weights
from medslip_jax.weights.torch.conversion import flatten

pytestmark = pytest.mark.slow

LAST = 30


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


def initial_of(config) -> dict:
    known = experiment.read(config)
    return initial_from(known.run, known.model, books=tables_of(config))


@pytest.fixture(scope="module")
def source(phantom_data, tmp_path_factory) -> dict:
    """A trained run in each form that init_from reads, and its last state."""
    folder = tmp_path_factory.mktemp("source")
    config = make_config(phantom_data)
    state = pretrain(config, workdir=folder / "run")
    pretrained = MeDSLIP.from_pretrained(folder / "run")
    save_weights(pretrained, folder / "weights.safetensors")
    pretrained.save_pretrained(folder / "pretrained", license="mit")
    trainer = trainer_of(config, num_images=24)
    return {"folder": folder, "state": jax.device_get(state), "trainer": trainer}


def test_the_run_comes_back_as_its_averages(source):
    pretrained = MeDSLIP.from_pretrained(source["folder"] / "run")
    want = eval_variables(source["state"])
    assert same(pretrained.variables, want)
    assert not same(want, {"params": source["state"].params, "batch_stats": source["state"].batch_stats})
    assert pretrained.info["num_batches_tracked"] == pretrained.info["source"]["step"] == LAST


@pytest.fixture(scope="module")
def empty(source):
    """The state of a run that starts from nothing."""
    return jit_init(source["trainer"], make_mesh(), image_size=32)()


def buffers(tree) -> list[int]:
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("form", ["run", "run/checkpoints", "weights.safetensors", "pretrained"])
def test_the_first_state_is_the_source(source, empty, phantom_data, form):
    initial = initial_of(make_config(phantom_data, init_from=str(source["folder"] / form)))
    state = with_variables(empty, initial)
    want = eval_variables(source["state"])
    assert same({"params": state.params, "batch_stats": state.batch_stats}, want)
    assert same(state.ema, want)
    # Optimiser and schedule start anew.
    assert int(state.step) == 0
    fresh = source["trainer"].optimizer.init(state.params)
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(state.opt_state), jax.device_get(fresh)))


def test_no_memory_is_shared(source, empty):
    """The step donates its state: parameters, averages and what the caller gave must not be one buffer."""
    given = jax.tree.map(jnp.asarray, eval_variables(source["state"]))
    state = with_variables(empty, given)
    pointers = buffers([state.params, state.batch_stats, state.ema, given])
    assert len(set(pointers)) == len(pointers)


@pytest.fixture(scope="module")
def continued(source, phantom_data, tmp_path_factory) -> dict:
    """A run of four steps from a copy of the source that is gone afterwards, and the same run in two parts."""
    folder = tmp_path_factory.mktemp("continued")
    copy = shutil.copytree(source["folder"] / "pretrained", folder / "copy")
    config = make_config(phantom_data, init_from=str(copy))
    whole = pretrain(config, workdir=folder / "whole", stop_after=4)
    pretrain(config, workdir=folder / "parts", stop_after=2)
    shutil.rmtree(copy)
    parts = pretrain(config, workdir=folder / "parts", stop_after=4)
    return {"folder": folder, "config": config, "whole": jax.device_get(whole), "parts": jax.device_get(parts)}


def test_loss_goes_on_from_the_trained_level(source, continued):
    """The same images in the same order, as the seed is the same."""
    first, again = losses(source["folder"] / "run"), losses(continued["folder"] / "whole")
    start, end = first[1], np.mean([first[LAST - i] for i in range(3)])
    assert end < start - 0.3
    for step in (1, 2, 3, 4):
        assert again[step] < (start + end) / 2, (step, start, end)


def test_a_resume_needs_no_source(continued, tmp_path):
    folder, config = continued["folder"], continued["config"]
    assert losses(folder / "parts") == losses(folder / "whole")
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, continued["parts"], continued["whole"])))
    assert read_config(find_latest(folder / "parts"))["init_from"] == config.init_from
    # A run that starts does need it.
    with pytest.raises(InputError, match="copy: no such file or directory"):
        pretrain(config, workdir=tmp_path)
    assert find_latest(tmp_path) is None


MISMATCH = {
    "width": ({"model__trunk_width": 4}, r"\(model\.trunk_width: 8 -> 4\): .* shape mismatch \(params/"),
    "embed_dim": ({"model__embed_dim": 32}, r"\(model\.embed_dim: 16 -> 32\): .* shape mismatch \(params/"),
    "backbone": (
        {"model__backbone": "resnet50"},
        r"\(model\.backbone: 'resnet18' -> 'resnet50'\): .* missing \(params/",
    ),
    "streams": ({"model__streams": "pathology"}, r"\(model\.streams: 'dual' -> 'pathology'\): .* unexpected \(params/"),
    "layers": ({"model__decoder_layers": 2}, r"\(model\.decoder_layers: 1 -> 2\): .* missing \(params/decoder_"),
    # What names and shapes do not show is another model all the same.
    "heads": ({"model__decoder_heads": 2}, r"another model \(model\.decoder_heads: 4 -> 2\)$"),
    "mask": ({"model__mask_activation": "none"}, r"another model \(model\.mask_activation: 'sigmoid' -> 'none'\)$"),
}


@pytest.mark.parametrize("case", MISMATCH)
def test_another_architecture_is_one_line(source, phantom_data, case):
    changes, message = MISMATCH[case]
    for form in ("run", "pretrained"):
        where = str(source["folder"] / form)
        config = make_config(phantom_data, init_from=where, **changes)
        with pytest.raises(InputError, match=message) as error:
            initial_of(config)
        text = str(error.value)
        assert text.startswith(f"--config.init_from={where}: another model (model.")
        assert "\n" not in text and len(text) < 700


def test_options_of_training_alone_may_change(source, phantom_data):
    changes = {"model__dropout": 0.5, "model__dtype": "bfloat16", "model__linear_init": "released"}
    config = make_config(phantom_data, init_from=str(source["folder"] / "pretrained"), **changes)
    assert same(initial_of(config), eval_variables(source["state"]))


def test_what_does_not_show_is_free_in_a_bare_state_dict(source, phantom_data, tmp_path):
    """Its number of heads was assumed, so the run's config knows better."""
    bare = shutil.copy(source["folder"] / "weights.safetensors", tmp_path / "bare.safetensors")
    config = make_config(phantom_data, init_from=str(bare), model__decoder_heads=2)
    assert same(initial_of(config), eval_variables(source["state"]))


def test_a_mask_may_be_left_out(source, phantom_data):
    where = str(source["folder"] / "pretrained")
    excuse = ("params/mask_generator/*",)
    config = make_config(phantom_data, init_from=where, init_excuse=excuse, model__mask_activation="off")
    want = flatten(eval_variables(source["state"])).keys()
    assert want - flatten(initial_of(config)).keys() == {
        "params/mask_generator/kernel",
        "params/mask_generator/bias",
    }


def test_another_kind_is_refused(phantom_data, tmp_path):
    from tiny_weights import CONFIGS, state_of

    from medslip_jax.storage.tensor_files import write_state

    write_state(tmp_path / "classifier.safetensors", state_of(CONFIGS["classifier"]))
    config = make_config(phantom_data, init_from=str(tmp_path / "classifier.safetensors"))
    with pytest.raises(InputError, match="holds a classifier, but a medslip is expected"):
        initial_of(config)


def test_other_text_tables_are_said(source, phantom_data, tmp_path, capsys):
    books = load_books()
    save_books(TextBooks(books.pathology[::-1].copy(), books.anatomy, {}), path=tmp_path / "books.npz")
    where = str(source["folder"] / "pretrained")
    initial_of(make_config(phantom_data, init_from=where))
    assert capsys.readouterr().out == ""
    initial_of(make_config(phantom_data, init_from=where, books__path=str(tmp_path / "books.npz")))
    assert "trained with other text tables" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_named(phantom_data, tmp_path):
    config = make_config(phantom_data, init_from=str(tmp_path / "gone"))
    with pytest.raises(InputError, match="gone: no such file or directory"):
        pretrain(config, workdir=tmp_path / "run")


def test_config_flag_sets_it(phantom_data, source, tmp_path):
    """As on the command line; the keys exist, so that a typo is refused."""
    argv = [f"--config={ROOT / 'configs' / 'phantom.py'}:tiny"]
    where = str(source["folder"] / "run")
    assert experiment.load_config([*argv, f"--config.init_from={where}"]).init_from == where
    assert experiment.load_config(argv).init_from == ""
    with pytest.raises(InputError, match="init_form"):
        experiment.load_config([*argv, f"--config.init_form={where}"])


def first_state(config: str, workdir: Path) -> dict:
    """One step of a run, and what its state was before."""
    seen = {}

    def watched(empty, initial):
        state = with_variables(empty, initial)
        got, want = flatten({"params": state.params, "batch_stats": state.batch_stats}), flatten(initial)
        seen["equal"] = all(np.array_equal(got[path], want[path]) for path in want)
        seen["split"] = sum(not leaf.sharding.is_fully_replicated for leaf in got.values())
        seen["placed"] = jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(lambda x: x.sharding, empty)
        return state

    loop.with_variables = watched
    after = pretrain(json.loads(config), workdir=workdir, stop_after=1)
    return seen | {"devices": len(jax.devices()), "step": int(after.step)}


def test_eight_devices_with_split_parameters(source, phantom_data, tmp_path):
    config = make_config(phantom_data, init_from=str(source["folder"] / "run"), mesh__fsdp=2)
    (got,) = together(first_state, [(config.to_json(), tmp_path / "run")], devices=8)
    split = got.pop("split")
    assert got == {"devices": 8, "equal": True, "placed": True, "step": 1}
    assert split > 20
    # The trained level again, as on one device.
    first, again = losses(source["folder"] / "run"), losses(tmp_path / "run")
    assert max(again.values()) < (first[1] + first[LAST]) / 2
