"""The phrases of the phantom's reports. `{noun}` is a place, `{phrase}` a finding with its article."""

from typing import NamedTuple

SECTION_ORDERS = (
    ("devices", "heart", "lungs", "pleura", "bones", "summary"),
    ("heart", "lungs", "pleura", "bones", "devices", "summary"),
    ("lungs", "pleura", "heart", "bones", "devices", "summary"),
    ("devices", "lungs", "pleura", "heart", "bones", "summary"),
    ("summary", "lungs", "heart", "pleura", "devices", "bones"),
)

OPENINGS = (
    (),
    (),
    ("Frontal view of the chest.",),
    ("Single frontal radiograph of the chest.",),
    ("PA view of the chest was obtained.",),
    ("AP chest radiograph.",),
)

SECTION = {
    "effusion": "pleura", "pneumothorax": "pleura", "consolidation": "lungs", "opacity": "lungs",
    "pneumonia": "lungs", "edema": "lungs", "atelectasis": "lungs", "cardiomegaly": "heart",
    "nodule": "lungs", "mass": "lungs", "pacemaker": "devices", "lead": "devices", "tube": "devices",
    "picc": "devices", "fracture": "bones", "elevation": "lungs",
}  # fmt: skip

NOUNS = {
    "left_apical_lung": ("left apex", "left lung apex"),
    "right_apical_lung": ("right apex", "right lung apex"),
    "left_upper_lung": ("left upper lung", "left upper lung zone"),
    "right_upper_lung": ("right upper lung", "right upper lung zone"),
    "left_mid_lung": ("left mid lung", "left mid lung zone"),
    "right_mid_lung": ("right mid lung", "right mid lung zone"),
    "left_lower_lung": ("left lower lung", "left lung base", "left base"),
    "right_lower_lung": ("right lower lung", "right lung base", "right base"),
    "upper_left_lobe": ("left upper lobe", "left upper lobe", "lingula"),
    "lower_left_lobe": ("left lower lobe",),
    "upper_right_lobe": ("right upper lobe",),
    "middle_right_lobe": ("right middle lobe",),
    "lower_right_lobe": ("right lower lobe",),
    "lung_bases": ("lung bases",),
    "left_pleural": ("left pleural space",),
    "right_pleural": ("right pleural space",),
    "left_lung_unspec": ("left hemithorax", "left lung"),
    "right_lung_unspec": ("right hemithorax", "right lung"),
    "left_diaphragm": ("left hemidiaphragm",),
    "right_diaphragm": ("right hemidiaphragm",),
    "svc": ("SVC",),
    "cavoatrial_junction": ("cavoatrial junction",),
    "right_atrium": ("right atrium",),
    "right_ventricle": ("right ventricle",),
}

ADJECTIVES = {
    "left_apical_lung": ("left apical",),
    "right_apical_lung": ("right apical",),
    "left_lower_lung": ("left basilar", "left basal"),
    "right_lower_lung": ("right basilar", "right basal"),
    "left_upper_lung": ("left upper lung",),
    "right_upper_lung": ("right upper lung",),
    "left_mid_lung": ("left mid lung",),
    "right_mid_lung": ("right mid lung",),
    "upper_left_lobe": ("left upper lobe", "lingular"),
    "lower_left_lobe": ("left lower lobe",),
    "upper_right_lobe": ("right upper lobe",),
    "middle_right_lobe": ("right middle lobe",),
    "lower_right_lobe": ("right lower lobe",),
    "lung_bases": ("bibasilar",),
    "left_pleural": ("left pleural",),
    "right_pleural": ("right pleural",),
}

PHRASES = {  # (article and qualifier, noun): an adjective of place may stand between them
    "effusion": (("a small", "effusion"), ("a moderate", "effusion"), ("an", "effusion"), ("a layering", "effusion")),
    "pneumothorax": (("a small", "pneumothorax"), ("a moderate", "pneumothorax"), ("a", "pneumothorax")),
    "consolidation": (
        ("dense", "consolidation"),
        ("focal", "consolidation"),
        ("a", "consolidation"),
        ("an area of", "consolidation"),
        ("confluent", "consolidation"),
    ),
    "opacity": (
        ("a hazy", "opacity"),
        ("a faint", "opacity"),
        ("an ill-defined", "opacity"),
        ("hazy", "opacities"),
        ("a subtle", "opacity"),
        ("ground-glass", "opacity"),
    ),
    "pneumonia": (("patchy", "pneumonia"), ("multifocal", "pneumonia"), ("", "pneumonia"), ("a patchy", "pneumonia")),
    "atelectasis": (
        ("linear", "atelectasis"),
        ("mild", "atelectasis"),
        ("plate-like", "atelectasis"),
        ("subsegmental", "atelectasis"),
        ("", "atelectasis"),
        ("bands of", "atelectasis"),
    ),
    "nodule": (
        ("a small", "nodule"),
        ("a solitary", "nodule"),
        ("a round", "nodule"),
        ("a well-defined", "nodule"),
        ("a 2 cm", "nodule"),
    ),
    "mass": (("a large", "mass"), ("a rounded", "mass"), ("a lobulated", "mass"), ("a 4 cm", "mass"), ("a", "mass")),
}

FRAMES = (
    "there is {phrase} in the {noun}.",
    "{phrase} is seen in the {noun}.",
    "{phrase} in the {noun}.",
    "in the {noun}, there is {phrase}.",
    "the {noun} shows {phrase}.",
    "{phrase} is again noted in the {noun}.",
    "{phrase} is present in the {noun}.",
)
FRAMES_BARE = (
    "there is {phrase}.",
    "{phrase} is seen.",
    "{phrase} is noted.",
    "{phrase}.",
    "{phrase} is present.",
    "the radiograph demonstrates {phrase}.",
)

WHOLE = {  # findings whose wording depends on the place ("" = any place)
    "edema": {
        "pulmonary": (
            "there is mild pulmonary edema.",
            "moderate pulmonary edema is present.",
            "pulmonary edema is seen.",
            "pulmonary edema.",
        ),
        "interstitium": (
            "there is interstitial edema.",
            "mild interstitial edema is present.",
            "interstitial edema is seen.",
            "moderate interstitial edema.",
        ),
    },
    "cardiomegaly": {
        "": (
            "the heart shows moderate cardiomegaly.",
            "the cardiac silhouette demonstrates mild cardiomegaly.",
            "the cardiac silhouette shows cardiomegaly.",
        )
    },
    "pacemaker": {
        "": (
            "a pacemaker overlies the {noun}.",
            "a pacemaker projects over the {noun}.",
            "there is a pacemaker over the {noun}.",
            "a dual-chamber pacemaker is seen over the {noun}.",
        )
    },
    "lead": {
        "": (
            "a lead terminates in the {noun}.",
            "a single lead ends in the {noun}.",
            "a transvenous lead is seen in the {noun}.",
        )
    },
    "tube": {
        "trachea": (
            "an endotracheal tube terminates in the trachea.",
            "the endotracheal tube ends in the mid trachea.",
            "an endotracheal tube is present in the trachea.",
        ),
        "stomach": (
            "an enteric tube terminates in the stomach.",
            "a nasogastric tube extends into the stomach.",
            "a feeding tube ends in the stomach.",
        ),
    },
    "picc": {"": ("a PICC terminates at the {noun}.", "a PICC ends at the {noun}.", "the PICC extends to the {noun}.")},
    "fracture": {
        "rib": (
            "there is a fracture of the {which} rib.",
            "a displaced {which} rib fracture is seen.",
            "a {which} rib fracture is present.",
            "fracture of the {which} rib.",
        ),
        "clavicle": (
            "there is a fracture of the {which} clavicle.",
            "a displaced {which} clavicle fracture is seen.",
            "fracture of the {which} clavicle.",
        ),
    },
    "elevation": {
        "": (
            "the {noun} is elevated.",
            "there is elevation of the {noun}.",
            "elevation of the {noun} is noted.",
            "there is mild elevation of the {noun}.",
        )
    },
}

TWO_LEADS = (
    "Leads terminate in the right atrium and right ventricle.",
    "Two leads end in the right atrium and the right ventricle.",
    "There are leads in the right atrium and right ventricle.",
)
BARE_CARDIOMEGALY = (
    "There is mild cardiomegaly.",
    "Moderate cardiomegaly is present.",
    "Cardiomegaly is noted.",
    "Cardiomegaly.",
)

DENIED = {  # pathologies that one sentence may deny together, by section
    "pleura": ("effusion", "pneumothorax", "consolidation"),
    "lungs": ("opacity", "pneumonia", "nodule", "mass", "atelectasis"),
    "heart": ("edema", "cardiomegaly"),
    "devices": ("pacemaker", "lead", "tube", "picc"),
    "bones": ("fracture",),
    "summary": ("elevation",),
}
DENIAL_RATE = {
    "effusion": 0.5,
    "pneumothorax": 0.5,
    "consolidation": 0.5,
    "opacity": 0.45,
    "pneumonia": 0.45,
    "nodule": 0.45,
    "mass": 0.45,
    "atelectasis": 0.4,
    "edema": 0.45,
    "cardiomegaly": 0.35,
    "pacemaker": 0.4,
    "lead": 0.35,
    "tube": 0.4,
    "picc": 0.4,
    "fracture": 0.45,
    "elevation": 0.35,
}
DENIAL_TERMS = {  # (words, anatomy of the triplet)
    "effusion": (("pleural effusion", "pleural_unspec"),),
    "pneumothorax": (("pneumothorax", "unspecified"),),
    "consolidation": (("focal consolidation", "unspecified"), ("consolidation", "unspecified")),
    "opacity": (("focal opacity", "unspecified"), ("opacity", "unspecified")),
    "pneumonia": (("pneumonia", "unspecified"),),
    "nodule": (("nodule", "unspecified"), ("suspicious nodule", "unspecified")),
    "mass": (("mass", "unspecified"),),
    "atelectasis": (("atelectasis", "unspecified"),),
    "edema": (("pulmonary edema", "pulmonary"),),
    "cardiomegaly": (("cardiomegaly", "unspecified"),),
    "pacemaker": (("pacemaker", "unspecified"),),
    "lead": (("lead", "unspecified"), ("transvenous lead", "unspecified")),
    "tube": (("endotracheal tube", "unspecified"), ("tube", "unspecified")),
    "picc": (("PICC", "unspecified"),),
    "fracture": (("acute fracture", "unspecified"), ("fracture", "unspecified"), ("rib fracture", "rib")),
    "elevation": (("elevation of the hemidiaphragms", "diaphragm_unspec"),),
}
DENIAL_FRAMES = (
    "no {list}.",
    "no {list}.",
    "there is no {list}.",
    "no evidence of {list}.",
    "there is no evidence of {list}.",
    "no {list} is seen.",
    "no {list} is identified.",
)

SIDED = {name: side for name in NOUNS for side in ("left", "right") if side in name.split("_")}
DENIED_SOMEWHERE = (
    "effusion",
    "pneumothorax",
    "consolidation",
    "opacity",
    "pneumonia",
    "nodule",
    "mass",
    "atelectasis",
    "elevation",
)
_THERE = ("there is no {name} in the {{noun}}.", "no {name} in the {{noun}}.", "no {name} is seen in the {{noun}}.")
DENIED_THERE = {
    name: tuple(text.format(name=name) for text in _THERE)
    for name in ("consolidation", "opacity", "pneumonia", "nodule", "mass", "atelectasis")
} | {
    "effusion": ("there is no {side} pleural effusion.", "no {side} pleural effusion."),
    "pneumothorax": (
        "no {side} apical pneumothorax.",
        "there is no {side} apical pneumothorax.",
        "no pneumothorax at the {noun}.",
    ),
    "elevation": ("the {noun} is not elevated.", "no elevation of the {noun}."),
}

HEDGES = (  # uncertain remarks on an opacity, and the pathologies they name
    ("This may represent atelectasis.", ("atelectasis",)),
    ("This could represent early pneumonia.", ("pneumonia",)),
    ("Pneumonia cannot be excluded.", ("pneumonia",)),
    ("Possible atelectasis or pneumonia.", ("atelectasis", "pneumonia")),
)
LAST_RESORT = ("The mediastinum is unremarkable.", (("mediastinal", "unremarkable", True),))


class Remark(NamedTuple):
    """A statement of normality, made at `rate` unless one of these pathologies is drawn."""

    section: str
    rate: float
    unless: frozenset[str]
    says: tuple[tuple[str, tuple[str, str, bool]], ...]


_AIRSPACE = frozenset(name for name, section in SECTION.items() if section in ("lungs", "pleura"))
REMARKS = (
    Remark("heart", 0.45, frozenset({"cardiomegaly"}), (
        ("Heart size is normal.", ("heart_size", "normal", True)),
        ("The heart is normal in size.", ("heart_size", "normal", True)),
        ("The cardiac silhouette is unremarkable.", ("heart_size", "unremarkable", True)),
        ("The cardiac silhouette is normal.", ("heart_size", "normal", True)),
    )),
    Remark("heart", 0.3, frozenset({"cardiomegaly"}), (
        ("The mediastinal contours are normal.", ("mediastinal", "normal", True)),
        ("The mediastinum is unremarkable.", ("mediastinal", "unremarkable", True)),
        ("Mediastinal contours are unremarkable.", ("mediastinal", "unremarkable", True)),
    )),
    Remark("lungs", 0.6, _AIRSPACE, (
        ("The lungs are clear.", ("lung_volumes", "clear", True)),
        ("Lungs are clear.", ("lung_volumes", "clear", True)),
        ("The lungs are well expanded.", ("lung_volumes", "expand", True)),
    )),
    Remark("pleura", 0.2, frozenset({"effusion"}), (
        ("The costophrenic angles are sharp.", ("costophrenic_unspec", "sharp", True)),
        ("Costophrenic angles are clear.", ("costophrenic_unspec", "clear", True)),
    )),
    Remark("bones", 0.2, frozenset({"fracture"}), (
        ("The visualized ribs are intact.", ("rib", "intact", True)),
        ("Ribs are intact.", ("rib", "intact", True)),
    )),
    Remark("summary", 0.5, frozenset(SECTION), (
        ("No acute cardiopulmonary process.", ("cardiopulmonary", "process", False)),
        ("No acute cardiopulmonary abnormality.", ("cardiopulmonary", "abnormality", False)),
    )),
)  # fmt: skip
