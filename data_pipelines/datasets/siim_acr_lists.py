"""The listings and folders of a SIIM-ACR download -> its images and masks; reads no image."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from data_pipelines.datasets.shared.cases import Drops
from data_pipelines.datasets.shared.listings import read_columns
from data_pipelines.datasets.shared.xray import Mask
from data_pipelines.images import NO_MASK, files_of
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import pathology_index

PNG_IMAGES, PNG_MASKS = "png_images", "png_masks"
STAGE_1 = ("stage_1_train_images.csv", "stage_1_test_images.csv")


@dataclasses.dataclass
class Image:
    """An image that the listing names, first in `row`, as often as it has masks.

    `runs` are its run lengths, one string a mask, `mask` a file of the redistribution that has masks as PNG, `present`
    whether there is a pneumothorax; `wrong` is (kind, reason) if it is of no use.
    """

    row: int
    file: str = ""
    present: bool = False
    runs: list[str] = dataclasses.field(default_factory=list)
    mask: str = ""
    wrong: tuple[str, str] | None = None

    @property
    def masks(self) -> tuple[Mask, ...]:
        pneumothorax = (pathology_index("pneumothorax"),)
        files = [Mask(pneumothorax, file=self.mask)] if self.mask else []
        return (*files, *(Mask(pneumothorax, rle=runs) for runs in self.runs))


def read_runs(drops: Drops) -> dict[str, Image]:
    """ImageId -> what train-rle.csv says: a row a mask, "-1" for none. A row that says it again is a drop."""
    images: dict[str, Image] = {}
    for number, (name, runs) in read_columns(drops.listing, ("ImageId", "EncodedPixels")):
        if not name:
            raise InputError(f"{drops.listing}: row {number}: no ImageId")
        image = images.setdefault(name, Image(number, present=runs != NO_MASK))
        if runs == "":
            image.wrong = image.wrong or ("no labels", f"row {number} has no EncodedPixels")
        elif image.present != (runs != NO_MASK):
            said = f"one of row {image.row} and row {number} has a mask, the other {NO_MASK}"
            image.wrong = image.wrong or ("contradictory labels", said)
        elif image.row != number and (runs == NO_MASK or runs in image.runs):
            drops.add(number, name, "duplicate id", f"{name} is in row {image.row} already")
        elif runs != NO_MASK:
            image.runs.append(runs)
    return images


def place_dicoms(images: dict[str, Image], folders: Iterable[Path], *, root: Path, drops: Drops) -> list[str]:
    """Fills in the files <SOPInstanceUID>.dcm of these folders; returns those that no row names, in order."""
    files: dict[str, str] = {}
    for path in sorted(path for folder in folders for path in files_of(folder, "*/*/*.dcm")):
        file = str(path.relative_to(root))
        if path.stem in files:
            drops.add(0, file, "duplicate id", f"{file}: the same id as {files[path.stem]}")
        files.setdefault(path.stem, file)
    return _place(images, files)


def place_pngs(images: dict[str, Image], *, root: Path) -> list[str]:
    """Fills in the files of png_images: <ImageId>.png, or as the two CSV files of the redistribution call them."""
    there = {path.name for path in files_of(root / PNG_IMAGES, "*.png")}
    names = {name: file for _, _, (name, file, _) in _stage_1_rows(root, required=False)}
    names = names or {name.removesuffix(".png"): name for name in there}
    return _place(images, {image: f"{PNG_IMAGES}/{name}" for image, name in names.items() if name in there})


def read_pngs(drops: Drops, root: Path) -> dict[str, Image]:
    """ImageId -> what the redistribution with PNG masks says.

    The mask of an image with has_pneumo 0 is not looked at.
    """
    images: dict[str, Image] = {}
    for table, number, (name, file, has) in _stage_1_rows(root, required=True):
        if not name or not file or has not in ("0", "1", ""):
            said = f"ImageId {name!r}, new_filename {file!r}, has_pneumo {has!r}"
            raise InputError(f"{root / table}: row {number}: {said}; expected two names and 0 or 1")
        file = f"{PNG_IMAGES}/{file}"
        if name in images:
            drops.add(
                number, file, "duplicate id", f"{table}: row {number}: {name} is in row {images[name].row} already"
            )
            continue
        mask = file.replace(PNG_IMAGES, PNG_MASKS, 1) if has == "1" else ""
        image = images[name] = Image(number, file if (root / file).is_file() else "", has == "1", mask=mask)
        if has == "":
            image.wrong = ("no labels", f"{table}: row {number} has no has_pneumo")
        elif mask and not (root / mask).is_file():
            image.wrong = ("missing mask", f"{table}: row {number}: {root / mask}: not there")
    return images


def read_patients(path: Path) -> dict[str, str]:
    """ImageId -> PatientID from a CSV file with these two columns, such as one made from the DICOM headers."""
    return {image: patient for _, (image, patient) in read_columns(path, ("ImageId", "PatientID"))}


def _place(images: dict[str, Image], files: dict[str, str]) -> list[str]:
    for name, image in images.items():
        image.file = files.get(name, "")
    return [file for name, file in files.items() if name not in images]


def _stage_1_rows(root: Path, *, required: bool) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for table in STAGE_1:
        if required or (root / table).exists():
            for number, cells in read_columns(root / table, ("ImageId", "new_filename", "has_pneumo")):
                yield table, number, cells
