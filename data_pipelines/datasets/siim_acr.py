"""TFDS builder of SIIM-ACR Pneumothorax Segmentation (2019): DICOM or PNG images, masks as run lengths or PNG.

Counts: 10,712 + 1,377 = 12,089 DICOM files of stage 1, train + test, whose masks stage 2 published together; 10,675 +
1,372 = 12,047 of them are annotated (github.com/dataset-ninja/siim-acr-pneumothorax-segmentation), 2,669 with a mask.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from PIL import Image as Pillow

from data_pipelines.datasets.building.plan import Drop, Job, Made, Plan, Policy
from data_pipelines.datasets.shared import attributes, official
from data_pipelines.datasets.shared.cases import Case, Drops, SplitOptions, plan_of
from data_pipelines.datasets.shared.official import Expected
from data_pipelines.datasets.shared.xray import Storing, XRay, make, make_dicom
from data_pipelines.datasets.siim_acr_lists import (
    PNG_IMAGES,
    PNG_MASKS,
    STAGE_1,
    Image,
    place_dicoms,
    place_pngs,
    read_patients,
    read_pngs,
    read_runs,
)
from data_pipelines.images import caught, files_of
from medslip_jax.errors import InputError, check_choices
from medslip_jax.vocabulary import pathology_index

Layout = Literal["dicom", "dicom_stage_2", "png", "png_masks"]

_RLE, _RLE_2 = "train-rle.csv", "stage_2_train.csv"
_RLE_SIDE = 1024  # of the images that run lengths count the pixels of
_PNG = Expected(f"{PNG_IMAGES}/*.png", 12_047, "images of 1024 x 1024 pixels")
LAYOUTS: Mapping[str, tuple[Expected, ...]] = {
    "dicom": (
        Expected(_RLE, what="masks of stage 1, Kaggle"),
        Expected("dicom-images-train/*/*/*.dcm", 10_712, "training images of stage 1, Kaggle"),
    ),
    "dicom_stage_2": (
        Expected(_RLE_2, what="masks of stage 2, Kaggle"),
        Expected("dicom-images-*/*/*/*.dcm", 12_089, "training and test images of stage 1"),
    ),
    "png": (Expected(_RLE, what="masks of stage 1, Kaggle"), _PNG),
    "png_masks": (
        *(Expected(table, what="new_filename, ImageId, has_pneumo") for table in STAGE_1),
        _PNG,
        Expected(f"{PNG_MASKS}/*.png", 12_047, "a mask for each image, named as it"),
    ),
}


@dataclasses.dataclass(frozen=True)
class SiimAcrOptions(SplitOptions):
    """Options of SIIM-ACR; `patients` is a CSV file with columns ImageId and PatientID.

    Attributes:
      layout: which of the trees it is, see assets/downloads.toml.
    """

    layout: Layout = "dicom"

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, section="options")


class SiimAcr(official.OfficialBuilder):
    """SIIM-ACR: pneumothorax present or absent, each mask an annotation; nothing is said of other classes."""

    name = "siim_acr"
    OPTIONS = SiimAcrOptions
    EXPECTED = LAYOUTS["dicom"]

    @classmethod
    def expected(cls, options: SiimAcrOptions) -> tuple[Expected, ...]:
        """What the tree of a layout has."""
        return LAYOUTS[options.layout]

    @classmethod
    def planned(cls, root: Path, options: SiimAcrOptions, policy: Policy) -> Plan:
        """Reads the listing; an image that is missing, not labelled or labelled against sense is a drop."""
        listing = {"dicom_stage_2": _RLE_2, "png_masks": "stage_1_*_images.csv"}.get(options.layout, _RLE)
        drops, is_dicom = Drops(root / listing, policy), options.layout.startswith("dicom")
        images, unnamed = _images(root, drops, options.layout)
        drops.found += [Drop(0, file, "no labels", f"{file}: in no row of {listing}") for file in unnamed]
        note = f"{listing} names no patients: every image counts as one, so images of a patient may be in two splits"
        return plan_of(
            _cases(images, root, drops, options),
            root=root,
            options=options,
            drops=drops,
            known={*images, *(Path(file).stem for file in unnamed)},
            description="SIIM-ACR Pneumothorax Segmentation 2019: frontal X-rays with masks of pneumothorax.",
            notes=() if options.patients else (f'{note}; the option "patients" gives them',),
            encode=make_dicom if is_dicom else make_png,
            attributes=attributes.NAMES if is_dicom else (),
        )


def make_png(job: Job, *, root: Path, storing: Storing) -> Made:
    """`xray.make`, but run lengths need the image in the size that they were made for."""
    if any(mask.rle for mask in job.payload.masks):
        try:
            with caught(), Pillow.open(root / job.file) as image:
                size = image.size
        except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError):
            return make(job, root=root, storing=storing)  # which says what is wrong
        if size != (_RLE_SIDE, _RLE_SIDE):
            said = f"run lengths count the pixels of {_RLE_SIDE} x {_RLE_SIDE}, the image has {size[0]} x {size[1]}"
            return Made(kind="unusable mask", reason=f"{root / job.file}: {said}")
    return make(job, root=root, storing=storing)


def _images(root: Path, drops: Drops, layout: Layout) -> tuple[dict[str, Image], list[str]]:
    """ImageId -> image, and the image files that no row names."""
    if layout == "png_masks":
        images = read_pngs(drops, root)
        named = {image.file for image in images.values()}
        files = [f"{PNG_IMAGES}/{path.name}" for path in files_of(root / PNG_IMAGES, "*.png")]
        return images, [file for file in files if file not in named]
    images = read_runs(drops)
    if layout == "png":
        return images, place_pngs(images, root=root)
    folders = files_of(root, "dicom-images-*" if layout == "dicom_stage_2" else "dicom-images-train")
    return images, place_dicoms(images, folders, root=root, drops=drops)


def _cases(images: Mapping[str, Image], root: Path, drops: Drops, options: SiimAcrOptions) -> list[Case]:
    patients = read_patients(root / options.patients) if options.patients else {}
    cases, pneumothorax = [], pathology_index("pneumothorax")
    for name, image in images.items():
        if not image.file:
            drops.add(image.row, name, "missing image", f"{name}: no image of this name in {root}")
        elif image.wrong:
            drops.add(image.row, image.file, *image.wrong)
        elif options.patients and not patients.get(name):
            raise InputError(f"{root / options.patients}: no PatientID of {name}; add it or leave the option out")
        else:
            xray = XRay(
                image_id=name,
                patient=patients.get(name, name),
                present=(pneumothorax,) if image.present else (),
                annotated=(pneumothorax,),
                has_labels=True,
                masks=image.masks,
            )
            cases.append(Case(image.row, image.file, xray))
    return cases
