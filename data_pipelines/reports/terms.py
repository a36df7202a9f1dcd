"""The words of chest X-ray reports: what `reports.extract` knows, as tables and nothing else.

Each phrase is written in the singular; `report_tokens.tag` compares singular forms and prefers the longest
phrase. Each stands in one table only. A phrase has a tag, which says what part it plays in a sentence, and a value:

    FINDING    an observation; the value is the lemma that `radgraph.observation_class` reads
    QUALITY    an observation that describes the anatomy next to it ("enlarged", "clear"); likewise
    ROOT       an anatomy; the value is the word that SPEC 6's landmark rules know it by
    ZONE SIDE  parts of an anatomy's name
    others     the grammar that negation, uncertainty and attachment need; see report_assertions and
    report_places
"""

FINDINGS = {
    "effusion": "effusion|pleural fluid|hemothorax|haemothorax|empyema|pleural collection",
    "opacity": "opacity|opacification|opacified|ground glass|ground-glass|ground glass opacity"
    "|ground glass opacification|ground-glass opacity|ground-glass opacification|haze|haziness|hazy"
    "|airspace opacity|air space opacity|airspace disease|air space disease|airspace opacification"
    "|air space opacification|shadowing|whiteout|white-out|ggo|patchiness",
    "pneumothorax": "pneumothorax|pneumothoraces|hydropneumothorax|hydropneumothoraces|ptx",
    "edema": "edema|oedema|edematous",
    "atelectasis": "atelectasis|atelectatic|atelectases|atelectatic change|platelike atelectasis|subsegmental collapse",
    "tube": "tube|ett|endotracheal tube|et tube|nasogastric tube|ng tube|feeding tube|enteric tube"
    "|chest tube|ngt|ogt|thoracostomy tube|tracheostomy tube|tracheostomy|dobbhoff|tracheal tube"
    "|orogastric tube|dobbhoff tube|gastric tube",
    "consolidation": "consolidation|consolidative|consolidated|consolidative opacity|air bronchogram"
    "|air-bronchogram|airspace consolidation|air space consolidation|consolidative change",
    "process": "process",
    "abnormality": "abnormality",
    "pneumonia": "pneumonia|bronchopneumonia|pneumonitis|infection|infectious process|infectious|pneumonic",
    "line": "line|venous line|central line|central venous line|ij line|cvl|subclavian line|jugular line",
    "congestion": "congestion|congested|vascular congestion|venous congestion"
    "|pulmonary vascular congestion|pulmonary venous congestion|pulmonary congestion|volume overload"
    "|fluid overload|overload",
    "catheter": "catheter|port-a-cath|portacath|mediport|port|infusaport|central venous catheter"
    "|swan-ganz|swan-ganz catheter|dialysis catheter|venous catheter|chest port|swan|port a cath"
    "|infuse-a-port|permacath",
    "cardiomegaly": "cardiomegaly",
    "fracture": "fracture|fractured|compression fracture",
    "air": "air|gas|free air|pneumoperitoneum|pneumomediastinum|subcutaneous air|subcutaneous emphysema"
    "|subcutaneous gas|free intraperitoneal air|free gas|intraperitoneal air|free peritoneal air"
    "|free fluid",
    "lead": "lead|pacer lead|pacemaker lead|pacing lead|icd lead|electrode",
    "disease": "disease|granulomatous disease|granulomatous infection|copd"
    "|chronic obstructive pulmonary disease|obstructive lung disease|obstructive pulmonary disease"
    "|interstitial lung disease|lung disease",
    "device": "device|cardiac device|valve|prosthetic valve|valve replacement|loop recorder|stimulator"
    "|balloon pump|iabp|aortic valve|mitral valve|valvular prosthesis|valve prosthesis",
    "picc": "picc|picc line|picc catheter|peripherally inserted central catheter",
    "clip": "clip|surgical clip|staple|suture",
    "nodule": "nodule|nodularity|nodular|micronodule|nodular lesion",
    "wire": "wire|sternal wire|sternotomy wire|median sternotomy wire|cerclage wire",
    "fluid": "fluid|air fluid level|air-fluid level|fluid level",
    "degenerative": "degenerative|degenerative change|degenerative disease|degenerative disc disease"
    "|spondylosis|osteophyte|degenerative disk disease|spurring|osteophytosis|osteoarthritis|arthritis"
    "|arthritic|degenerative joint disease|disc disease|arthrosis|spondylitic|spur|arthropathy"
    "|arthritic change|osteophytic|degeneration|spondylotic",
    "pacemaker": "pacemaker|pacer|aicd|icd|cardioverter-defibrillator|defibrillator|pacing device"
    "|pacemaker device|cardiac pacemaker|cardiac pacer|pacemaker generator"
    "|implantable cardioverter defibrillator|pulse generator",
    "marking": "marking|bronchovascular marking|interstitial marking|lung marking|vascular marking|reticular marking",
    "scar": "scar|scarring|scarred|cicatrix|scarlike|cicatricial",
    "loss": "volume loss|loss of volume|height loss|loss of height",
    "emphysema": "emphysema|emphysematous|bullous disease|bullous emphysema|bulla|bullae|bullous|bleb"
    "|emphysematous change",
    "mass": "mass|masslike|neoplasm|malignancy|tumor|tumour|carcinoma|neoplastic|mass lesion|malignant",
    "infiltrate": "infiltrate|infiltration|infiltrative|airspace infiltrate|air space infiltrate",
    "deformity": "deformity|compression deformity|deformed",
    "hernia": "hernia|hiatal hernia|hiatus hernia|herniation|diaphragmatic hernia|paraesophageal hernia",
    "drainage": "drain|drainage|pleural drain|pigtail|drainage catheter|pigtail catheter|pleural catheter|chest drain",
    "stent": "stent|endograft|stent graft",
    "pressure": "hypertension|venous hypertension|pulmonary hypertension",
    "lesion": "lesion",
    "finding": "finding",
    "hardware": "hardware|fixation|prosthesis|arthroplasty|surgical hardware|orthopedic hardware|rod"
    "|screw|spinal fusion|fusion|fixation device|fusion hardware",
    "chf": "chf|heart failure|congestive heart failure|cardiac failure|decompensation"
    "|cardiac decompensation|congestive failure|left heart failure",
    "redistribution": "redistribution|cephalization|cephalisation|vascular redistribution"
    "|pulmonary vascular redistribution",
    "aspiration": "aspiration",
    "density": "density|radiodensity",
    "crowd": "crowding|crowded|bronchovascular crowding|vascular crowding",
    "shift": "shift|shifted|deviation|deviated|mediastinal shift",
    "tip": "tip",
    "hyperinflate": "hyperinflation|hyperinflated|hyperexpansion|hyperexpanded|overinflation|overinflated"
    "|hyperaeration|hyperaerated|hyperlucent|hyperlucency|overexpanded|air trapping",
    "fibrosis": "fibrosis|fibrotic|fibrotic change|scoliosis|kyphosis|kyphoscoliosis|bronchiectasis|cyst"
    "|cystic|granuloma|adenopathy|lymphadenopathy|osteopenia|demineralization|cavitation|cavity|cavitary"
    "|osteoporosis|levoscoliosis|dextroscoliosis|kerley b line|kerley line|septal line|cuffing"
    "|peribronchial cuffing|tuberculosis|subluxation|dislocation|aneurysm|lucency|hemorrhage|abscess"
    "|eventration|bronchial cuffing|honeycombing|sarcoidosis|atherosclerosis|atherosclerotic|foreign body"
    "|septal thickening|sclerosis|sclerotic|osteopenic",
}

QUALITIES = {
    "normal": "normal|within normal limit|normal limit|normal in size|normal in appearance|wnl",
    "clear": "clear",
    "sharp": "sharp",
    "sharply": "sharply",
    "unremarkable": "unremarkable",
    "intact": "intact",
    "stable": "stable",
    "enlarge": "enlarged|enlargement|enlarging|enlarge",
    "low": "low|hypoinflated|hypoinflation|hypoventilatory|decreased|diminished|reduced|hypoaerated|hypoexpanded",
    "tortuous": "tortuous|tortuosity|ectatic|ectasia|unfolded|uncoiled|unfolding",
    "calcification": "calcified|calcification|calcific|atherosclerotic calcification"
    "|atherosclerotic calcified|calcinosis",
    "prominence": "prominent|prominence",
    "engorgement": "engorged|engorgement",
    "elevation": "elevated|elevation|eventrated|raised",
    "expand": "expanded|inflated|well-expanded|expansion",
    "thicken": "thickened|thickening",
    "flatten": "flattened|flattening",
    "blunt": "blunted|blunting|blunt",
    "widen": "widened|widening",
    "collapse": "collapse|collapsed",
    "aerate": "aerated|well-aerated",
    "obscure": "obscured|obscuration|obscuring|obscure|silhouetted|silhouetting|indistinct|effaced|effacement|effacing",
    "distention": "distended|distention|distension",
    "dilation": "dilated|dilation|dilatation",
    "borderline": "borderline|upper limit of normal|upper limit normal|upper normal|upper normal limit"
    "|top-normal|high normal|at upper limit|upper limit|top normal|borderline enlarged"
    "|borderline enlargement",
    "large": "large|increased|big|generous",
}

# QUALITIES and FINDINGS that only mean something at these anatomies; elsewhere they are ordinary words.
ONLY_AT = {
    "large": {"heart"},
    "low": {"volumes", "lung"},
    "elevation": {"hemidiaphragm"},
    "flatten": {"hemidiaphragm"},
    "expand": {"lung", "volumes"},
    "aerate": {"lung"},
    "borderline": {"heart", "cardiomediastinal", "mediastinal"},
    "stable": {"heart", "cardiomediastinal", "mediastinal", "lung", "hilar", "pulmonary", "aorta", "spine"},
}

# Adjectives that name a finding when alone and only describe the one that follows ("hazy opacity").
DESCRIBING = frozenset(
    {"hazy", "nodular", "masslike", "bullous", "cystic", "edematous", "emphysematous", "consolidative"}
    | {"infectious", "neoplastic", "ground glass", "ground-glass"}
)

# Qualities that, as verbs, have the anatomy behind them as their object ("opacity obscuring the diaphragm").
TRANSITIVE = frozenset({"obscuring", "obscure", "silhouetting", "effacing", "blunting"})

# What an observation is called at a given anatomy.
RENAMED = {("enlarge", "heart"): "cardiomegaly", ("large", "heart"): "cardiomegaly"}

# Where a finding lives when no more is said than a side or "lung".
HOMES = {"effusion": "pleural", "pneumothorax": "pleural", "cardiomegaly": "heart"}

# Phrases that name their own anatomy.
FINDING_PLACES = {
    "pulmonary vascular congestion": "pulmonary",
    "pulmonary venous congestion": "pulmonary",
    "pulmonary congestion": "pulmonary",
    "vascular congestion": "pulmonary",
    "pulmonary vascular redistribution": "pulmonary",
    "vascular redistribution": "pulmonary",
    "pulmonary hypertension": "pulmonary",
    "interstitial marking": "interstitial",
    "interstitial lung disease": "interstitial",
    "mediastinal shift": "mediastinal",
    "pneumomediastinum": "mediastinal",
    "pleural fluid": "pleural",
    "pleural collection": "pleural",
    "hypoinflation": "volumes",
    "hypoinflated": "volumes",
    "hypoventilatory": "volumes",
    "pleural drain": "pleural",
    "pleural catheter": "pleural",
}

ROOTS = {
    "lung": "lung|hemithorax|thorax|hemithoraces|pulmonary parenchyma|lung parenchyma|lung field|zone"
    "|field|pulmonary field",
    "volumes": "lung volume|volume|inspiratory volume|lung inflation|inspiratory effort|pulmonary volume",
    "lobe": "lobe|lobar",
    "lingula": "lingula|lingular",
    "pleural": "pleural|pleura|pleural space|pleural surface|pleural cavity|pleural margin|pleurae",
    "hilar": "hilar|hilum|hila|perihilar|infrahilar|suprahilar|parahilar|hilus|peri-hilar|hilar contour"
    "|hilar structure",
    "heart": "heart|cardiac|heart size|cardiac silhouette|cardiac size|cardiac contour|cardiac shadow"
    "|heart contour|heart silhouette|heart shadow|size of the heart|cardiac profile",
    "border": "heart border|cardiac border|heart margin",
    "cardiomediastinal": "cardiomediastinal|cardiomediastinal silhouette|cardiomediastinal contour"
    "|cardiomediastinum|cardio-mediastinal contour|cardio-mediastinal silhouette"
    "|cardiac mediastinal contour|cardio mediastinal silhouette|cardiac mediastinal silhouette",
    "mediastinal": "mediastinal|mediastinum|mediastinal contour|mediastinal silhouette"
    "|superior mediastinum|paramediastinal|paratracheal",
    "hemidiaphragm": "hemidiaphragm|diaphragm|diaphragmatic|hemi-diaphragm|diaphragmatic contour|subdiaphragmatic",
    "retrocardiac": "retrocardiac|retrocardiac region|retrocardiac area",
    "costophrenic": "costophrenic|costophrenic angle|costophrenic sulcus|cp angle|costophrenic recess"
    "|costophrenic sulci|lateral sulcus|posterior sulcus|costo-phrenic angle|costodiaphragmatic recess",
    "cardiophrenic": "cardiophrenic|cardiophrenic angle|cardiophrenic sulcus|pericardiophrenic",
    "trachea": "trachea|tracheal",
    "spine": "spine|spinal|vertebra|vertebral|vertebrae|thoracic spine|vertebral body|thoracolumbar spine"
    "|t-spine|dorsal spine|endplate|thoracic vertebra|lumbar spine",
    "clavicle": "clavicle|clavicular",
    "rib": "rib|costal",
    "stomach": "stomach|abdomen|abdominal|gastric|intraperitoneal|peritoneal",
    "atrium": "atrium|atrial",
    "ventricle": "ventricle|ventricular",
    "aorta": "aorta|aortic|aortic arch|aortic knob|thoracic aorta|arch of the aorta|ascending aorta"
    "|descending aorta|aortic contour|descending thoracic aorta",
    "svc": "svc|superior vena cava",
    "interstitial": "interstitial|interstitium|peribronchovascular",
    "parenchymal": "parenchymal|parenchyma",
    "cavoatrial junction": "cavoatrial junction|cavo-atrial junction",
    "cardiopulmonary": "cardiopulmonary|cardio pulmonary",
    "pulmonary": "pulmonary|pulmonary vasculature|vasculature|vascular|pulmonary vascularity|vascularity"
    "|pulmonary vessel|pulmonary artery|pulmonary vascular|pulmonary vein"
    "|pulmonary interstitium|intrapulmonary",
    "bone": "bony|osseous|bone|skeletal|bony thorax|osseous structure|bony structure|skeletal structure"
    "|humerus|shoulder|sternum|sternal|scapula|humeral|acromioclavicular joint|ac joint|humeral head"
    "|acromioclavicular",
    "soft tissue": "soft tissue|chest wall|axilla|axillary|breast|neck|subcutaneous|skin",
    "fissure": "fissure|minor fissure|major fissure|horizontal fissure|fissural|oblique fissure|interlobar",
    "carina": "carina|bronchus|bronchi|bronchial|mainstem bronchus|airway|peribronchial|endobronchial",
    "esophagus": "esophagus|esophageal|gastroesophageal junction|ge junction|oesophagus",
    "vein": "jugular|subclavian|internal jugular|brachiocephalic|ij|innominate|jugular vein|subclavian vein",
    "lymph node": "lymph node|nodal|node",
    "abdominal organ": "bowel|colon|liver|spleen|splenic|hepatic|gallbladder|upper quadrant",
    "pericardial": "pericardial|pericardium|coronary",
}

ZONES = {
    "upper": "upper|suprabasal",
    "lower": "lower",
    "mid": "mid|midlung|mid-lung|midzone|mid zone|middle|central|mid-zone",
    "base": "base|basilar|basal|bibasilar|bibasal|lung base|basis",
    "apical": "apex|apical|apices|biapical|apicolateral|lung apex|lung apices|apical lateral",
}
SIDES = {
    "left": "left|left-sided|left sided|leftward|left-side|left side",
    "right": "right|right-sided|right sided|rightward|right-side|right side",
    "both": "both|bilateral|bilaterally|bilat|b/l",
}

# Abbreviations that hold several phrases at once.
SHORT = {
    "rul": "right upper lobe",
    "rml": "right middle lobe",
    "rll": "right lower lobe",
    "lul": "left upper lobe",
    "lll": "left lower lobe",
}

# Endings of a finding; negations, unless a word of INCOMPLETE goes before ("almost completely resolved").
RESOLVED = "resolved|resolution of|interval resolution of|clearing of|interval clearing of|clearance of"
INCOMPLETE = frozenset(
    {"almost", "near", "nearly", "partial", "partially", "partly", "mostly", "largely", "incomplete", "incompletely"}
    | {"not", "not entirely", "not completely", "substantially", "never"}
)
# Words before such an ending that say it is still to come ("to ensure resolution of the opacity"): uncertain.
EXPECTED = frozenset({"ensure", "document", "confirm", "verify", "allow", "until", "expected", "await"})

# Adverbs after "not" that doubt the view and not the finding ("not well visualized").
FAINT = frozenset({"well", "clearly", "fully", "adequately", "optimally", "completely", "entirely", "confidently"})

# Words of size that a negation commonly denies along with the finding; they begin no new statement.
DENIED_SIZES = frozenset({"large", "severe"})

GRAMMAR = {
    "NEG": "no|none|without|no evidence of|negative for|free of|free from|clear of|absence of|neither|nor"
    "|no evidence for|no sign of|denies|devoid of|no longer|absence of any"
    f"|{RESOLVED}|removal of|no radiographic evidence of|interval removal of|lack of|rather than"
    "|not|isn't|aren't|instead of|non|w/o|w/out|has been no|never|never had|negative",
    "CANNOT": "cannot|can not|can't|difficult to|could not|hard to|not entirely|not completely|not definitely",
    "GONE": "absent|has resolved|have resolved|removed|has cleared|have cleared|no longer seen|extubated"
    "|no longer present|is resolved|are resolved|unlikely to be present|no longer visualized"
    "|no longer identified|no longer visible|not visualized|is now resolved|completely resolved"
    "|been resolved|no longer appreciated|not present",
    "EXCLUDE": "exclude|excluded|rule out|ruled out|r/o",
    "MAYBE": "possible|possibly|may|might|could|suspicious for|suspicion for|suspicion of|suspected"
    "|concerning for|concern for|question of|questionable|question|suggest|suggesting|suggestive of"
    "|suggestion of|suggestive|equivocal|differential|history of|evaluate for|evaluate|evaluation for"
    "|assess for|recommend|recommended|if|consider|perhaps|considered|questioned|conceivably|h/o"
    "|unlikely|should be|worrisome for|to exclude|potential|potentially|evaluation of|correlate for"
    "|correlate clinically for|correlation for|past history|past medical history|uncertain"
    "|raise suspicion for|advised|would be|query|either|less likely|less likely than|not likely|improbable|doubtful"
    "|favored over|low suspicion|low suspicion for|low suspicion of|low likelihood of|low probability of",
    "TOLD": "notified|informed|paged|alerted|telephoned|aware|notified of|informed of",
    "VERSUS": "versus|vs|vs.",
    "STOP": "but|however|although|though|except|;|which|whereas|while|other than|aside from|despite"
    "|apart from|yet|besides|with the exception of|because|since|given",
    "BECAUSE": "due to|secondary to|consistent with|compatible with|representing|reflecting|related to"
    "|likely|probably|most likely|probable|likely representing|likely reflecting|in keeping with"
    "|in line with|indicative of|associated with|c/w",
    "THERE": "there",
    "FILL": "anterior|posterior|lateral|medial|distal|proximal|first|second|third|fourth|fifth|sixth"
    "|seventh|eighth|ninth|tenth|eleventh|twelfth|1st|2nd|3rd|4th|5th|6th|7th|8th|9th|10th|11th|12th"
    "|peripheral|inner|outer|inferior|superior|posterolateral|anterolateral",
    "VERB": "is|demonstrate|are|was|were|remain|has|have|appear|show|showed|:|contain|reveal|do|does|be"
    "|been|stay|had|revealed|became|exhibit|project|measure|lie",
    "SEEN": "seen|identified|noted|present|evident|visualized|appreciated|detected|found|apparent|visible"
    "|observed|shown|demonstrated|redemonstrated|visualised|recognized|located|again seen|again noted"
    "|discernible|centered",
    "PREP": "in|at|of|within|over|overlying|along|involving|to|near|under|on|throughout|from|about|around"
    "|below|beneath|affecting|above|inside|adjacent to|projecting over|through|across|underneath"
    "|superimposed on|predominantly in|between|into|particularly in|greatest in|worst in|including"
    "|especially in|behind|overlie",
    "AND": "and|/|&|greater than|more than|worse than|larger than|less than|>|as well as|plus|smaller than",
    "OR": "or|and/or",
    "COMMA": ",",
    "WITH": "with",
    "CHANGE": "change|changed|increase|improvement|worsening|progression|difference|decrease|worsened"
    "|improved|progressed|complication|interval increase|interval change",
    "SIZE": "mild|mildly|moderate|moderately|severe|small|tiny|minimal|chronic|unchanged|old|healed|trace|subtle"
    "|persistent|slight|marked|extensive|minimally|improving|known|minor|increasing|remote|prior|slightly|multiple"
    "|scattered|mild-to-moderate|status post|s/p|redemonstration|interval",
    "THE": "the|a|an|this|that|these|those|its|his|her|any|each|some",
    # Phrases that hold the word of a finding and speak of something else.
    "WORD": "hematological malignancy|hematologic malignancy|haematological malignancy|haematologic malignancy"
    "|hematopoietic malignancy",
}
