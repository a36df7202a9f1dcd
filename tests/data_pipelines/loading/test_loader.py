import itertools
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines import images, records
from data_pipelines.loading.augment import AugmentConfig
from data_pipelines.loading.loader import Loader, Mixture
from medslip_jax.errors import InputError

pytestmark = pytest.mark.portable

SIZE = 24


def record(number: int) -> dict:
    """A record whose image has one grey value, its number, so that batches can be read by eye."""
    matrix, labels = np.full((51, 75), -1, np.int8), np.full(75, -1, np.int8)
    matrix[number % 51, 8], labels[number % 75] = 1, 1
    return {
        "image": images.encode_grey(np.full((32, 40), number, np.uint8), kind="png"),
        "image_id": f"image-{number}",
        "patient_id": f"p{number}",
        "report": "",
        "matrix": matrix,
        "labels": labels,
        "annotations": [],
    }


SOURCE = [record(number) for number in range(10)]


def textured(number: int) -> dict:
    image = np.random.default_rng(number).integers(0, 256, (32, 40), dtype=np.uint8)
    return record(number) | {"image": images.encode_grey(image)}


TEXTURED = [textured(number) for number in range(10)]


def training(source=TEXTURED, **changes) -> Loader:
    settings = {"batch_size": 4, "image_size": SIZE, "seed": 7, "train": True, "augment": AugmentConfig()}
    return Loader(source, **(settings | changes))


def take(loader: Loader, count: int) -> list[dict]:
    batches = list(itertools.islice(loader, count))
    loader.close()
    return batches


def assert_same(found: list[dict], wanted: list[dict]) -> None:
    assert len(found) == len(wanted) > 0
    for a, b in zip(found, wanted, strict=True):
        assert a.keys() == b.keys()
        for key in b:
            np.testing.assert_array_equal(a[key], b[key])


def test_training_batch_has_the_promised_arrays():
    (batch,) = take(training(), 1)
    assert set(batch) == {"image", "matrix"}
    assert batch["image"].shape == (4, SIZE, SIZE) and batch["image"].dtype == np.uint8
    assert batch["matrix"].shape == (4, 51, 75) and batch["matrix"].dtype == np.int8


def test_every_epoch_shows_each_record_once_in_another_order():
    batches = take(training(SOURCE, augment=None, batch_size=5), 6)
    numbers = np.concatenate([batch["image"][:, 0, 0] for batch in batches]).reshape(3, 10)
    for epoch in numbers:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in numbers}) == 3


def test_matrix_stays_with_its_image():
    for batch in take(training(SOURCE, augment=None), 3):
        np.testing.assert_array_equal(batch["matrix"][:, :, 8].argmax(1), batch["image"][:, 0, 0])


def test_augmentation_differs_from_epoch_to_epoch():
    one = take(training(TEXTURED[:1], batch_size=1), 2)
    assert (one[0]["image"] != one[1]["image"]).any()


def test_seed_decides():
    first, again, other = (take(training(seed=seed), 3) for seed in (1, 1, 2))
    assert_same(first, again)
    assert any((a["image"] != b["image"]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("train", [True, False])
def test_two_hosts_together_see_the_batches_of_one(train):
    def loader(**hosts):
        return training(train=train, **hosts)

    whole = take(loader(), 3)
    halves = [take(loader(host_index=host, host_count=2), 3) for host in (0, 1)]
    joined = [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*halves, strict=True)]
    assert_same(joined, whole)


@pytest.mark.parametrize("consumed", [0, 1, 6])
def test_resume_at_any_batch(consumed):
    whole = take(training(), 9)
    loader = training()
    for _ in range(consumed):
        next(loader)
    state = loader.get_state()
    loader.close()
    assert state == {"batch": consumed}
    resumed = training(threads=1)
    resumed.set_state(state)
    assert_same(take(resumed, 9 - consumed), whole[consumed:])
    assert resumed.get_state() == {"batch": 9}


def test_resume_on_another_number_of_hosts():
    whole = take(training(), 5)
    loader = training(host_index=1, host_count=2)
    loader.set_state({"batch": 3})
    assert_same(take(loader, 2), [{key: value[2:] for key, value in batch.items()} for batch in whole[3:]])


def test_set_state_rewinds_a_running_loader():
    loader = training()
    first = take(loader, 3)
    loader.set_state({"batch": 0})
    assert_same(take(loader, 3), first)


@pytest.mark.parametrize("state", [{}, {"batch": -1}, {"batch": "3"}])
def test_foreign_state_is_refused(state):
    with pytest.raises(InputError, match="loader state"):
        training().set_state(state)


def test_workers_do_not_change_the_batches():
    wanted = take(training(), 5)
    loader = training(workers=2)
    assert_same(take(loader, 3), wanted[:3])
    assert_same(take(loader, 2), wanted[3:])


def test_evaluation_is_one_ordered_pass_with_marked_filling():
    loader = Loader(SOURCE, batch_size=4, image_size=SIZE, train=False)
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    np.testing.assert_array_equal(np.concatenate([b["index"] for b in batches]), [*range(10), -1, -1])
    np.testing.assert_array_equal(np.concatenate([b["valid"] for b in batches]), [True] * 10 + [False] * 2)
    np.testing.assert_array_equal(np.concatenate([b["image"][:, 0, 0] for b in batches]), [*range(10), 0, 0])
    np.testing.assert_array_equal(np.concatenate([b["labels"] for b in batches])[:10], [r["labels"] for r in SOURCE])
    assert (batches[2]["labels"][2:] == -1).all() and (batches[2]["matrix"][2:] == -1).all()
    dtypes = {key: value.dtype for key, value in batches[0].items()}
    assert dtypes == {
        "image": np.uint8,
        "matrix": np.int8,
        "labels": np.int8,
        "index": np.int64,
        "valid": np.bool_,
    }


def test_each_for_over_an_evaluation_loader_is_a_whole_pass():
    loader = Loader(SOURCE, batch_size=4, image_size=SIZE, train=False)
    for _ in loader:
        break
    assert len(list(loader)) == 3
    assert len(list(loader)) == 3


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("train", [True, False])
def test_corrupt_image_is_named(train, workers):
    broken = [*SOURCE[:3], SOURCE[3] | {"image": SOURCE[3]["image"][:-20]}]
    loader = training(broken, train=train, workers=workers)
    with pytest.raises(InputError, match="record image_id=image-3: image is corrupt or truncated"):
        take(loader, 1)
    loader.close()


@pytest.mark.parametrize("train", [True, False])
def test_matrix_of_wrong_shape_is_named(train):
    broken = [SOURCE[0] | {"matrix": np.zeros((51, 74), np.int8)}]
    with pytest.raises(InputError, match=r"record image_id=image-0: matrix has shape \(51, 74\), expected \(51, 75\)"):
        take(training(broken, batch_size=1, train=train), 1)


def test_labels_of_wrong_shape_are_named():
    with pytest.raises(InputError, match=r"record image_id=image-0: labels has shape \(3,\), expected \(75,\)"):
        list(training([SOURCE[0] | {"labels": np.zeros(3, np.int8)}], train=False))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 5, "host_count": 2}, "batch_size=5: expected a positive multiple of the 2"),
        ({"host_index": 2, "host_count": 2}, "host_index=2"),
        ({"source": []}, "the data source is empty"),
    ],
)
def test_arguments_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        training(**changes)


def test_exit_with_running_workers_is_quiet(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import numpy as np\n"
        "from data_pipelines import images\n"
        "from data_pipelines.loading.loader import Loader\n"
        "if __name__ == '__main__':\n"
        "    image = images.encode_grey(np.zeros((32, 32), np.uint8))\n"
        "    record = {'image': image, 'image_id': 'a', 'matrix': np.zeros((51, 75), np.int8)}\n"
        "    loader = Loader([record], batch_size=2, image_size=16, train=True, workers=2)\n"
        "    print(next(loader)['image'].shape)\n"
    )
    done = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "(2, 16, 16)\n" and "Traceback" not in done.stderr and "leaked" not in done.stderr


class _Marked:
    """Records whose matrix says which source and which row they come from."""

    def __init__(self, mark: int, count: int):
        self.mark, self.count = mark, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        matrix = np.full(records.MATRIX_SHAPE, -1, np.int8)
        matrix[self.mark, index] = 1
        image = images.encode_grey(np.full((40, 40), 10 * self.mark, np.uint8), kind="png")
        return {"image": image, "image_id": f"{self.mark}-{index}", "matrix": matrix}


def _origins(loader: Loader, batches: int) -> np.ndarray:
    """(n, 2): source and row of the first n examples."""
    matrices = np.concatenate([next(loader)["matrix"] for _ in range(batches)])
    return np.argwhere(matrices == 1)[:, 1:]


def test_mixture_keeps_its_weights_and_shows_every_record():
    mixture = Mixture((_Marked(1, 5), _Marked(2, 30)), (1.0, 3.0))
    assert len(mixture) == 35
    options = {"batch_size": 8, "image_size": 32, "train": True, "seed": 3}
    origins = _origins(Loader(mixture, **options), 15)
    assert np.bincount(origins[:, 0]).tolist() == [0, 30, 90]
    assert np.bincount(origins[origins[:, 0] == 1, 1]).tolist() == [6] * 5
    assert np.bincount(origins[origins[:, 0] == 2, 1]).tolist() == [3] * 30


def test_mixture_resumes_and_splits_by_host():
    mixture = Mixture((_Marked(1, 5), _Marked(2, 7)), (1.0, 1.0))
    options = {"batch_size": 4, "image_size": 32, "train": True, "seed": 3}
    whole = _origins(Loader(mixture, **options), 6)
    resumed = Loader(mixture, **options)
    resumed.set_state({"batch": 4})
    np.testing.assert_array_equal(_origins(resumed, 2), whole[16:])
    halves = [_origins(Loader(mixture, **options, host_index=i, host_count=2), 1) for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole[:4])


@pytest.mark.parametrize(
    ("sources", "weights", "message"),
    [
        ((), (), "0 sources"),
        ((_Marked(1, 2),), (1.0, 2.0), "1 sources and 2 weights"),
        ((_Marked(1, 2),), (0.0,), "above 0"),
        ((_Marked(1, 2),), (float("nan"),), "above 0"),
        ((_Marked(1, 0),), (1.0,), "empty"),
    ],
)
def test_mixture_that_cannot_be(sources, weights, message):
    with pytest.raises(InputError, match=message):
        Mixture(sources, weights)
