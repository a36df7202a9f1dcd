"""Files of .npz: what is read, and that everything else is one line and prints nothing."""

import io
import warnings
import zipfile

import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.storage.arrays import read_arrays


def packed(header: bytes) -> bytes:
    """An .npz with one array of this header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8))
    return file.getvalue()


def test_what_is_written_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.array("x"))
    found = read_arrays(tmp_path / "a.npz", repair="write it again")
    assert found["a"].tolist() == [0, 1, 2] and str(found["b"]) == "x"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        packed(b"{'descr': '<i8', 'fortran_order': False, 'shape': (1,"),
        packed(b"{'descr': '<i8', 'fortran_order': False, 'shape': (10L**14,), }\n"),
        packed(b"{'descr': '<i8', 'fortran_order': False, 'shape': (1" + b"0" * 15 + b",), }\n"),
        packed(b"'''"),
    ],
    ids=["empty", "cut", "header cut", "Python 2", "petabytes", "no end of a string"],
)
def test_anything_else_is_one_line(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with warnings.catch_warnings(action="error"), pytest.raises(InputError) as error:
        read_arrays(path, repair="write it again")
    assert str(error.value).startswith(f"{path}: cannot be read (") and str(error.value).endswith("; write it again")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"a.npz: cannot be read \(No such file or directory\); write it again$"):
        read_arrays(tmp_path / "a.npz", repair="write it again")
