import json

import pytest
from places import CONFIGS
from trainers import tables_of

from medslip_jax import experiment
from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.models import MeDSLIPConfig
from medslip_jax.vocabulary import pathology_index

pytestmark = pytest.mark.portable

FILES = sorted(CONFIGS.glob("*.py"))


def test_default_is_the_released_recipe():
    config = experiment.default_config()
    read = experiment.read(config)
    assert (read.model, read.loss, read.optim) == (MeDSLIPConfig(), LossConfig(), OptimConfig())
    assert (config.data.batch_size, config.data.image_size, config.num_epochs) == (64, 224, 100)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_config_file_describes_an_experiment(file):
    config = experiment.load_config([f"--config={file}"])
    read = experiment.read(config)
    if "tune" in config:
        config.model.num_classes = len(config.targets)
    tree = experiment.tree_of(read)
    assert experiment.differences(config.to_dict(), tree) == [] and experiment.read(tree) == read
    assert experiment.read(json.loads(config.to_json())) == read


def test_mimic_config_is_the_released_recipe():
    file = next(f for f in FILES if f.stem == "pretrain_mimic")
    config = experiment.load_config([f"--config={file}"])
    changed = experiment.differences(experiment.default_config(), config)
    assert {line.split(":")[0] for line in changed} == {"data.name", "data.workers", "books.path"}


def test_overrides_and_arguments():
    config = experiment.load_config(
        [f"--config={FILES[0].parent / 'pretrain_mimic.py'}:bf16,batch_size=256", "--config.loss.alpha=0.5"]
    )
    assert config.model.dtype == "bfloat16"
    assert config.data.batch_size == 256
    assert config.loss.alpha == 0.5


@pytest.mark.parametrize(
    ("arg", "want"),
    [
        (None, {"full": False, "size": 64, "name": "a"}),
        ("full", {"full": True, "size": 64, "name": "a"}),
        ("size=3,full=false,name=b", {"full": False, "size": 3, "name": "b"}),
    ],
)
def test_parse_arg(arg, want):
    assert experiment.parse_arg(arg, full=False, size=64, name="a").to_dict() == want


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("fulll", "'fulll' is unknown"),
        ("size=x", "write size=N, N being of type int"),
        ("size", "write size=N"),
        ("full=yes", "full=true or full=false"),
        ("name", "write name=NAME"),
    ],
)
def test_parse_arg_errors(arg, message):
    with pytest.raises(InputError, match=message):
        experiment.parse_arg(arg, full=False, size=64, name="a")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--config FILE is missing"),
        (["--config=nowhere.py"], "nowhere.py"),
        ([f"--config={FILES[0].parent / 'phantom.py'}", "--config.optim.learning_rat=1"], "learning_rat"),
        ([f"--config={FILES[0].parent / 'phantom.py'}", "--config.num_steps=many"], "num_steps|many"),
        ([f"--config={FILES[0].parent / 'phantom.py'}", "--wrong=1"], "wrong"),
        ([f"--config={FILES[0].parent / 'phantom.py'}", "config.num_steps=9"], "not understood: config.num_steps=9"),
    ],
)
def test_load_config_errors_are_one_line(argv, message):
    with pytest.raises(InputError, match=message) as error:
        experiment.load_config(argv)
    assert "\n" not in str(error.value)


def test_sections_refuse_wrong_values():
    config = experiment.default_config()
    config.model.backbone = "resnet101"
    with pytest.raises(InputError, match=r"model\.backbone='resnet101': must be one of resnet50, resnet18"):
        experiment.read(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss.similarity", "cosin"),
        ("loss.temperature", 0.0),
        ("optim.schedule", "relased"),
        ("data.augment.flip", "sides"),
    ],
)
def test_misspelt_options_do_not_choose_another(key, value):
    config = experiment.default_config()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=key.split(".")[-1]):
        experiment.read(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", "line 1: SyntaxError: invalid syntax"),
        ("import nowhere_at_all\n", "line 1: ModuleNotFoundError"),
        ("x = 1\n", r"has no get_config\(arg\)"),
        ("def get_config():\n    return 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("def get_config():\n    return {'seed': 1}\n", "its get_config gives dict, not"),
        ("def get_config():\n    raise KeyError('mine')\n", "line 2: KeyError: 'mine'"),
        ("\0", "ValueError|SyntaxError"),
    ],
)
def test_config_file_with_an_error_is_one_line(tmp_path, text, message):
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        experiment.load_config([f"--config={file}"])
    assert str(error.value).startswith(f"--config {file}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sead=1", 'the config has no key \'sead\' (Did you mean "seed" instead of "sead"?); '),
        ("optim.rate=1", "the config has no key 'rate'; "),
        ("nothing.seed=1", "the config has no key 'nothing'; "),
    ],
)
def test_an_unknown_key_is_named_in_one_line(setting, said):
    with pytest.raises(InputError) as error:
        experiment.load_config([f"--config={FILES[0].with_name('phantom.py')}", f"--config.{setting}"])
    assert str(error.value) == f"{said}medslip_jax/experiment/sections.py says what each is"


def test_a_colon_in_a_path_is_no_argument(tmp_path):
    file = tmp_path / "a:b" / "phantom.py"
    file.parent.mkdir()
    file.write_text(FILES[0].with_name("phantom.py").read_text())
    assert experiment.load_config([f"--config={file}"]).data.name == "phantom"


def test_config_flag_is_given_once_in_either_form(tmp_path):
    file = str(FILES[0].parent / "phantom.py")
    assert experiment.load_config(["--config", f"{file}:tiny", "--config.seed=3"]).seed == 3
    with pytest.raises(InputError, match="--config is given twice"):
        experiment.load_config(["--config", file, f"--config={file}"])
    with pytest.raises(InputError, match="--config : no such file"):
        experiment.load_config(["--config"])


def test_excluded_classes_are_names_in_a_config():
    config = experiment.default_config()
    config.loss.exclude_classes = ("mass", "hernia")
    want = (pathology_index("mass"), pathology_index("hernia"))
    assert experiment.read(config).loss.excluded == want


def test_books_of_another_width_are_refused():
    config = experiment.default_config()
    with pytest.raises(InputError, match=r"set --config\.model\.text_dim=384"):
        tables_of(config)


def test_differences_name_the_keys():
    a, b = experiment.default_config(), experiment.default_config()
    b.model.embed_dim = 128
    b.seed = 3
    assert sorted(experiment.differences(a, b)) == ["model.embed_dim: 256 -> 128", "seed: 0 -> 3"]


def test_a_value_that_cannot_be_compared_is_named():
    config = experiment.default_config()
    with config.ignore_type():
        config.data.augment.scale = "dth"
    with pytest.raises(InputError, match=r"^config.data.augment: a value is of another type .*scale='dth'"):
        experiment.read(config)
