"""A batch in parts costs what it does at once: by the count of the training loop's MFU and of `medslip compile`."""

import pytest
from places import CONFIGS

from medslip_jax.aot import lowering
from medslip_jax.aot.step_shapes import step_of
from medslip_jax.experiment import load_config, read
from medslip_jax.parallel import sharding
from medslip_jax.parallel.flops import step_flops, text_flops

SMALL = [
    "--config.data.image_size=32", "--config.model.trunk_width=8", "--config.model.embed_dim=16",
    "--config.model.decoder_ffn_dim=32", "--config.model.decoder_layers=1", "--config.data.train_images=800",
    "--config.optim.optimizer=adamw",  # Muon's update costs more than so small a model's gradients
]  # fmt: skip


@pytest.mark.slow
def test_four_parts_cost_what_the_whole_batch_does():
    mesh = sharding.make_mesh()

    def compiled(accumulate: int):
        argv = [f"--config={CONFIGS / 'phantom.py'}:tiny", *SMALL, f"--config.optim.accumulate={accumulate}"]
        return lowering.lower_step(step_of(read(load_config(argv)), mesh=mesh), mesh=mesh, per_chip=8).compile()

    whole, parts = compiled(1), compiled(4)
    # XLA counts one of the four.
    assert parts.cost_analysis()["flops"] < 0.4 * whole.cost_analysis()["flops"]
    assert text_flops(parts.as_text()) == pytest.approx(text_flops(whole.as_text()), rel=0.01)
    # Of so small a model the update, which is no part of the loop, is a tenth of all.
    assert step_flops(parts) == pytest.approx(step_flops(whole), rel=0.12)
