import gzip
import json

import numpy as np
import pytest
from places import GOLDEN

from data_pipelines import radgraph
from data_pipelines.radgraph.stream import iter_label_matrices, iter_studies
from medslip_jax.benchmarks import radgraph as radgraph_bench
from medslip_jax.errors import InputError

ONE = {
    "text": "no effusion .",
    "entities": {"1": {"tokens": "effusion", "label": "OBS-DA", "start_ix": 1, "end_ix": 1, "relations": []}},
}
ENTRY = f'"p1/s1.txt": {json.dumps(ONE)}'


def read(path, **options):
    return list(iter_label_matrices(path, **options))


def message(path, content, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        read(path, **options)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("chunk", [7, 1000, 1 << 20])
def test_golden(golden, chunk):
    found = read(GOLDEN / "radgraph.json", chunk=chunk)
    assert [study for study, _ in found] == golden("radgraph")["study_id"].tolist()
    np.testing.assert_array_equal([matrix for _, matrix in found], golden("radgraph")["matrix"])


def test_equals_label_matrices_whatever_the_layout(tmp_path):
    studies = json.loads((GOLDEN / "radgraph.json").read_text())
    few = {"_note": [1, 2.5], **dict(list(studies.items())[:6]), "ä €": ONE, "_last": 12}
    ids, matrices = radgraph.label_matrices(few)
    for name, text in {
        "dense.json": json.dumps(few, separators=(",", ":")),
        "indented.json": "\n  " + json.dumps(few, indent=2, ensure_ascii=False) + "\n\n",
        "bom.json": "\ufeff" + json.dumps(few, ensure_ascii=False),
    }.items():
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        (tmp_path / "packed").write_bytes(gzip.compress(path.read_bytes()))
        for file in (path, tmp_path / "packed"):
            for chunk in (5, 64, 1 << 20):
                found = read(file, chunk=chunk)
                assert [study for study, _ in found] == ids.tolist()
                np.testing.assert_array_equal([matrix for _, matrix in found], matrices)


def test_no_studies(tmp_path):
    path = tmp_path / "empty.json"
    path.write_text(" { } ")
    assert read(path) == []


def test_every_truncation_says_where(tmp_path):
    text = "{" + ENTRY + ', "p1/s2.txt": ' + json.dumps(ONE) + "}"
    for length in range(1, len(text)):
        for chunk in (16, 1 << 20)[length % 2 :]:
            assert f"cut short at byte {length}" in message(tmp_path / "a.json", text[:length], chunk=chunk)


def test_truncated_gzip(tmp_path):
    packed = gzip.compress(("{" + ENTRY + "}").encode())
    assert "damaged or cut short" in message(tmp_path / "a.json.gz", packed[: len(packed) // 2])
    assert "damaged or cut short" in message(tmp_path / "b.json.gz", b"\x1f\x8b" + b"no gzip at all")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "byte 0: expected a JSON object"),
        ("7", "byte 0: expected a JSON object"),
        ("[1, 2]", "study '0': field 'text' must be a string"),
        ("[" + json.dumps(ONE) + "}", "expected ',' or ']' after 'element 0'"),
        ("{1: 2}", "expected a study's key in quotes"),
        ('{"a" 1}', "byte 5: expected ':' after 'a', got '1'"),
        ("{" + ENTRY + " " + ENTRY + "}", "expected ',' or '}' after 'p1/s1.txt'"),
        ("{" + ENTRY + "} {}", "expected nothing behind the object"),
        ("{" + ENTRY + ', "p2/s1.txt": ' + json.dumps(ONE) + "}", "study id 1 occurs twice"),
        ('{"p1/s1.txt": {"text": "x ."}}', "'p1/s1.txt': field 'entities'"),
        ('{"p1/s1.txt": 7}', "'p1/s1.txt': field 'text'"),
        ('{"a": ' + "[" * 100_000 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "study 'a' holds a number that is too long (Exceeds the limit"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
    ],
)
def test_bad_files(tmp_path, content, said):
    assert said in message(tmp_path / "bad.json", content)


def test_malformed_value_is_named_with_its_byte(tmp_path):
    text = "{" + ENTRY + ', "p2/s2.txt": {"text": nothing, "entities": {}}}'
    said = message(tmp_path / "bad.json", text)
    assert f"byte {text.index('nothing')}: not valid JSON in study 'p2/s2.txt'" in said


def test_an_error_in_the_middle_is_found_there_and_not_at_the_end(tmp_path):
    path = tmp_path / "long.json"
    radgraph_bench.write_repeated(path, {"a": ONE}, studies=2000)
    content = path.read_text().replace('s50000100.txt": {"text"', 's50000100.txt": {"text')
    path.write_text(content)
    found = iter_studies(path, chunk=1024)
    with pytest.raises(InputError, match=r"not valid JSON in study 'p10/p10000000/s50000100\.txt'"):
        list(found)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot read the RadGraph file \(No such file"):
        read(tmp_path / "none.json")


@pytest.mark.parametrize("names", [("7", "07", "007"), ("123456789", "12345678"), ("٣", "3"), ("-1", "1")])
def test_ids_of_any_form_are_told_apart(tmp_path, names):
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(dict.fromkeys(names, ONE)))
    assert [study for study, _ in read(path)] == list(names)
    path.write_text(json.dumps({**dict.fromkeys(names, ONE), f"p/s{names[0]}.txt": ONE}))
    if names[0] != "-1":
        with pytest.raises(InputError, match="occurs twice"):
            read(path)


def test_memory_does_not_grow_with_the_file(tmp_path):
    studies = json.loads((GOLDEN / "radgraph.json").read_text())
    peaks = []
    for count in (1000, 20_000):
        path = tmp_path / f"{count}.json"
        radgraph_bench.write_repeated(path, studies, studies=count)
        peaks.append(radgraph_bench.peak_memory(path))
    assert path.stat().st_size > 25e6
    assert peaks[1] - peaks[0] < 4e6


def test_rate():
    """The floor, in processor time: the machine of the tests is shared. docs/speed.md has what was measured."""
    result = radgraph_bench.bench_radgraph(studies=3000, runs=3)
    assert max(result["cpu_runs"]) >= 250_000
    assert result["source"] == "radgraph.json"
