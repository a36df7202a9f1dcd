"""TFDS builder of the RSNA Pneumonia Detection Challenge (2018), stage 2: DICOM images and boxes.

Counts: the challenge's data page on Kaggle; Shih et al., Augmenting the National Institutes of Health Chest Radiograph
Dataset with Expert Annotations of Possible Pneumonia, 2019.
"""

from collections.abc import Mapping
from pathlib import Path

from data_pipelines.datasets.building.plan import Drop, Plan, Policy
from data_pipelines.datasets.rsna_lists import IMAGES, Labelled, compare_classes, read_labels, read_patients
from data_pipelines.datasets.shared import attributes, official
from data_pipelines.datasets.shared.cases import Case, Drops, SplitOptions, plan_of
from data_pipelines.datasets.shared.xray import XRay, make_dicom
from data_pipelines.images import files_of
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import pathology_index

LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPINGS = "pneumonia-challenge-dataset-mappings_2018.json"
_NOTE = (
    f"{LABELS}: patientId names an image, and images of one NIH patient may be in two splits; "
    f'the option "patients": "{MAPPINGS}" keeps them together'
)


class RsnaOptions(SplitOptions):
    """Options of RSNA: those of `SplitOptions`.

    `patients` is RSNA's JSON file of which NIH image each one is: with it a patient is one of NIH ChestX-ray14. The
    released histogram equalisation is `image={"equalise": "released_rsna"}`.
    """


class Rsna(official.OfficialBuilder):
    """RSNA: pneumonia present (Target 1) or absent, its boxes as annotations; nothing is said of other classes."""

    name = "rsna"
    OPTIONS = RsnaOptions
    EXPECTED = (
        official.Expected(LABELS, what="labels and boxes, Kaggle"),
        official.Expected(f"{IMAGES}/*.dcm", 26_684, "labelled images, Kaggle"),
        official.Expected(CLASSES, what="three classes, Kaggle", required=False),
        official.Expected("stage_2_test_images/*.dcm", 3_000, "not used, Kaggle", required=False),
        official.Expected(MAPPINGS, what="NIH's name of each image, rsna.org", required=False),
    )

    @classmethod
    def planned(cls, root: Path, options: RsnaOptions, policy: Policy) -> Plan:
        """Reads the labels; an image that is missing, not labelled or labelled against sense is a drop."""
        drops = Drops(root / LABELS, policy)
        labelled = read_labels(drops, partial=options.partial)
        compare_classes(root / CLASSES, labelled)
        there = {path.stem for path in files_of(root / IMAGES, "*.dcm")}
        drops.found += [
            Drop(0, f"{IMAGES}/{image}.dcm", "no labels", f"{image} is in no row of {LABELS}")
            for image in sorted(there - set(labelled))
        ]
        return plan_of(
            _cases(labelled, there, drops, options),
            root=root,
            options=options,
            drops=drops,
            known=there | set(labelled),
            description="RSNA Pneumonia Detection Challenge 2018, stage 2: frontal X-rays with boxes of pneumonia.",
            notes=() if options.patients else (_NOTE,),
            encode=make_dicom,
            attributes=attributes.NAMES,
        )


def _cases(labelled: Mapping[str, Labelled], there: set[str], drops: Drops, options: RsnaOptions) -> list[Case]:
    root = drops.listing.parent
    patients = read_patients(root / options.patients) if options.patients else {}
    cases, pneumonia = [], pathology_index("pneumonia")
    for image, said in labelled.items():
        file = f"{IMAGES}/{image}.dcm"
        if image not in there:
            drops.add(said.row, file, "missing image", f"{root / file}: not there")
        elif said.wrong:
            drops.add(said.row, file, *said.wrong)
        elif options.patients and image not in patients:
            raise InputError(f"{root / options.patients}: has no entry for {image}; get it again or leave it out")
        else:
            xray = XRay(
                image_id=image,
                patient=patients.get(image, image),
                present=(pneumonia,) if said.target == "1" else (),
                annotated=(pneumonia,),
                has_labels=True,
                boxes=tuple(said.boxes),
            )
            cases.append(Case(said.row, file, xray))
    return cases
