"""Label-only pre-training without credentials: ResNet-50 at 224 on NIH ChestX-ray14, 112,120 public images.

  medslip data build nih_cxr14 --root NIH --out data --workers 16
  medslip books --encoder emilyalsentzer/Bio_ClinicalBERT --out data/books_clinicalbert.npz
  medslip pretrain --config configs/pretrain_nih.py --workdir runs/nih
  medslip pretrain --config configs/pretrain_nih.py:bf16,batch_size=256 --workdir runs/nih_bf16

Label-only: there are no reports, so a label has no place. Its 14 classes are entries of the matrix at the anatomy
"unspecified" alone, 1 or 0; the other 50 anatomies and 61 pathologies are -1, which no loss counts. This means for
  existence of pathologies   a plain classifier of 14 findings; of anatomies: "unspecified" is 1 if anything was found
  ProtoCL of pathologies     every present finding has one and the same prototype, the text of "unspecified"
  ProtoCL of anatomies       the query "unspecified" has the mean of the texts of what is present as prototype
  ICL                        one row of 14 entries: z_unspecified . z_P tells again what existence tells
So nothing teaches where a finding is, but the attention that finding it takes; the anatomy stream learns next to
nothing. It gives an image encoder to start from (`--config.init_from`), not the paper's model; --config.loss.beta=0
and --config.loss.alpha=0 leave existence alone.

Trained on is the "train" split, 77,632 images: the 25,596 of the official test list and 8,892 for validation stay
out, so CXR14 can be evaluated on. RSNA, SIIM-ACR and the `rsna` part of COVIDx are made of NIH images and are not
unseen after this.
"""

from ml_collections import ConfigDict

from medslip_jax.experiment import default_config, parse_arg, shrink_to_phantom


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: bf16 computes in bfloat16; batch_size is over all devices; tiny shrinks all to a smoke test."""
    arg = parse_arg(arg, bf16=False, batch_size=64, tiny=False)
    config = default_config()
    config.data.name = "nih_cxr14"
    config.data.batch_size = arg.batch_size
    config.data.workers = 8
    config.books.path = "data/books_clinicalbert.npz"
    config.model.dtype = "bfloat16" if arg.bf16 else "float32"
    if arg.tiny:
        shrink_to_phantom(config)
    return config
