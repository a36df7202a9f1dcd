"""Report text as systems hand it on -> plain text: mark-up, escaped line ends and odd characters undone.

HTML and XML tags, entities, Markdown, HL7 and JSON escapes, exotic line ends, ligatures. A "<" that is no tag
("nodule < 5 mm") and a backslash between words ("left\\right") stay.
"""

import html
import re
import unicodedata

# Line ends that were escaped and never undone: JSON and C (also doubly), HL7, Excel, URLs, RTF. "\\n" is none where the
# letter begins a word of the field ("mass\\nodule").
_ESCAPED_END = re.compile(
    r"(?<!\\)\\+(?:[rR]\\+[nN]|N(?!(?:ODUL\w*|ORMAL|O|ON|OT)\b)(?=[A-Z\s\\])|n(?!(?:odul\w*|ormal|on|o|one|ot)\b)"
    r"|r(?!(?:ight|ibs?|etro\w*|[ulm]l)\b)|x0[aAdD])"
    r"|\\\.(?:br|sp)\\|\\X0[AD]\\|(?<=[.:;])/n(?=[A-Z])|_x000[AaDd]_|(?:%0[AaDd])+|\\par\b|(?<=[\w.])~(?=[A-Z])"
    r"|\r\n?|[\x0b\x0c\x85\u2028\u2029]"
)
_ODD = re.compile(r"[\\\r\x0b\x0c\x85\u2028\u2029~%]|_x000|/n")  # what every one of them holds
_ESCAPED_TAB = re.compile(r"(?<!\\)\\+t(?!(?:ubes?|rache\w*|hora\w*|ips?|he)\b)")
_ESCAPED_CHARACTER = re.compile(r"(?<!\\)\\+u((?!d[89a-f])[0-9a-f]{4})", re.IGNORECASE)
# "r\o" for "r/o"
_SHORT = re.compile(r"(?<=\b[A-Za-z])\\(?=[a-z]\b)")
_ESCAPED_STYLE = re.compile(r"\\[HN]\\")
_OPENING = ("'", '"', "b")
_QUOTED = re.compile(r"^\s*b?([\"'])(.*)\1\s*$", re.DOTALL)  # a string of JSON or Python, with its quotes
_COMMENT = re.compile(r"<!--(?:(?!<!--).)*?-->", re.DOTALL)
_BREAK = re.compile(r"</?br\s*/?>[ \t]*\n?", re.IGNORECASE)
_TAG = re.compile(
    r"""</?(?P<name>[A-Za-z][\w:-]*)(?:\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s<>"']+))*\s*/?>""",
)
_INLINE = frozenset({"a", "b", "big", "code", "del", "em", "font", "i", "ins", "mark", "s", "small", "span", "strike"})
_INLINE |= {"strong", "sub", "sup", "tt", "u"}
_SPACED = frozenset({"td", "th"})
_MARKDOWN = re.compile(
    r"^[ \t]*>+[ \t]+|^[ \t]*#{1,6}[ \t]+(?=\S)|(?<![\w*])\*+(?=\w)|(?<=[\w.,:;!?)])\*+(?!\w)"
    r"|(?<!\w)__(?=[^\W_])|(?<=[^\W_]|[.,:;!?)])__(?!\w)",
    re.MULTILINE,
)
_MARKS = re.compile(r"[*#>]|__")
# Tables of Markdown: rows and cells.
_ROW = re.compile(r"^[ \t]*\|[ \t]*|(?<![ \t])[ \t]*\|[ \t]*$", re.MULTILINE)
_CELL = re.compile(r"(?<![ \t])[ \t]*\|[ \t]*")
# Soft hyphens, zero-width characters and byte order marks.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_HYPHEN = re.compile(r"[\u2010\u2011]|(?<=[^\W\d_])[\u2012\u2013\u2212](?=[^\W\d_])")


def plain_text(text: str) -> str:
    r"""The text without mark-up and escapes; a line end for each line end, a blank line for each end of a paragraph.

    >>> plain_text("<b>No</b> effusion.\\nNodule &lt; 5 mm.<br>Edema.")
    'No effusion.\nNodule < 5 mm.\nEdema.'
    """
    if text.lstrip()[:1] in _OPENING:
        text = _QUOTED.sub(r"\2", text)
    if "\\u" in text:
        text = _ESCAPED_CHARACTER.sub(lambda match: chr(int(match[1], 16)), text)
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if not text.isascii():
        text = _HYPHEN.sub("-", unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)))
    if "\\" in text:
        text = _ESCAPED_TAB.sub(" ", _ESCAPED_STYLE.sub("", _SHORT.sub("/", text)))
    if _ODD.search(text):
        text = _ESCAPED_END.sub("\n", text)
    if "<" in text:
        text = _TAG.sub(_without_tag, _BREAK.sub("\n", _COMMENT.sub("", text)))
    if "|" in text:
        text = _CELL.sub(": ", _ROW.sub("\n\n", text))
    return _MARKDOWN.sub("", text) if _MARKS.search(text) else text


def _without_tag(match: re.Match) -> str:
    name = match["name"].lower()
    if name in _INLINE:
        return ""
    return " " if name in _SPACED else "\n\n"
