"""Real runs of seconds: exact resume, what is logged, and how a run refuses to go on."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from medslip_jax import experiment
from medslip_jax.checkpoints import find_checkpoint, read_config, read_variables
from medslip_jax.errors import InputError, Preempted
from medslip_jax.parallel.flops import program_flops
from medslip_jax.pretraining import pretrain
from medslip_jax.step.train_step import eval_variables
from medslip_jax.training import loop

TERMS = {"loss", "exist_pathology", "proto_pathology", "exist_anatomy", "proto_anatomy", "icl"}


def lines(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in lines(workdir) if "loss" in row}


@pytest.fixture(scope="module")
def new_config(new_tiny_run):
    def make():
        config = new_tiny_run()
        config.log_every, config.eval_every, config.save_every = 1, 0, 0
        config.data.augment.randaugment_ops = 2
        config.optim.ema_decay = 0.9
        config.model.dropout = 0.1
        return config

    return make


@pytest.fixture
def config(new_config):
    return new_config()


@pytest.fixture
def one_stream(config):
    """A model of one stream, for what does not depend on it: half the work."""
    config.model.streams = "pathology"
    return config


@pytest.fixture(scope="module")
def ended(new_config, tmp_path_factory):
    """A run at its end: its directory, which is everybody's, and its last state."""
    workdir = tmp_path_factory.mktemp("ended") / "whole"
    return workdir, pretrain(new_config(), workdir=workdir)


@pytest.fixture
def whole(ended, tmp_path):
    """A copy of that directory."""
    return shutil.copytree(ended[0], tmp_path / "whole")


def cpu():
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


@pytest.mark.portable
def test_stop_and_resume_is_the_uninterrupted_run(config, ended, tmp_path, capsys):
    workdir, state = ended
    # 24 images in batches of 8: step 4 is in the second epoch, so shuffling has to resume too.
    pretrain(config, workdir=tmp_path / "parts", stop_after=4)
    assert set(losses(tmp_path / "parts")) == {1, 2, 3, 4}
    assert "newest checkpoint" not in capsys.readouterr().out
    resumed = pretrain(config, workdir=tmp_path / "parts")
    assert f"newest checkpoint: {tmp_path / 'parts' / 'checkpoints' / '4'}\n" in capsys.readouterr().out
    assert losses(tmp_path / "parts") == losses(workdir)
    same = jax.tree.map(np.array_equal, jax.device_get(resumed), jax.device_get(state))
    assert all(jax.tree.leaves(same))


def test_another_optimiser_resumes_as_well(one_stream, tmp_path):
    one_stream.optim.optimizer = "muon"
    one_stream.num_steps = 3
    state = pretrain(one_stream, workdir=tmp_path / "whole")
    pretrain(one_stream, workdir=tmp_path / "parts", stop_after=2)
    resumed = pretrain(one_stream, workdir=tmp_path / "parts")
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, jax.device_get(resumed), jax.device_get(state))))


def test_log_has_every_term_and_the_validation(config, tmp_path, monkeypatch):
    counted: list[float] = []

    def count(compiled) -> float:
        counted.append(program_flops(compiled))
        return counted[-1]

    monkeypatch.setattr(loop, "program_flops", count)
    monkeypatch.setattr(loop, "peak_flops", lambda kind: 1e9)
    config.eval_every = 3
    pretrain(config, workdir=tmp_path)
    rows = lines(tmp_path)
    trained = [row for row in rows if "loss" in row]
    assert [row["step"] for row in trained] == [1, 2, 3, 4, 5, 6]
    assert all(set(row) >= TERMS | {"learning_rate", "gradient_norm"} for row in trained)
    # The first step's time is compiling, and no rate.
    times = {"step_seconds", "data_seconds", "device_seconds", "host_seconds", "images_per_second_per_chip"}
    assert [set(row) >= times | {"images_per_second"} for row in trained] == [False, *[True] * 5]
    # Counted once, of a device whose peak is known.
    assert [row["mfu"] * row["step_seconds"] * 1e9 for row in trained[1:]] == pytest.approx(5 * counted)
    validated = [row for row in rows if "val_auroc" in row]
    assert [row["step"] for row in validated] == [3, 6]
    assert all(0 <= row["val_auroc"] <= 1 and row["val_classes"] > 0 for row in validated)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_checkpoint_holds_config_and_averaged_parameters(config, ended):
    workdir, state = ended
    directory = find_checkpoint(workdir)
    assert directory.name == "6"
    filled_in = [line.split(":")[0] for line in experiment.differences(config.to_dict(), read_config(directory))]
    assert sorted(filled_in) == ["books.sha256", "data.train_images"]
    got, want = read_variables(directory, sharding=cpu()), eval_variables(state)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, got, want)))
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, got["params"], state.params)))


def test_another_config_is_refused(config, whole):
    config.model.embed_dim = 32
    with pytest.raises(InputError, match=r"made with another config \(model\.embed_dim: 16 -> 32\)"):
        pretrain(config, workdir=whole)


def test_logging_may_change_between_parts(config, whole, capsys):
    config.log_every, config.eval_every, config.data.threads = 5, 2, 1
    again = pretrain(config, workdir=whole)
    assert int(again.step) == 6
    assert "/checkpoints/6; the run has ended\n" in capsys.readouterr().out


def test_nan_loss_names_step_and_term_and_saves_nothing(one_stream, tmp_path):
    one_stream.optim.learning_rate = 1e30
    one_stream.optim.warmup_steps = 1
    one_stream.save_every = 1
    with pytest.raises(InputError, match=r"step \d: the loss or its gradient is not finite \(.*nan.*\)"):
        pretrain(one_stream, workdir=tmp_path)
    kept = read_variables(find_checkpoint(tmp_path), sharding=cpu())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))


def test_finite_loss_with_a_bad_gradient_is_not_saved_either(config, tmp_path, monkeypatch):
    from medslip_jax.step import losses

    bad = losses.icl
    # sqrt has an infinite derivative at 0: the loss stays what it was, its gradient does not.
    monkeypatch.setattr(losses, "icl", lambda a, *rest, **kw: bad(a, *rest, **kw) + jax.numpy.sqrt(0 * a.sum()))
    config.save_every = 1
    with pytest.raises(InputError, match=r"step 1: .*gradient_norm=nan"):
        pretrain(config, workdir=tmp_path)
    with pytest.raises(InputError, match="holds no checkpoint"):
        find_checkpoint(tmp_path)


def test_windows_of_means_survive_a_stop(one_stream, tmp_path):
    one_stream.log_every = 4
    pretrain(one_stream, workdir=tmp_path / "one")
    pretrain(one_stream, workdir=tmp_path / "two", stop_after=3)
    pretrain(one_stream, workdir=tmp_path / "two")
    assert list(losses(tmp_path / "one")) == [4, 6]
    assert losses(tmp_path / "two") == losses(tmp_path / "one")


def test_changed_text_tables_are_refused(one_stream, tmp_path):
    from medslip_jax.text.books import TextBooks, load_books, save_books

    books = load_books()
    one_stream.books.path = str(tmp_path / "books.npz")
    save_books(books, path=one_stream.books.path)
    pretrain(one_stream, workdir=tmp_path / "other", stop_after=1)
    save_books(TextBooks(books.pathology + 1, books.anatomy, books.provenance), path=one_stream.books.path)
    with pytest.raises(InputError, match=r"books\.sha256"):
        pretrain(one_stream, workdir=tmp_path / "other")


def test_unwritable_workdir(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--workdir .*file/run: cannot be written"):
        pretrain(config, workdir=tmp_path / "file" / "run")


def test_corrupt_image_names_the_record(one_stream, tmp_path, monkeypatch):
    from data_pipelines.datasets import RecordSource

    read = RecordSource.__getitem__
    monkeypatch.setattr(RecordSource, "__getitem__", lambda self, i: read(self, i) | {"image": b"\xff\xd8\xff oops"})
    with pytest.raises(InputError, match="image_id=phantom-train-"):
        pretrain(one_stream, workdir=tmp_path)


def test_missing_data_names_the_command(config, tmp_path):
    config.data.dir = str(tmp_path / "nothing")
    with pytest.raises(InputError, match="medslip data build phantom --out"):
        pretrain(config, workdir=tmp_path)


@pytest.mark.parametrize("text", ["", "{"])
def test_damaged_checkpoint_config_is_named(whole, text):
    directory = find_checkpoint(whole)
    (directory / "config" / "metadata").write_text(text)
    with pytest.raises(InputError, match="cannot read the checkpoint's config"):
        read_config(directory)


def test_a_validation_that_was_interrupted_is_made_up(one_stream, tmp_path, monkeypatch):
    one_stream.eval_every = 3
    validated = []

    def make_validation(*_, **__):
        def validate(state, pulse):
            validated.append(int(state.step))
            if len(validated) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                pulse()
            return {"val_auroc": 0.5}

        return validate

    monkeypatch.setattr("medslip_jax.pretraining.run.make_validation", make_validation)
    with pytest.raises(Preempted, match="at step 3, saved") as stop:
        pretrain(one_stream, workdir=tmp_path)
    assert stop.value.step == 3 and find_checkpoint(tmp_path).name == "3"
    pretrain(one_stream, workdir=tmp_path)
    assert validated == [3, 3, 6]
    assert [row["step"] for row in lines(tmp_path) if "val_auroc" in row] == [3, 6]


def test_a_bucket_is_no_workdir(config):
    with pytest.raises(InputError, match="--workdir=gs://b/a: is a URL"):
        pretrain(config, workdir="gs://b/a")
