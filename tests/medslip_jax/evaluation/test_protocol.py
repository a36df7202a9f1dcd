"""Protocols: files, flags, what contradicts itself; nothing is loaded or scored."""

import dataclasses
import re

import pytest
from places import CONFIGS

from data_pipelines.datasets import BUILDERS
from medslip_jax.errors import InputError
from medslip_jax.evaluation.protocol import GroundingProtocol, Protocol, classes_of, read_protocol, texts_of
from medslip_jax.evaluation.protocol_files import default_protocol, load_protocol
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index

FILES = sorted((CONFIGS / "eval").glob("*.py"))
RSNA = f"--config={next(f for f in FILES if f.stem == 'rsna')}"
COVIDX = f"--config={next(f for f in FILES if f.stem == 'covidx')}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_file_is_a_protocol_of_its_data_set(file):
    protocol = load_protocol([f"--config={file}"], flags={"data": file.stem})
    assert protocol.data.name == file.stem in BUILDERS
    classes = classes_of(read_protocol(protocol))
    assert classes is None or classes == sorted(classes, key=pathology_index)


def test_there_is_one_for_every_set_of_the_paper():
    assert {file.stem for file in FILES} >= {"nih_cxr14", "rsna", "siim_acr", "covidx", "phantom", "folder"}


def test_the_map_of_cxr14_is_that_of_the_specification():
    protocol = load_protocol([f"--config={FILES[0].with_name('nih_cxr14.py')}"], flags={})
    queries = (
        "atelectasis, cardiomegaly, effusion, infiltrate, mass, nodule, pneumonia, pneumothorax, consolidation, edema, "
        "emphysema, tail_abnorm_obs, thicken, hernia"
    )
    class_map = protocol.class_map.to_dict()
    assert sorted(class_map.values()) == sorted(queries.split(", "))
    others = {name: query for name, query in class_map.items() if name.lower() != query}
    assert others == {"Infiltration": "infiltrate", "Fibrosis": "tail_abnorm_obs", "Pleural_Thickening": "thicken"}


def test_every_key_is_documented():
    for section in (Protocol, GroundingProtocol):
        for field in dataclasses.fields(section):
            assert re.search(rf"\b{field.name}: ", section.__doc__.replace(",", ":")), field.name


def test_flags_stand_for_keys():
    flags = {"data": "phantom", "data_dir": "d", "split": "train", "resamples": 5, "pictures": 0, "batch_size": None}
    protocol = load_protocol(["--config.bins=5"], flags=flags)
    assert (protocol.data.name, protocol.data.dir, protocol.split) == ("phantom", "d", "train")
    assert (protocol.resamples, protocol.pictures, protocol.batch_size, protocol.bins) == (5, 0, 0, 5)
    assert load_protocol([], flags={"threshold_split": ""}).threshold_source == "none"
    fixed = load_protocol(["--config.threshold_source=fixed"], flags={"threshold_split": ""})
    assert fixed.threshold_source == "fixed"
    # A built copy elsewhere is a matter of the path.
    assert load_protocol([RSNA], flags={"data": "elsewhere/my_rsna"}).data.name == "elsewhere/my_rsna"


@pytest.mark.parametrize(
    ("argv", "flags", "message"),
    [
        ([RSNA], {"data": "siim_acr"}, "--data siim_acr: the protocol of --config is for rsna; take configs/eval/siim"),
        ([RSNA, "--config.split=train"], {"split": "test"}, "--split and --config.split are the same key"),
        (["--config.split=validation"], {}, "--threshold_split validation is the judged split"),
        (["--config.threshold_split="], {}, "threshold_split is empty"),
        (["--config.threshold_source=test"], {}, "threshold_source='test': must be one of validation, fixed, none"),
        (["--config.grounding.use=masks"], {}, "grounding.use='masks'"),
        (["--config.fixed_threshold=50.0"], {}, "fixed_threshold=50.0: expected a probability"),
        (["--config.subgroups=('race',)"], {}, "subgroups: 'race' is none of sex, age_band, view"),
        (["--config.resamples=0"], {}, "resamples=0: must be at least 1"),
        ([], {"pictures": -1}, "pictures=-1: must be at least 0"),
        ([RSNA, "--config.class_map.Pneumonia=pnumonia"], {}, "class_map.Pneumonia='pnumonia': no class of the vocab"),
        ([COVIDX, "--config.class_map.covid19.text= "], {}, "class_map.covid19: expected {'text': a sentence}"),
        ([f"--config={FILES[0].parents[1] / 'phantom.py'}"], {}, "not an evaluation protocol"),
        (["--config=nowhere.py"], {}, "nowhere.py"),
        (["--confg.bins=3"], {}, "--confg.bins=3|confg"),
    ],
)
def test_what_contradicts_is_refused(argv, flags, message):
    with pytest.raises(InputError, match=re.sub(r"([{}()])", r"\\\1", message)) as error:
        load_protocol(argv, flags=flags)
    assert "\n" not in str(error.value)


def test_classes_go_by_either_name():
    protocol = default_protocol()
    assert classes_of(read_protocol(protocol)) is None and texts_of(read_protocol(protocol)) == {}
    protocol.class_map.update({"Fibrosis": "tail_abnorm_obs", "Mass": "mass", "flu": {"text": "A virus."}})
    assert classes_of(read_protocol(protocol)) == ["mass", "tail_abnorm_obs"]
    assert texts_of(read_protocol(protocol)) == {"flu": "A virus."}
    protocol.classes = ("Fibrosis",)
    assert classes_of(read_protocol(protocol)) == ["tail_abnorm_obs"] and texts_of(read_protocol(protocol)) == {}
    protocol.classes = ("mass", "flu")
    assert classes_of(read_protocol(protocol)) == ["mass"] and texts_of(read_protocol(protocol)) == {"flu": "A virus."}
    protocol.classes = ("edema",)
    with pytest.raises(InputError, match="'edema' is no class of this protocol; it has: Fibrosis, Mass, flu"):
        classes_of(read_protocol(protocol))
    protocol.class_map.Nodule = "mass"
    with pytest.raises(InputError, match="Mass and Nodule both map to mass"):
        read_protocol(protocol)
    assert set(PATHOLOGIES) >= {"mass", "tail_abnorm_obs"}
