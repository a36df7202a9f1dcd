"""The built data sets below a data root, and the text tables that come with the package: can they be read?"""

import json
from pathlib import Path

from medslip_jax.doctor.findings import Section, in_one_line


def data(data_dir: Path, *, asked_for: bool) -> Section:
    """Every built data set with its splits; the first and the last record of each are read.

    Args:
      data_dir: `--out` of `medslip data build`.
      asked_for: whether a user named it, who then is told when it is not there.
    """
    section = Section("data")
    section.facts["root"] = str(data_dir.absolute())
    files = sorted([*data_dir.glob("*/dataset_info.json"), *data_dir.glob("*/*/dataset_info.json")])
    example = f"medslip data build phantom --out {data_dir}"
    if not files:
        section.facts["built"] = f"nothing; {example}"
        if asked_for and not data_dir.is_dir():
            section.complain(f"--data_dir {data_dir}: no such folder", next_step=f"give another one, or: {example}")
        return section
    for file in files:
        name = str(file.parent.relative_to(data_dir))
        try:
            section.facts[name] = images_of(file)
        # Whatever a damaged file makes the readers raise; that it is damaged is what is to be said.
        except Exception as error:
            build = f"medslip data build {name.split('/')[0]} --out {data_dir} --overwrite, with its other flags"
            section.facts[name] = "damaged"
            section.complain(f"{file.parent}: cannot be read ({in_one_line(error)})", next_step=build)
    return section


def images_of(info_file: Path) -> dict[str, int]:
    """{split: images} of a built data set; raises whatever its readers raise if a split cannot be read."""
    # TFDS and grain: seconds, which the rest of the report need not wait for.
    from data_pipelines.datasets import RecordSource

    splits = [split["name"] for split in json.loads(info_file.read_bytes())["splits"]]
    found = {}
    for split in splits:
        source = RecordSource(info_file.parent, split)
        for index in {0, len(source) - 1} if len(source) else ():
            source[index]
        found[split] = len(source)
    return found


def text_tables() -> Section:
    """The shipped pair."""
    section = Section("text tables")
    try:
        from medslip_jax.text.books import load_books, shipped_books

        books = load_books()
    # An incomplete installation, in whatever way.
    except Exception as error:
        step = "pip install --force-reinstall --no-deps medslip_jax"
        section.complain(f"the shipped text tables cannot be read ({in_one_line(error)})", next_step=step)
        return section
    section.facts["file"] = str(shipped_books())
    section.facts["rows"] = {"pathologies": len(books.pathology), "anatomies": len(books.anatomy), "wide": books.width}
    section.facts["encoder"] = str(books.provenance.get("encoder", "unknown"))
    return section
