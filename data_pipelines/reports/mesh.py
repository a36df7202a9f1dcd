"""The human MeSH codes of the IU X-Ray reports in our vocabulary: which codes mean which class and which area.

A code is a heading and qualifiers, "Opacity/lung/base/bilateral". The tables below were fixed from the list of
headings and from what the headings mean, before any score was computed. Choices:

  - A class is judged if a heading, or a heading with a qualifier, means what our class means. Our classes
    that the coders have no code for (process, finding, tip, fluid, collapse, ...) are not judged, nor are the two
    classes that mean "anything else".
  - Several headings can mean one class where our reader's dictionary has one word for them (airspace
    disease is opacity; osteophytes, spondylosis and arthritis are degenerative; bullae are emphysema; free and
    subcutaneous air are air). A pericardial effusion is an effusion, a hemopneumothorax both its parts.
  - "Borderline" cardiomegaly is class `borderline`; whether it is `cardiomegaly` too is left open by
    both vocabularies, so that class is not judged in such a report. Atherosclerosis is seen by its calcification but a
    report may name either without the other: `calcification` is not judged there.
  - GROUPS are ours where one code covers what we split (a catheter, a line, a PICC); they are shown and not counted.
"""

import functools
from collections.abc import Iterable, Mapping

# class -> headings that mean it, whatever their qualifiers.
HEADINGS = {
    "air": "Pneumoperitoneum|Subcutaneous Emphysema|Mediastinal Emphysema",
    "atelectasis": "Pulmonary Atelectasis",
    "calcification": "Calcinosis|Calcified Granuloma",
    "cardiomegaly": "Cardiomegaly",
    "chf": "Heart Failure",
    "congestion": "Pulmonary Congestion",
    "consolidation": "Consolidation",
    "deformity": "Deformity",
    "degenerative": "Osteophyte|Spondylosis|Arthritis",
    "density": "Density",
    "disease": "Granulomatous Disease|Pulmonary Disease, Chronic Obstructive|Lung Diseases, Interstitial",
    "edema": "Pulmonary Edema",
    "effusion": "Pleural Effusion|Pericardial Effusion|Hydropneumothorax|Hemopneumothorax|Hemothorax",
    "emphysema": "Emphysema|Pulmonary Emphysema|Bullous Emphysema|Blister",
    "fracture": "Fractures, Bone",
    "hernia": "Hernia, Hiatal|Hernia, Diaphragmatic",
    "hyperinflate": "Lung, Hyperlucent",
    "infiltrate": "Infiltrate",
    "loss": "Volume Loss",
    "marking": "Markings",
    "mass": "Mass",
    "nodule": "Nodule",
    "opacity": "Opacity|Airspace Disease",
    "pneumonia": "Pneumonia",
    "pneumothorax": "Pneumothorax|Hydropneumothorax|Hemopneumothorax",
    "pressure": "Hypertension, Pulmonary",
    "scar": "Cicatrix",
    "shift": "Shift",
    "stent": "Stents",
    "thicken": "Thickening",
    "tube": "Tube, Inserted",
}
# class -> {qualifier: headings that mean it with this qualifier}; "*" is any heading.
QUALIFIED = {
    "blunt": {"blunted": "Costophrenic Angle|Sulcus"},
    "borderline": {"borderline": "Cardiomegaly|Cardiac Shadow"},
    "cardiomegaly": {"enlarged": "Cardiac Shadow"},
    "degenerative": {"degenerative": "*"},
    "elevation": {"elevated": "Diaphragm"},
    "hyperinflate": {"hyperdistention": "Lung"},
    "low": {"hypoinflation": "Lung"},
    "obscure": {"obscured": "*"},
    "tortuous": {"tortuous": "Aorta|Aorta, Thoracic"},
}
# class -> {qualifier or "" for any: headings with which a report is not judged for this class}.
DOUBTFUL = {"cardiomegaly": {"borderline": "Cardiomegaly|Cardiac Shadow"}, "calcification": {"": "Atherosclerosis"}}
# Our classes -> {qualifier or "": headings} where one code covers several of ours.
GROUPS = {
    ("catheter", "line", "picc"): {"": "Catheters, Indwelling"},
    ("clip", "device", "hardware", "lead", "pacemaker", "wire"): {
        "": "Implanted Medical Device|Medical Device|Surgical Instruments|Sutures|Spinal Fusion"
    },
    ("dilation", "engorgement", "enlarge", "prominence", "widen"): {
        "enlarged": "Lung|Mediastinum|Aorta|Aorta, Thoracic|Pulmonary Artery|Heart Atria|Heart Ventricles|Lymph Nodes",
        "prominent": "Lung|Mediastinum|Aorta|Aorta, Thoracic|Pulmonary Artery|Heart|Cardiac Shadow|Epicardial Fat",
    },
}
CLASSES = tuple(sorted({*HEADINGS, *QUALIFIED}))
# The coders' words for a report without codes of its own: nothing to compare with.
NOT_CODED = frozenset({"no indexing"})

Code = tuple[str, frozenset[str]]


def parse_code(text: str) -> Code:
    """Heading and qualifiers of a code, in lower case.

    >>> parse_code("Opacity/lung/base/left")[0], sorted(parse_code("Opacity/lung/base/left")[1])
    ('opacity', ['base', 'left', 'lung'])
    """
    heading, *qualifiers = (" ".join(part.split()).lower() for part in text.split("/"))
    return heading, frozenset(qualifiers)


def _named(code: Code, table: Mapping[str, str]) -> bool:
    heading, qualifiers = code
    return any(
        (not qualifier or qualifier in qualifiers) and (headings == "*" or heading in headings.lower().split("|"))
        for qualifier, headings in table.items()
    )


@functools.lru_cache(maxsize=65536)
def code_classes(code: Code) -> frozenset[str]:
    """The classes of `CLASSES` that a code asserts."""
    found = {name for name, headings in HEADINGS.items() if _named(code, {"": headings})}
    found |= {name for name, table in QUALIFIED.items() if _named(code, table)}
    return frozenset(found - {name for name, table in DOUBTFUL.items() if _named(code, table)})


def asserted(codes: Iterable[Code]) -> set[str]:
    """The classes that a report's codes assert."""
    return set().union(*map(code_classes, codes))


def doubtful(codes: Iterable[Code]) -> set[str]:
    """The classes that a report with these codes is not judged for."""
    codes = list(codes)
    return {name for name, table in DOUBTFUL.items() if any(_named(code, table) for code in codes)} - asserted(codes)


def groups(codes: Iterable[Code]) -> set[tuple[str, ...]]:
    """The keys of `GROUPS` that a report's codes assert."""
    codes = list(codes)
    return {names for names, table in GROUPS.items() if any(_named(code, table) for code in codes)}
