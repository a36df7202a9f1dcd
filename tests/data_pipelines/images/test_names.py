import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines import images
from data_pipelines.images import ImagePolicy, files_of, is_left_behind, printable
from medslip_jax.errors import InputError

APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(100)


def test_what_systems_leave_beside_images(tmp_path):
    for name in ("a/1.png", "a/._1.png", "._a", "a/.DS_Store", "__MACOSX/a/2.png", "a/Thumbs.db", "b/@eaDir/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(path.relative_to(tmp_path)) for path in files_of(tmp_path, "**/*") if path.is_file()] == ["a/1.png"]
    assert files_of(tmp_path / "a", "*.png") == [tmp_path / "a" / "1.png"]
    assert not is_left_behind("a._b/c.png") and not is_left_behind(".hidden/c.png")
    # Only what lies below the folder counts, not where it lies itself.
    assert len(files_of(tmp_path / "__MACOSX", "**/*.png")) == 1


def test_one_that_is_read_all_the_same_is_named():
    with pytest.raises(
        InputError, match=r"\._1\.png: no image, but what macOS keeps beside one \(\._NAME\); leave it out"
    ):
        images.read_image(APPLE_DOUBLE, name="._1.png")


def test_names_that_are_not_utf_8():
    path = Path(os.fsdecode(b"scans/caf\xe9.png"))
    assert printable(path) == "scans/caf\\xe9.png" and printable("plain é") == "plain é"
    printable(path).encode()


@pytest.mark.parametrize(("top", "note"), [(4095, True), (16383, True), (16384, False), (65535, False)])
def test_detector_values_in_sixteen_bits_are_told_of(top, note):
    pixels = np.linspace(0, top, 4096).astype(np.uint16).reshape(64, 64)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    reading = images.read_image(file.getvalue())
    said = f"its 16 bits hold no value above {top}, almost black: --sixteen_bit stretch spreads them"
    assert reading.notes == ((said,) if note else ())
    stretched = images.read_image(file.getvalue(), policy=ImagePolicy(sixteen_bit="stretch"))
    assert stretched.notes == () and stretched.grey.max() == 255 and stretched.grey.min() == 0
