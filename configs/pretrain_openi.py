"""Pre-training without credentials: ResNet-50 on IU X-Ray, 7,470 public images (about half frontal) with reports.

  medslip data build openi --root IU_XRAY --options OPTIONS.json --out data
  medslip pretrain --config configs/pretrain_openi.py --workdir runs/openi
  medslip pretrain --config configs/pretrain_openi.py:bf16,batch_size=128 --workdir runs/openi_bf16

OPTIONS.json is {"projections": "indiana_projections.csv"}, without which laterals stay; `medslip data check openi
--root IU_XRAY` shows what is downloaded from where. The paper's model with the shipped text tables, so that nothing
else is downloaded. Few images and from scratch: initial values, similarities and schedule are those that short runs
need (configs/phantom.py says why).
"""

from ml_collections import ConfigDict

from medslip_jax.experiment import default_config, parse_arg, set_short_run, shrink_to_phantom


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: bf16 computes in bfloat16; batch_size is over all devices; tiny shrinks all to a smoke test."""
    arg = parse_arg(arg, bf16=False, batch_size=64, tiny=False)
    config = default_config()
    config.data.name = "openi"
    config.data.batch_size = arg.batch_size
    config.data.workers = 4
    config.model.dtype = "bfloat16" if arg.bf16 else "float32"
    set_short_run(config)
    config.optim.warmup_steps = 200
    config.log_every, config.eval_every, config.save_every = 20, 200, 200
    if arg.tiny:
        shrink_to_phantom(config)
    return config
