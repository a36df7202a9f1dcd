import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        (' "a" , "b" \n "1, 2" , 3\n', [("1, 2", "3")]),
        ('a,b\n"x" ,"y" \n"p"\t,q', [("x", "y"), ("p", "q")]),
        ('a,b\n"said ""no"" , then" ,"z\n"" , w" \n', [('said "no" , then', 'z\n" , w')]),
        ('a,b\n"two\nlines" ,"more , ""text"" "\n', [("two\nlines", 'more , "text"')]),
        ("a,b\n1,2,,\n, ,\n3,4\n", [("1", "2"), ("3", "4")]),
    ],
)
def test_blanks_around_cells_do_not_count(tmp_path, text, cells):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    assert [found for _, found in read_columns(path, ("a", "b"), empty_rows=[])] == cells


_CELLS = st.text(st.sampled_from('a ,"\n\t'), max_size=8)


@settings(max_examples=300)
@given(st.lists(st.tuples(_CELLS, _CELLS), max_size=6), st.sampled_from(["", " ", "\t "]))
def test_what_is_written_is_read_whatever_blanks_lie_between(rows, blank):
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    lines = [f"{quoted(a)}{blank},{blank.strip(chr(9))}{quoted(b)}{blank}" for a, b in [("a", "b"), *rows]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        found = [cells for _, cells in read_columns(path, ("a", "b"))]
    assert found == [(a.strip(), b.strip()) for a, b in rows]
