"""The released recipe (SPEC 5): ResNet-50 on MIMIC-CXR, batch 64, fp32, 100 epochs, Bio_ClinicalBERT text tables.

  medslip data build mimic_cxr --root MIMIC --out data --workers 16
  medslip books --encoder emilyalsentzer/Bio_ClinicalBERT --out data/books_clinicalbert.npz
  medslip pretrain --config configs/pretrain_mimic.py --workdir runs/mimic
  medslip pretrain --config configs/pretrain_mimic.py:bf16,batch_size=256 --workdir runs/mimic_bf16
  medslip launch tpu ... pretrain --config configs/pretrain_mimic.py:pod,batch_size=4096 --workdir runs/mimic_pod

MIMIC holds MIMIC-CXR-JPG and RadGraph's MIMIC-CXR_graphs.json, both for credentialed users of PhysioNet;
`medslip data check mimic_cxr --root MIMIC` shows the tree that is expected. An options file with {"labels": "reports"}
reads the labels from the report texts instead.
"""

from ml_collections import ConfigDict

from medslip_jax.experiment import default_config, parse_arg, shrink_to_phantom


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: bf16 computes in bfloat16; batch_size is over all devices; tiny shrinks all to a smoke test.

    pod is bf16 with batch statistics over each chip's own images, as the released DDP training has them: 3 collectives
    a step in place of 82 (docs/compiled_programs.md). For 256 images a chip.
    """
    arg = parse_arg(arg, bf16=False, pod=False, batch_size=64, tiny=False)
    config = default_config()
    config.data.name = "mimic_cxr"
    config.data.batch_size = arg.batch_size
    config.data.workers = 8
    config.books.path = "data/books_clinicalbert.npz"
    config.model.dtype = "bfloat16" if arg.bf16 or arg.pod else "float32"
    config.mesh.batch_norm_devices = 1 if arg.pod else 0
    if arg.tiny:
        shrink_to_phantom(config)
    return config
