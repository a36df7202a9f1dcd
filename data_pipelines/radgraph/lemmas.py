"""A small English lemmatiser for the words of chest X-ray reports.

Inflected forms of a known word (the vocabulary and the words that its corrections know) are undone by rule;
what the rules get wrong stands in `EXCEPTIONS`. Unknown words only lose a plural ending, so a rare finding
is never bent into a class by accident. No model, nothing to download.
"""

import functools

from medslip_jax.vocabulary import ABNORMAL_OBSERVATIONS, EXCLUDED_OBSERVATIONS, LEMMA_CORRECTIONS, NORMAL_OBSERVATIONS

_KNOWN = frozenset(ABNORMAL_OBSERVATIONS | EXCLUDED_OBSERVATIONS | NORMAL_OBSERVATIONS | set(LEMMA_CORRECTIONS))

# Irregular forms, and regular-looking ones that `LEMMA_CORRECTIONS` expects in the wrong but customary form.
EXCEPTIONS = {
    "apices": "apex",
    "atelectases": "atelectase",
    "better": "good",
    "bronchi": "bronchus",
    "bullae": "bulla",
    "diagnoses": "diagnosis",
    "diverticula": "diverticulum",
    "emboli": "embolus",
    "further": "far",
    "gases": "gas",
    "greater": "great",
    "greatest": "great",
    "hila": "hilum",
    "improved": "improve",
    "indices": "index",
    "larger": "large",
    "largest": "large",
    "least": "little",
    "less": "little",
    "loses": "loss",
    "lost": "loss",
    "lower": "low",
    "lowest": "low",
    "masses": "masse",
    "metastases": "metastasis",
    "milder": "mild",
    "most": "more",
    "pneumothoraces": "pneumothorace",
    "prostheses": "prosthesis",
    "seen": "see",
    "smaller": "small",
    "smallest": "small",
    "stenoses": "stenosis",
    "vertebrae": "vertebra",
    "wider": "wide",
    "worse": "bad",
    "worst": "bad",
}
_VERBS = frozenset(
    {"assess", "compress", "demonstrate", "displace", "evaluate", "flatten", "narrow", "place", "remove", "visualize"}
)
_SIBILANTS = ("ses", "xes", "zes", "ches", "shes")


@functools.cache
def lemmatise(phrase: str) -> str:
    """Base form of an observation, word by word, lower case.

    Args:
      phrase: one word or several separated by spaces, any case.

    Returns:
      The lemma before `vocabulary.LEMMA_CORRECTIONS` (SPEC 6), e.g. "nodules" -> "nodule", "calcified" ->
      "calcify", "not well seen" -> "not well see". Words that need no change come back as they are.

    >>> lemmatise("Pneumothoraces"), lemmatise("widening"), lemmatise("findings")
    ('pneumothorace', 'widen', 'finding')
    """
    return " ".join(_lemma(word) for word in phrase.lower().split())


def _lemma(word: str) -> str:
    word = word.removesuffix("'s")
    if word in EXCEPTIONS:
        return EXCEPTIONS[word]
    if word in _KNOWN or len(word) < 4:
        return word
    singular = without_plural(word)
    if singular != word:
        return singular if singular in _KNOWN else _without_verb_ending(singular)
    return _without_verb_ending(word)


def without_plural(word: str) -> str:
    """Singular of a lower-case word by its ending alone.

    >>> [without_plural(word) for word in ("bases", "bodies", "process")]
    ['base', 'body', 'process']
    """
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(_SIBILANTS) and (word[:-2] in _KNOWN or word[:-1] not in _KNOWN) and not word.endswith("ases"):
        return word[:-2]
    return word[:-1]


def _without_verb_ending(word: str) -> str:
    """Undo -ing and -ed where a known word is left; the word itself otherwise."""
    for ending in ("ing", "ed"):
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            doubled = stem[:-1] if len(stem) > 2 and stem[-1] == stem[-2] else stem
            restored = stem[:-1] + "y" if stem.endswith("i") else stem
            for candidate in (stem, stem + "e", doubled, restored):
                if candidate in _KNOWN or candidate in _VERBS:
                    return candidate
    return word
