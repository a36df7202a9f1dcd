import pytest
from folder_csv import OPTIONS, make_options, rows_of, write
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.datasets.folder_rows import read_rows
from data_pipelines.datasets.shared.splits import split_of
from medslip_jax.errors import InputError


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"file": ""}, "no image in column 'file'"),
        ({"findings": ""}, "neither report nor labels"),
        ({"findings": "Efusion"}, "label 'Efusion' has no class"),
        ({"findings": "No Finding|Effusion"}, "'No Finding' together with other labels"),
        ({"split": "dev"}, "split 'dev' is none of train"),
        ({"patient": ""}, "no patient in column 'patient'"),
        ({"boxes": "[{"}, "boxes is not valid JSON"),
        ({"boxes": "{}"}, "boxes is dict, expected a JSON list"),
        ({"boxes": '[{"label": "Effusion", "x": 1, "y": 2, "w": 0, "h": 3}]'}, "box {'label': 'Effusion'"),
        ({"boxes": '[{"label": "Effusion", "x": "1", "y": 2, "w": 1, "h": 3}]'}, "box {'label': 'Effusion'"),
        ({"masks": '[{"label": "Effusion"}]'}, "mask {'label': 'Effusion'}: expected a 'file'"),
        ({"masks": '[{"file": "a"}]'}, "expected an object with a 'label'"),
        ({"file": "a.png"}, "image 'a.png' is in row 2 already"),
        ({"patient": "p0", "split": "test"}, None),
    ],
)
def test_malformed_row_is_named(tmp_path, cells, message):
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, [{"file": "a.png"}, {"file": "b.png"} | cells])
    text = str(caught.value)
    expected = message or "patient 'p0' is in train (row 2), test (row 3); one patient belongs to one split"
    assert text.startswith(f"{tmp_path / 'labels.csv'}: ") and expected in text and "\n" not in text
    assert "row 3" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,findings\n,\n\n", "no rows below the header"),
        ("file,findings\na.png\n", "row 2: 1 cells, the header has 2"),
        ("file,findings\na.png,Effusion,x\n", "row 2: 3 cells, the header has 2"),
        ('file,findings\na.png,"Effu"sion\n', "row 2: malformed CSV"),
        ("file,label\na.png,Effusion\n", "no column 'findings'; the header has: file, label"),
        ("file,findings,findings\na.png,Effusion,Mass\n", "column 'findings' is in the header more than once"),
        ("file,findings\n", "no rows below the header"),
        ("", "no column 'file'"),
    ],
)
def test_malformed_file_is_named(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    options = make_options(columns={"image": "file", "labels": "findings"}, annotated_everywhere=[])
    with pytest.raises(InputError) as caught:
        read_rows(path, options)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_blanks_and_empty_rows_of_spreadsheets(tmp_path):
    path, notes = tmp_path / "labels.csv", []
    path.write_text(
        ' file , "findings" ,patient\n'.replace('" ,', '",')
        + 'a.png, "Effusion|Mass", "p, 1"\n\n , ,\n  b.png , Effusion ,p2,,\n,,,,\n\n\n',
        encoding="utf-8",
    )
    options = make_options(
        columns={"image": "file", "labels": "findings", "patient": "patient"}, annotated_everywhere=[]
    )
    first, second = read_rows(path, options, notes=notes)
    assert (first.image, first.patient, first.number) == ("a.png", "p, 1", 2) and len(first.present) == 2
    assert (second.image, second.patient, second.number) == ("b.png", "p2", 5) and len(second.present) == 1
    assert notes == ["labels.csv: empty rows, skipped: 3, the first is row 3"]


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "<NA>", "N/A", "None", "null", " nan "])
def test_words_for_nothing_are_missing(tmp_path, word):
    notes: list[str] = []
    path = write(tmp_path, [{"file": "a.png", "text": word, "view": word}, {"file": "b.png"}])
    first, _ = read_rows(path, make_options(), notes=notes)
    assert first.report == "" and first.view == ""
    assert notes == ['labels.csv: rows with cells that say "nan" or the like, taken as empty: 1, the first is row 2']
    with pytest.raises(InputError, match="row 3: no patient in column 'patient'"):
        rows_of(tmp_path, [{"file": "a.png"}, {"file": "b.png", "patient": word}])
    with pytest.raises(InputError, match="row 3: neither report nor labels"):
        rows_of(tmp_path, [{"file": "a.png"}, {"file": "b.png", "text": word, "findings": word}])


def test_rows_that_lack_a_patient_or_all_text_can_be_left_out(tmp_path):
    drops: list = []
    cells = [{"file": "a.png"}, {"file": "b.png", "patient": "nan"}, {"file": "c.png", "findings": "", "text": "nan"}]
    rows = read_rows(write(tmp_path, cells), make_options(), drops=drops)
    assert [row.image for row in rows] == ["a.png"]
    assert drops[0].reason == "no patient in column 'patient'"
    assert [(drop.row, drop.file, drop.kind) for drop in drops] == [
        (3, "b.png", "no patient"),
        (4, "c.png", "nothing to learn from"),
    ]
    with pytest.raises(InputError, match="no rows below the header that can be used, the first: row 2: no patient"):
        read_rows(write(tmp_path, cells[1:]), make_options(), drops=[])


def test_rows_of_what_macos_leaves_beside_images_are_skipped(tmp_path):
    notes: list[str] = []
    cells = [{"file": name} for name in ("a.png", "._a.png", ".DS_Store")]
    assert [row.image for row in read_rows(write(tmp_path, cells), make_options(), notes=notes)] == ["a.png"]
    said = "rows of files that macOS and others leave beside images, skipped: 2, the first is row 3"
    assert notes == [f"labels.csv: {said}"]


def test_a_label_may_be_called_none(tmp_path):
    (row,) = rows_of(tmp_path, [{"file": "a.png", "findings": "None", "text": "Nano scale nan."}], no_finding="None")
    assert row.has_labels and row.present == () and row.report == "Nano scale nan."


def test_unreadable_csv_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.csv: cannot read the CSV file"):
        read_rows(tmp_path / "gone.csv", make_options())
    with pytest.raises(InputError, match=r"cannot read the CSV file \(embedded null byte\)"):
        read_rows(tmp_path / "a\0.csv", make_options())
    (tmp_path / "latin.csv").write_bytes("file\nbild-ä.png\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.csv: not UTF-8"):
        read_rows(tmp_path / "latin.csv", make_options())


def test_quoted_line_breaks_and_a_byte_order_mark_are_fine(tmp_path):
    path = write(tmp_path, [{"file": "a.png", "text": 'Two\nlines, "quoted".'}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (row,) = read_rows(path, make_options())
    assert row.report == 'Two\nlines, "quoted".' and row.number == 2


def test_without_split_column_patients_are_hashed(tmp_path):
    columns = {key: value for key, value in OPTIONS["columns"].items() if key != "split"}
    cells = [{"file": f"{i}.png", "patient": f"patient-{i // 3}"} for i in range(60)]
    rows = rows_of(tmp_path, cells, columns=columns)
    by_patient = {}
    for row in rows:
        assert by_patient.setdefault(row.patient, row.split) == row.split
    assert len(set(by_patient.values())) > 1


def test_hashed_shares_are_close_to_the_fractions():
    fractions = {"train": 0.7, "validation": 0.2, "test": 0.1}
    found = [split_of(f"patient-{i}", fractions) for i in range(4000)]
    for split, share in fractions.items():
        assert found.count(split) / 4000 == pytest.approx(share, abs=0.03)


@settings(max_examples=50)
@given(st.text())
def test_any_patient_gets_a_split_with_a_share(patient):
    assert split_of(patient, {"train": 0.5, "validation": 0.5}) in ("train", "validation")
    assert split_of(patient, {"train": 0.0, "validation": 0.0, "test": 1.0}) == "test"
