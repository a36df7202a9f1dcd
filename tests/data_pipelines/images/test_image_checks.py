import csv

import cv2
import numpy as np
import pytest

from data_pipelines import images, phantom
from data_pipelines.images.checks import chest_likeness, colour_share, suspicions
from data_pipelines.images.policy import ImagePolicy


@pytest.mark.parametrize("seed", range(12))
def test_phantom_and_its_negative(seed):
    image = phantom.draw(seed, size=128).image
    assert suspicions(image) == [] and suspicions(255 - image) == ["looks inverted"]
    assert suspicions(image, colour=0.5) == suspicions(255 - image, colour=0.5) == ["colour photograph"]
    assert suspicions(image, colour=0.05) == []  # a coloured label


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.zeros((90, 70)), "all black"),
        (np.full((90, 70), 250), "all white"),
        (np.full((90, 70), 128), "no contrast"),
        (np.tile(np.arange(20), (300, 5)), "all black"),
        (np.zeros((1, 1)), "all black"),
    ],
)
def test_empty_pictures(image, expected):
    assert suspicions(image.astype(np.uint8)) == [expected]


def test_a_small_label_does_not_hide_an_empty_picture():
    image = np.zeros((640, 640), np.uint8)
    image[:20, :60] = 255
    assert suspicions(image) == ["all black"] and suspicions(255 - image) == ["all white"]


def test_negative_mirrors_the_likeness():
    image = phantom.draw(3, size=128).image
    assert (
        chest_likeness(image) == pytest.approx(-chest_likeness(255 - image), abs=0.02) and chest_likeness(image) > 0.6
    )
    assert chest_likeness(np.full((9, 9), 7, np.uint8)) == 0


@pytest.mark.parametrize("rim", [0, 255])
def test_rim_of_a_film_is_left_out(rim):
    image = cv2.copyMakeBorder(phantom.draw(5, size=128).image, *[16] * 4, cv2.BORDER_CONSTANT, value=rim)
    assert suspicions(image) == [] and suspicions(255 - image) == ["looks inverted"]


def test_share_of_colour():
    image = np.full((128, 128, 3), 90, np.uint8)
    assert colour_share(image) == 0
    image[:32, :, 0] = 200
    assert colour_share(image) == 0.25
    assert colour_share(np.full((64, 64, 3), (250, 230, 220), np.uint8)) == 0  # the tint of a scanned film


@pytest.mark.real
def test_rates_on_real_xrays(cxr_sample):
    rows = list(csv.DictReader((cxr_sample / "labels.csv").open(encoding="utf-8")))
    held_out = [row for row in rows if row["split"] != "train"]  # the template is of "train"
    greys = [images.fit(images.read_grey(cxr_sample / row["file"]), 256, policy=ImagePolicy()) for row in held_out]
    assert len(greys) == 168
    assert sum(suspicions(grey) != [] for grey in greys) == 0
    assert sum(suspicions(255 - grey) == ["looks inverted"] for grey in greys) == 168
