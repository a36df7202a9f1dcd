import pytest

from medslip_jax import experiment
from medslip_jax.errors import InputError
from medslip_jax.training.setup import evenly_spaced, run_mesh


@pytest.mark.parametrize(("kind", "size"), [("medslip", 100), ("medslip", 0), ("classifier", 48), ("segmenter", 40)])
def test_image_sizes_that_no_other_verb_would_take(kind, size):
    config = experiment.default_config() if kind == "medslip" else experiment.default_fine_tuning(kind)
    if kind != "medslip":
        config.targets = ("mass",)
    assert run_mesh(experiment.read(config)).size
    config.data.image_size = size
    with pytest.raises(InputError, match=f"data.image_size={size}: must be a multiple of"):
        run_mesh(experiment.read(config))


def test_evenly_spaced_rows():
    rows = "abcdefgh"
    assert evenly_spaced(rows, at_most=0) == evenly_spaced(rows, at_most=9) == list(range(8))
    assert evenly_spaced(rows, at_most=3) == [0, 2, 5]
