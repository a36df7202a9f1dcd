import logging
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import dicom_bytes, frame
from pydicom import uid

from data_pipelines.images import read_image
from data_pipelines.images.messages import caught, caught_prints
from medslip_jax.errors import InputError

PICTURE = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def pydicom_says(text: str) -> None:
    """As `pydicom.misc.warn_and_log`, called from within pydicom."""
    logging.getLogger("pydicom").warning(text)
    warnings.warn_explicit(text, UserWarning, "filereader.py", 1, module="pydicom.filereader")


def test_warnings_and_log_lines_are_collected_once_and_not_printed(capfd):
    logging.getLogger("pydicom").addHandler(handler := logging.StreamHandler())
    try:
        with caught() as said:
            for text in ("first", "first", "second\n  line", "third", "fourth"):
                pydicom_says(text)
            logging.getLogger("pydicom.pixels.decoders.base").error("of a plug-in")
    finally:
        logging.getLogger("pydicom").removeHandler(handler)
    assert said == ["first", "second line", "third"]
    assert capfd.readouterr().err == ""


def test_everything_is_as_before_afterwards():
    before = warnings.showwarning, list(warnings.filters), list(logging.getLogger("pydicom").filters)
    with caught(), caught():
        pass
    assert before == (warnings.showwarning, list(warnings.filters), list(logging.getLogger("pydicom").filters))
    with pytest.warns(UserWarning, match="outside"):
        pydicom_says("outside")


def test_what_is_out_of_date_is_no_matter_of_a_file():
    with pytest.warns(DeprecationWarning, match="old"), caught() as said:
        warnings.warn_explicit("old", DeprecationWarning, "a.py", 1, module="pydicom.filereader")
        pydicom_says("x" * 1000)
    assert said == ["x" * 240]


def test_other_threads_are_not_listened_to():
    ready, done = threading.Event(), threading.Event()

    def other() -> None:
        ready.wait()
        pydicom_says("of another thread")
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.warns(UserWarning, match="of another thread"), caught() as said:
        ready.set()
        done.wait()
    thread.join()
    assert said == []


def test_each_thread_has_its_own():
    def speak(number: int) -> list[str]:
        with caught() as said:
            for _ in range(20):
                pydicom_says(f"file {number}")
        return said

    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")  # one that leaks is an error of its thread
        assert list(pool.map(speak, range(64))) == [[f"file {number}"] for number in range(64)]


def test_prints_of_c_code_are_collected(capfd):
    with caught() as said:
        with caught_prints():
            os.write(2, b"Corrupt JPEG data: premature end\n")
        os.write(2, b"of others\n")
    assert said == ["Corrupt JPEG data: premature end"]
    assert capfd.readouterr().err == "of others\n"


def test_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with caught() as said, caught_prints():
        pass
    assert said == []


def test_a_reading_carries_what_a_library_said(capfd):
    padded = dicom_bytes(PICTURE, PixelData=PICTURE.tobytes() + bytes(128))
    for _ in range(2):  # Python shows a warning once
        reading = read_image(padded, name="padded.dcm")
        assert len(reading.notes) == 1 and "128 bytes of excess padding" in reading.notes[0]
    assert capfd.readouterr().err == ""


def test_nothing_of_a_failing_plug_in_is_printed(capfd):
    logging.getLogger().addHandler(handler := logging.StreamHandler())  # as absl has one
    try:
        coded = frame(PICTURE, "JPEG2000", no_jp2=True)
        others = Path(__file__).parent / "streams"
        for stream, syntax in (
            (coded[:700], uid.JPEG2000),
            ((others / "htj2k_plain.bin").read_bytes()[:150], uid.HTJ2KLossless),
            ((others / "jpeg_lossless_plain.bin").read_bytes()[:500], uid.JPEGLossless),
        ):
            data = dicom_bytes(PICTURE[:32, :32], encoded=(stream, syntax))
            with pytest.raises(InputError, match=r"^cut\.dcm: "):
                read_image(data, name="cut.dcm")
    finally:
        logging.getLogger().removeHandler(handler)
    assert capfd.readouterr().err == ""


def test_every_logger_of_pydicom_is_known():
    from data_pipelines.images.messages import _LOGGERS

    speaks = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("pydicom", "pylibjpeg")]
    quiet = {"pydicom.pixels", "pydicom.pixels.decoders", "pydicom.pixels.encoders", "pydicom.pixels.encoders.base"}
    assert set(speaks) - quiet <= {*_LOGGERS, "pylibjpeg.tools", "pylibjpeg.tools.s10918"}, pydicom.__version__
