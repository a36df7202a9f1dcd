import pytest
from folder_csv import make_options
from places import CONFIGS

from data_pipelines.datasets.builders import options_of
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index, pathology_index

CONFIG = CONFIGS / "folder_cxr_sample.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": {"report": "text"}}, "folder option columns"),
        ({"columns": {"image": "a", "weight": "b"}}, "folder option columns"),
        ({"label_map": {"Infiltration": "nothing"}}, "label 'Infiltration' has no class"),
        ({"anatomy_map": {"Lungs": "lungs"}}, "anatomy_map: has 'Lungs' -> 'lungs', which is no anatomy"),
        ({"anatomy_map": {"Left Lung": "spine"}}, "anatomy_map: has 'Left Lung', which is in ignored_labels too"),
        ({"anatomy_map": {"Infiltration": "spine"}}, "anatomy_map: has 'Infiltration', which is in label_map too"),
        ({"split_fractions": {"train": 0.5}}, "folder option split_fractions: is .* add up to 1"),
        ({"split_fractions": {"train": 0.5, "dev": 0.5}}, "folder option split_fractions: is .* add up to 1"),
        *(
            ({key: value}, f"folder option {key}: is .*; expected ")
            for key, values in {
                "csv": ["", None],
                "columns": [["file"], {"image": 1}, {"image": ""}],
                "label_separator": ["", 3],
                "label_map": [[], {"A": 3}, {"A": []}, {"A": [3]}, {"": "nodule"}],
                "ignored_labels": ["Left Lung", [1]],
                "anatomy_map": [["Lungs"], {"A": 3}, {"A": []}, {"": "spine"}],
                "no_finding": [None],
                "annotated_everywhere": [
                    {},
                    ["Nodule"],
                    [{"class": ["Nodule"]}],
                    [{"classes": 5}],
                    [{"classes": "Nodule"}],
                    [{"classes": []}],
                    [{"classes": ["Nodule"], "where": ["origin"]}],
                    [{"classes": ["Nodule"], "where": {"age": 3}}],
                ],
                "split_names": [{"a": "dev"}, {"a": ["train"]}, ["train"]],
                "split_fractions": [
                    {},
                    {"train": "1"},
                    {"train": True},
                    {"train": 2, "test": -1},
                    {"train": float("nan")},
                ],
                "views": ["PA", [1]],
                "size": ["256", True, 8, 256.0],
                "image_format": ["gif", []],
                "image": ["full", {"gamma": "2"}],
                "text": ["findings", {"lateral": "drop"}],
                "notes": [3],
            }.items()
            for value in values
        ),
    ],
)
def test_options_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        make_options(**changes)


def test_options_file_is_checked(tmp_path):
    with pytest.raises(InputError, match=r"gone.json: cannot read the options"):
        options_of("folder", file=tmp_path / "gone.json", given={})
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(InputError, match=r"a.json: expected a JSON object, got list"):
        options_of("folder", file=tmp_path / "a.json", given={})
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError, match=r"b.json: not valid JSON"):
        options_of("folder", file=tmp_path / "b.json", given={})


def test_config_of_the_sample_names_only_known_classes():
    options = options_of("folder", file=CONFIG, given={})
    assert len(options.annotated_everywhere[0]["classes"]) == 14
    assert pathology_index("tail_abnorm_obs") in options.mapped_classes()
    assert options.anatomies_of("Left Lung") == (anatomy_index("left_lung_unspec"),)
    assert options.classes_of("Left Lung") == options.anatomies_of("Nodule") == ()
