import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import radgraph
from data_pipelines.radgraph import matrices
from data_pipelines.reports import extract, terms
from data_pipelines.reports.sections import read_sections
from data_pipelines.reports.tokens import normal, tag, tokenise

FIELDS = "unspecified effusion -, unspecified pneumothorax -, heart_size cardiomegaly +"
# (text, "anatomy pathology sign" ...): + present, - absent, ? uncertain; nothing else may be found.
TABLE = [
    ("Small left pleural effusion.", "left_pleural effusion +"),
    ("Left effusion.", "left_pleural effusion +"),
    ("Pleural effusion on the left.", "left_pleural effusion +"),
    ("The left lung shows an effusion.", "left_pleural effusion +"),
    ("Small effusion at the right base.", "right_lower_lung effusion +"),
    ("Pleural fluid is seen on the right.", "right_pleural effusion +"),
    ("Bilateral pleural effusions.", "left_pleural effusion +, right_pleural effusion +"),
    ("Left and right pleural effusions.", "left_pleural effusion +, right_pleural effusion +"),
    ("A moderate left hydropneumothorax.", "left_pleural pneumothorax +"),
    ("No pleural effusion or pneumothorax.", "pleural_unspec effusion -, unspecified pneumothorax -"),
    (
        "No focal consolidation, effusion, or pneumothorax.",
        "unspecified consolidation -, unspecified effusion -, unspecified pneumothorax -",
    ),
    ("Neither effusion nor edema is present.", "unspecified effusion -, unspecified edema -"),
    ("Lungs are free of consolidation or mass.", "lung_volumes consolidation -, lung_volumes mass -"),
    ("Negative for pneumothorax.", "unspecified pneumothorax -"),
    ("Pneumothorax is not seen.", "unspecified pneumothorax -"),
    ("Pneumothorax has been ruled out.", "unspecified pneumothorax -"),
    ("The right pneumothorax has resolved.", "right_pleural pneumothorax -"),
    ("Interval resolution of the left pneumothorax.", "left_pleural pneumothorax -"),
    ("The effusion is no longer present.", "unspecified effusion -"),
    ("No displaced rib fractures are demonstrated.", "rib fracture -"),
    ("No opacity to suggest pneumonia.", "unspecified opacity -, unspecified pneumonia -"),
    ("The mediastinum is not widened.", "mediastinal widen -"),
    ("No change in the right effusion.", "right_pleural effusion +"),
    ("No significant interval change in the left lower lobe opacity.", "lower_left_lobe opacity +"),
    ("The left effusion is not increased.", "left_pleural effusion +"),
    ("No effusion, the heart is enlarged.", "unspecified effusion -, heart_size cardiomegaly +"),
    ("No effusion but mild cardiomegaly.", "unspecified effusion -, unspecified cardiomegaly +"),
    ("No effusion, mild cardiomegaly.", "unspecified effusion -, unspecified cardiomegaly +"),
    ("No pneumothorax with small left effusion.", "unspecified pneumothorax -, left_pleural effusion +"),
    (
        "There is no left effusion, however a right effusion is present.",
        "left_pleural effusion -, right_pleural effusion +",
    ),
    ("Possible left lower lobe pneumonia.", "lower_left_lobe pneumonia ?"),
    ("Pneumonia cannot be excluded.", "unspecified pneumonia ?"),
    ("Cannot exclude pneumonia.", "unspecified pneumonia ?"),
    (
        "Opacity may represent atelectasis versus pneumonia.",
        "unspecified opacity +, unspecified atelectasis ?, unspecified pneumonia ?",
    ),
    ("Consolidation concerning for pneumonia.", "unspecified consolidation +, unspecified pneumonia ?"),
    ("Recommend CT to exclude a mass.", "unspecified mass ?"),
    ("Likely left basilar atelectasis.", "left_lower_lung atelectasis +"),
    ("Atelectasis or pneumonia.", "unspecified atelectasis ?, unspecified pneumonia ?"),
    ("Opacity in the right lower lobe.", "lower_right_lobe opacity +"),
    ("In the left upper lobe there is a nodule.", "upper_left_lobe nodule +"),
    ("Right basilar atelectasis.", "right_lower_lung atelectasis +"),
    ("Bibasilar atelectasis.", "lung_bases atelectasis +"),
    ("Left apical pneumothorax.", "left_apical_lung pneumothorax +"),
    ("A mass in the left mid lung zone.", "left_mid_lung mass +"),
    ("Hazy opacity at the base of the left lung.", "left_lower_lung opacity +"),
    (
        "Opacities in the right middle and lower lobes.",
        "middle_right_lobe opacity +, lower_right_lobe opacity +",
    ),
    ("Bilateral opacities.", "left_lung_unspec opacity +, right_lung_unspec opacity +"),
    ("Consolidation in the lingula.", "upper_left_lobe consolidation +"),
    ("Middle lobe collapse.", "middle_right_lobe collapse +"),
    ("Bilateral perihilar opacities.", "left_hilar opacity +, right_hilar opacity +"),
    ("Retrocardiac opacity.", "retrocardiac opacity +"),
    ("Elevation of the right hemidiaphragm.", "right_diaphragm elevation +"),
    ("The left hemidiaphragm is elevated.", "left_diaphragm elevation +"),
    ("Blunting of the left costophrenic angle.", "left_costophrenic blunt +"),
    ("The heart is enlarged.", "heart_size cardiomegaly +"),
    ("Cardiac enlargement.", "heart_size cardiomegaly +"),
    ("Enlarged cardiac silhouette with clear lungs.", "heart_size cardiomegaly +, lung_volumes clear +"),
    ("The aorta is tortuous and calcified.", "aorta tortuous +, aorta calcification +"),
    ("Heart size and mediastinal contours are normal.", "heart_size normal +, mediastinal normal +"),
    ("The cardiomediastinal silhouette is unremarkable.", "mediastinal unremarkable +"),
    ("Heart size within normal limits.", "heart_size normal +"),
    ("The lungs are clear.", "lung_volumes clear +"),
    ("Lungs: Clear.", "lung_volumes clear +"),
    ("Low lung volumes.", "lung_volumes low +"),
    ("Pulmonary vascular congestion.", "pulmonary congestion +"),
    ("Mild interstitial edema.", "interstitium edema +"),
    ("Fracture of the left fifth rib.", "rib fracture +"),
    ("Healed fracture of the right clavicle.", "clavicle fracture +"),
    ("Degenerative changes of the thoracic spine.", "spine degenerative +"),
    ("No acute cardiopulmonary process.", "cardiopulmonary process -"),
    ("Patchy airspace disease in the right upper lobe.", "upper_right_lobe opacity +"),
    ("Patchy infiltrates and ground-glass opacification.", "unspecified infiltrate +, unspecified opacity +"),
    ("Calcified granuloma.", "unspecified calcification +, unspecified tail_abnorm_obs +"),
    ("Leads in the right atrium and right ventricle.", "right_atrium lead +, right_ventricle lead +"),
    ("An endotracheal tube ends in the trachea.", "trachea tube +"),
    ("Normal lung markings.", "unspecified normal +"),
    ("Chest tube has been removed.", "unspecified tube -"),
    ("Clear lungs w/o effusion.", "lung_volumes clear +, unspecified effusion -"),
    ("Opacity, r/o pneumonia.", "unspecified opacity +, unspecified pneumonia ?"),
    ("Left lower lobe opacity, cannot exclude a mass.", "lower_left_lobe opacity +, unspecified mass ?"),
    ("Atelectasis vs. pneumonia.", "unspecified atelectasis ?, unspecified pneumonia ?"),
    ("Atelectasis and/or pneumonia.", "unspecified atelectasis ?, unspecified pneumonia ?"),
    (
        "No consolidation, large effusion, pneumothorax.",
        "unspecified consolidation -, unspecified effusion -, unspecified pneumothorax -",
    ),
    (
        "No consolidation, small effusion, pneumothorax.",
        "unspecified consolidation -, unspecified effusion -, unspecified pneumothorax -",
    ),
    (
        "The lungs are clear without focal consolidation, large effusion, pneumothorax; mild edema.",
        "lung_volumes clear +, lung_volumes consolidation -, pleural_unspec effusion -, pleural_unspec pneumothorax -,"
        " unspecified edema +",
    ),
    ("No edema, severe emphysema.", "unspecified edema -, unspecified emphysema -"),
    (
        "No effusion, mild cardiomegaly and tortuous aorta.",
        "unspecified effusion -, unspecified cardiomegaly +, aorta tortuous +",
    ),
    ("Effusion: None.", "unspecified effusion -"),
    ("Effusion: none seen.", "unspecified effusion -"),
    ("Effusion, none.", "unspecified effusion -"),
    ("Pneumothorax - none.", "unspecified pneumothorax -"),
    ("Pneumothorax: no.", "unspecified pneumothorax -"),
    ("Effusion: None\nPneumothorax: No\nHeart: Enlarged", FIELDS),
    ("Effusion - none, pneumothorax - none.", "unspecified effusion -, unspecified pneumothorax -"),
    ("Rib fractures on the left, none on the right.", "rib fracture +"),
    ("Left effusion, none on the right.", "left_pleural effusion +, right_pleural effusion -"),
    (
        "Increased opacity in the left lower lobe obscuring the left hemidiaphragm.",
        "lower_left_lobe opacity +, left_diaphragm obscure +",
    ),
    (
        "Opacity in the left lower lobe silhouetting the heart border.",
        "lower_left_lobe opacity +, heart_border obscure +",
    ),
    ("Effusion blunting the left costophrenic angle.", "unspecified effusion +, left_costophrenic blunt +"),
    ("Pneumonia is less likely.", "unspecified pneumonia ?"),
    ("Pneumonia is less likely than edema.", "unspecified pneumonia ?, unspecified edema ?"),
    ("Pneumonia is not likely.", "unspecified pneumonia ?"),
    ("Pneumonia is felt unlikely.", "unspecified pneumonia ?"),
    ("Pneumonia unlikely.", "unspecified pneumonia ?"),
    ("There is low suspicion for pneumonia.", "unspecified pneumonia ?"),
    ("Right effusion has almost completely resolved.", "right_pleural effusion +"),
    ("Near complete resolution of the right effusion.", "right_pleural effusion +"),
    ("The right effusion has not resolved.", "right_pleural effusion +"),
    ("The nodule near the left hilum has resolved.", "left_hilar nodule -"),
    ("Follow up to ensure resolution of the nodule.", "unspecified nodule ?"),
    ("Interval clearing of left lower lobe consolidation.", "lower_left_lobe consolidation -"),
    ("The nodule is not well visualized.", "unspecified nodule ?"),
    ("The nodule cannot be seen.", "unspecified nodule ?"),
    ("Unable to assess the right effusion.", "right_pleural effusion ?"),
    ("It is impossible to judge the nodule.", "unspecified nodule ?"),
    ("RUL opacity.", "upper_right_lobe opacity +"),
    ("RML atelectasis.", "middle_right_lobe atelectasis +"),
    ("Consolidation in the RLL.", "lower_right_lobe consolidation +"),
    ("LUL nodule and LLL scarring.", "upper_left_lobe nodule +, lower_left_lobe scar +"),
    (
        "Effusion is present on the right but not on the left.",
        "right_pleural effusion +, left_pleural effusion -",
    ),
    ("Right but not left pleural effusion.", "right_pleural effusion +, left_pleural effusion -"),
    ("No right but small left effusion.", "right_pleural effusion -, left_pleural effusion +"),
    (
        "Opacity in the left lower lobe but not in the right.",
        "lower_left_lobe opacity +, lower_right_lobe opacity -",
    ),
    ("Cardiac silhouette, which remains enlarged.", "heart_size cardiomegaly +"),
    ("Flattening of the diaphragm.", "diaphragm_unspec tail_abnorm_obs +"),
    ("Dr. Smith was notified of the pneumothorax.", "unspecified pneumothorax ?"),
    ("Atelectasis versus pneumonia at the left base.", "left_lower_lung atelectasis ?, left_lower_lung pneumonia ?"),
    ("Patient with hematological malignancy.", ""),
    ("No specific features to suggest pneumonia.", "unspecified pneumonia -"),
    ("Unchanged since the prior examination.", ""),
    ("The patient has increased work of breathing.", ""),
]
SIGNS = {"OBS-DP": "+", "OBS-DA": "-", "OBS-U": "?"}


def found(text):
    entities = radgraph.read_entities(extract(text), key="report")
    return {
        f"{matrices.landmark(row.anatomy)} {matrices.observation_class(row.lemma)} {SIGNS[row.label]}"
        for row in matrices.rows(entities)
    }


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_sentences(text, expected):
    assert found(text) == set(filter(None, expected.split(", ")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INDICATION: Pneumonia? COMPARISON: Effusion in 2010. FINDINGS: No mass.", {"unspecified mass -"}),
        ("HISTORY: fracture.\n\nThere is edema.", {"unspecified edema +"}),
        ("Findings:\nClear lungs\n\nImpression:\n1. No edema\n2. Right effusion", None),
        ("TECHNIQUE: tube voltage 120 kV.", set()),
        ("INDICATIONS FOR EXAM: pneumonia.", set()),
        ("Indication and clinical history: pneumonia. Cough, edema.", set()),
        ("INDICATION\nPneumonia.\nFINDINGS\nNo mass.", {"unspecified mass -"}),
        ("CLINICAL HISTORY: Pneumonia. Edema. CHEST: The lungs are clear.", {"lung_volumes clear +"}),
        ("REASON FOR EXAM: Edema.\nCHEST, PA AND LATERAL: No pneumothorax.", {"unspecified pneumothorax -"}),
        ("COMPARISON: Edema in 2010.\nFrontal view: Large left effusion.", {"left_pleural effusion +"}),
        (
            "COMPARISON: None. The heart is enlarged. There is a left effusion.",
            {"heart_size cardiomegaly +", "left_pleural effusion +"},
        ),
        ("VIEWS: Frontal and lateral. No mass.", {"unspecified mass -"}),
        ("HISTORY: Edema. The indication is: fracture. FINDINGS AND IMPRESSION: No mass.", {"unspecified mass -"}),
        ("New findings in the right lung:\nan opacity.", {"unspecified opacity +"}),
    ],
)
def test_sections(text, expected):
    expected = (
        expected
        if expected is not None
        else {
            "lung_volumes clear +",
            "unspecified edema -",
            "right_pleural effusion +",
        }
    )
    assert found(text) == expected


def test_text_before_any_header_is_read():
    assert read_sections("Chest film. IMPRESSION: Edema.") == ["Chest film.", " Edema."]


def test_structure_by_hand():
    assert extract("Small left pleural effusion. No edema.") == {
        "text": "Small left pleural effusion . No edema .",
        "entities": {
            "1": {
                "tokens": "pleural",
                "label": "ANAT-DP",
                "start_ix": 2,
                "end_ix": 2,
                "relations": [],
                "lemma": "pleural",
            },
            "2": {
                "tokens": "left",
                "label": "ANAT-DP",
                "start_ix": 1,
                "end_ix": 1,
                "relations": [["modify", "1"]],
                "lemma": "left",
            },
            "3": {
                "tokens": "effusion",
                "label": "OBS-DP",
                "start_ix": 3,
                "end_ix": 3,
                "relations": [["located_at", "1"]],
                "lemma": "effusion",
            },
            "4": {
                "tokens": "edema",
                "label": "OBS-DA",
                "start_ix": 6,
                "end_ix": 6,
                "relations": [],
                "lemma": "edema",
            },
        },
    }


WORDS = sorted({word for text, _ in TABLE for word in text.split()} | {"FINDINGS:", "\n\n", "?", "-", "1.", "and/or"})


@settings(max_examples=50)
@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)))
def test_any_text_gives_a_valid_graph(text):
    graph = extract(text)
    tokens = graph["text"].split(" ") if graph["text"] else []
    for one in graph["entities"].values():
        assert 0 <= one["start_ix"] <= one["end_ix"] < len(tokens)
        assert one["tokens"] == " ".join(tokens[one["start_ix"] : one["end_ix"] + 1])
        assert one["label"] in ("ANAT-DP", "OBS-DP", "OBS-DA", "OBS-U")
        for kind, target in one["relations"]:
            assert kind in ("located_at", "modify")
            assert graph["entities"][target]["label"] == "ANAT-DP"
    _, matrices = radgraph.label_matrices({"report": graph})
    assert len(matrices) == bool(graph["entities"])


@pytest.mark.parametrize(
    "phrase",
    [
        *("No effusion, or consolidation in both lower lobes. ", "opacity or edema and ", "HISTORY: edema\n"),
        *("<!-- ", "<a b='", "| ", "\\", " ", "*", "A B C ", "1) No edema ", "No edema - ", "a", "FINDNGS\n"),
        *("on the prior film of ", "No edema, no mass, ", "edema\n", '"', "? "),
    ],
)
def test_long_text_takes_linear_time(phrase):
    def seconds(repeats):
        text = phrase * repeats
        start = time.process_time()
        extract(text)
        return time.process_time() - start

    # Ten times the text: 10 if linear, 100 if quadratic.
    short = min(seconds(200) for _ in range(3))
    assert min(seconds(2000) for _ in range(3)) < 30 * short


TABLES = (terms.ROOTS, terms.ZONES, terms.SIDES, terms.FINDINGS, terms.QUALITIES, terms.GRAMMAR)
PHRASES = sorted({phrase for table in TABLES for phrases in table.values() for phrase in phrases})


def test_every_phrase_of_the_tables_can_be_found():
    readings = {phrase: tag(tokenise(phrase), offset=0) for phrase in PHRASES}
    assert {phrase: items for phrase, items in readings.items() if len(items) != 1} == {}


def test_every_phrase_stands_in_one_table():
    """Of two, the second would be read nowhere."""
    written = [phrase for table in TABLES for phrases in table.values() for phrase in phrases]
    singular = [tuple(map(normal, phrase.split())) for phrase in written]
    assert [phrase for phrase, words in zip(written, singular, strict=True) if singular.count(words) > 1] == []


@pytest.mark.parametrize("word", terms.SHORT)
def test_abbreviations_stand_for_phrases_at_their_own_token(word):
    items = tag([word.upper()], offset=3)
    assert [item.phrase for item in items] == terms.SHORT[word].split()
    assert {(item.start, item.end) for item in items} == {(3, 3)}
