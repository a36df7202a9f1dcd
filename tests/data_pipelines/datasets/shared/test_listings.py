import gzip

import pytest

from data_pipelines.datasets.shared.listings import read_columns
from medslip_jax.errors import InputError

TEXT = '\ufeffa,b,c\n1, 2 ,"3,\n3"\n\n4,,6\n'


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_columns_in_the_order_that_is_asked(tmp_path, pack):
    path = tmp_path / "list.csv"
    path.write_bytes(pack(TEXT.encode()))
    assert list(read_columns(path, ("c", "b"))) == [(2, ("3,\n3", "2")), (4, ("6", ""))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1\n", "row 2: 1 cells, the header has 2"),
        (b"a\n1\n", "no column 'b'; the header has: a"),
        (b"", "no column 'a'; the header has: "),
        (b'a,b\n1,2\n"1"2,3\n', "row 3: malformed CSV"),
        (b"a,b\n1,\xff\n", r"not UTF-8 \(invalid start byte\)"),
        (gzip.compress(b"a,b\n1,2\n" * 100, mtime=0)[:-9], "damaged or cut short"),
        (gzip.compress(b"a,b\n", mtime=0)[:10] + b"\xff" * 20, "damaged or cut short"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_row(tmp_path, content, message):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}: {message}") as error:
        list(read_columns(path, ("a", "b")))
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"list.csv: cannot read the CSV file \(No such file or directory\)"):
        list(read_columns(tmp_path / "list.csv", ("a",)))
