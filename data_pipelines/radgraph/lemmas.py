"""A small English lemmatiser for the words of chest X-ray reports.

Inflected forms of a known word (the vocabulary and the words that its corrections know) are undone by rule;
what the rules get wrong stands in assets/lemmas.toml. Unknown words only lose a plural ending, so a rare finding
is never bent into a class by accident. No model, nothing to download.
"""

import functools
import tomllib
from importlib import resources

from medslip_jax.vocabulary import ABNORMAL_OBSERVATIONS, EXCLUDED_OBSERVATIONS, LEMMA_CORRECTIONS, NORMAL_OBSERVATIONS

_KNOWN = frozenset(ABNORMAL_OBSERVATIONS | EXCLUDED_OBSERVATIONS | NORMAL_OBSERVATIONS | set(LEMMA_CORRECTIONS))

_TABLES = tomllib.loads((resources.files("data_pipelines") / "assets" / "lemmas.toml").read_text(encoding="utf-8"))
_EXCEPTIONS: dict[str, str] = _TABLES["exceptions"]
_VERBS = frozenset(_TABLES["verbs"])
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
    if word in _EXCEPTIONS:
        return _EXCEPTIONS[word]
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
