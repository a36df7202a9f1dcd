import numpy as np
import pytest

from data_pipelines import images
from data_pipelines.loading.augment import AugmentConfig, apply_operation, augment, flip, random_resized_crop
from data_pipelines.loading.loader import Loader
from data_pipelines.loading.targets import Targets, mask_to
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index, pathology_index

LEFT, RIGHT = anatomy_index("left_lung_unspec"), anatomy_index("right_lung_unspec")
MASS, EFFUSION = pathology_index("mass"), pathology_index("effusion")
BOX = np.array([0, 0, 1, 1], np.float32)


def mark(area: np.ndarray, *, pathology: int = -1, anatomy: int = -1) -> dict:
    png = images.encode_grey(np.where(area, 255, 0).astype(np.uint8), kind="png")
    return {"pathology": pathology, "anatomy": anatomy, "box": BOX, "mask": png}


def area(rows: slice, columns: slice, *, size: int = 32) -> np.ndarray:
    out = np.zeros((size, size), bool)
    out[rows, columns] = True
    return out


def record(number: int = 0, *, annotations=(), targets=None, **labels: int) -> dict:
    known = np.full(75, -1, np.int8)
    for name, value in labels.items():
        known[pathology_index(name)] = value
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)
    return {
        "image": images.encode_grey(pixels, kind="png"),
        "image_id": f"image-{number}",
        "patient_id": f"p{number}",
        "report": "",
        "matrix": np.full((51, 75), -1, np.int8),
        "labels": known,
        "annotations": list(annotations),
    } | ({"targets": targets} if targets else {})


def test_a_label_is_present_if_one_member_is_absent_if_one_is_and_unknown_otherwise():
    targets = Targets("labels", ("mass", "any=mass+effusion", "hernia"))
    assert targets.labels(record(mass=0, effusion=1)).tolist() == [0, 1, -1]
    assert targets.labels(record(mass=0)).tolist() == [0, 0, -1]
    assert targets.known(record(mass=0)) and not targets.known(record(edema=1))


def test_a_target_of_the_data_set_is_read_from_its_targets():
    assert Targets("labels", ("covid19",)).labels(record(targets={"covid19": 1})).tolist() == [1]
    with pytest.raises(InputError, match=r"image-0: no class or target 'covid'; the data set has covid19"):
        Targets("labels", ("covid",)).labels(record(targets={"covid19": 1}))


def test_masks_are_the_union_of_the_members_and_no_finding_of_that_place():
    left, right = area(slice(0, 8), slice(16, 32)), area(slice(0, 8), slice(0, 16))
    marks = [mark(left, anatomy=LEFT), mark(right, anatomy=RIGHT), mark(~left, pathology=MASS, anatomy=LEFT)]
    masks = Targets("masks", ("lungs=left_lung_unspec+right_lung_unspec", "mass")).masks(record(annotations=marks))
    assert np.array_equal(masks[0] == 255, left | right)
    assert np.array_equal(masks[1] == 255, ~left)


def test_a_finding_without_outline_is_not_known_and_an_absent_one_is_an_empty_mask():
    targets = Targets("masks", ("mass",))
    outlined = record(mass=1, annotations=[mark(area(slice(0, 4), slice(0, 4)), pathology=MASS)])
    assert targets.known(outlined) and targets.known(record(mass=0))
    assert not targets.known(record(mass=1)) and not targets.known(record())
    assert not targets.masks(record(mass=0)).any()
    both = Targets("masks", ("either=mass+effusion",))
    assert not both.known(outlined | {"labels": record(mass=1, effusion=1)["labels"]})
    assert not Targets("masks", ("left_lung_unspec",)).known(record(mass=0))


@pytest.mark.parametrize(
    ("kind", "specs", "message"),
    [
        ("labels", (), "give at least one"),
        ("labels", ("mass", "mass=edema"), "a name of its own"),
        ("labels", ("left_lung_unspec",), "is an anatomy"),
        ("masks", ("lung",), "'lung' is neither a pathology nor an anatomy"),
    ],
)
def test_targets_that_cannot_be(kind, specs, message):
    with pytest.raises(InputError, match=message):
        Targets(kind, specs)


def test_the_mirror_image_of_one_side_is_the_other():
    assert Targets("masks", ("left_lung_unspec", "right_lung_unspec", "mass")).mirrored() == (1, 0, 2)
    assert Targets("masks", ("lungs=left_lung_unspec+right_lung_unspec",)).mirrored() == (0,)
    assert Targets("masks", ("left_lung_unspec",)).mirrored() is None


def test_a_scaled_mask_keeps_half_covered_pixels():
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = mask[0, 2] = 255  # of the top right 2 x 2 pixels one is covered
    assert (mask_to(mask, height=2, width=2) == 255).tolist() == [[True, False], [True, False]]
    assert mask_to(mask, height=4, width=4) is mask


def _sample(size: int = 64) -> dict:
    """A bright rectangle that is its own mask, and another target in the other half."""
    inside = area(slice(8, 28), slice(6, 30), size=size)
    other = area(slice(40, 60), slice(36, 60), size=size)
    image = np.where(inside, 255, 0).astype(np.uint8)
    return {"image": image, "masks": np.where(np.stack([inside, other]), 255, 0).astype(np.uint8), "mirrored": (1, 0)}


def _agree(sample: dict, row: int = 0) -> float:
    """Dice of the bright pixels and the mask."""
    said, true = sample["image"] > 127, sample["masks"][row] > 127
    return 2 * (said & true).sum() / (said.sum() + true.sum())


@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y", "rotate", "auto_contrast"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_masks_move_with_the_image(name, sign):
    moved = apply_operation(_sample(), name, magnitude=7, sign=sign)
    assert set(np.unique(moved["masks"])) <= {0, 255}
    assert _agree(moved) > 0.97


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_cropped_with_the_image(seed):
    cropped = random_resized_crop(_sample(), rng=np.random.default_rng(seed), size=48)
    assert cropped["masks"].shape == (2, 48, 48)
    assert not (cropped["image"] > 127).any() or _agree(cropped) > 0.95


def test_a_flip_that_exchanges_sides_exchanges_the_masks_of_sides():
    swapped, mirrored = flip(_sample()), flip(_sample(), mode="as_released")
    assert _agree(swapped, row=1) == _agree(mirrored, row=0) == 1.0


def test_a_loader_with_targets_gives_their_truth():
    left = area(slice(0, 16), slice(16, 32))
    source = [record(i, mass=i % 2, annotations=[mark(left, anatomy=LEFT)]) for i in range(5)]
    options = {"batch_size": 4, "image_size": 16}
    batch = next(Loader(source, train=False, targets=Targets("labels", ("mass",)), **options))
    assert set(batch) == {"image", "labels", "index", "valid"} and batch["labels"][:, 0].tolist() == [0, 1, 0, 1]
    masks = Targets("masks", ("left_lung_unspec",))
    batches = list(Loader(source, train=False, targets=masks, **options))
    assert batches[0]["masks"].shape == (4, 16, 16, 1) and batches[0]["masks"].dtype == np.uint8
    assert np.array_equal(batches[0]["masks"][0, ..., 0], area(slice(0, 8), slice(8, 16), size=16))
    assert batches[1]["valid"].tolist() == [True, False, False, False] and not batches[1]["masks"][1:].any()
    config = AugmentConfig(flip="none")
    training = next(Loader(source, train=True, targets=masks, augment=config, seed=3, **options))
    assert set(training) == {"image", "masks"} and set(np.unique(training["masks"])) <= {0, 1}


def test_augment_leaves_masks_of_the_batch_size():
    sample = augment(_sample(), rng=np.random.default_rng(0), size=32, config=AugmentConfig())
    assert sample["image"].shape == (32, 32) and sample["masks"].shape == (2, 32, 32)
