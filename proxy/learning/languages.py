"""Which language a prompt asks the answer to be in, and whether a text is in another one. Pure.

Only a request such as "answer in German" counts: an answer is often in another language than the prompt for a good
reason, such as a translation. A text counts as being in another language only if that is clear.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAMES: Mapping[str, str] = {
    "en": "english|englisch|anglais|inglés|ingles|inglese",
    "de": "german|deutsch|allemand|alemán|aleman|tedesco",
    "fr": "french|französisch|français|francais|francés|frances|francese",
    "es": "spanish|spanisch|espagnol|español|espanol|castellano|spagnolo",
    "it": "italian|italienisch|italien|italiano",
    "pt": "portuguese|portugiesisch|portugais|portugués|português|portoghese",
    "nl": "dutch|niederländisch|néerlandais|holandés|nederlands|olandese",
    "ru": "russian|russisch|russe|ruso|russo",
    "zh": "chinese|mandarin|chinesisch|chinois|chino|cinese",
    "ja": "japanese|japanisch|japonais|japonés|giapponese",
    "ko": "korean|koreanisch|coréen|coreano",
    "ar": "arabic|arabisch|arabe|árabe|arabo",
}
_COMMON_WORDS: Mapping[str, str] = {
    "en": "the and of to in is that for it with as are this be by not or from have you can which",
    "de": "der die und das ist in den zu nicht mit ein eine von sie auf für es im dem des auch sich",
    "fr": "le la les et des est une un du en que pour dans qui pas sur au avec ce il vous par plus",
    "es": "el la los y de que en un una es las por con para no se del al su lo como más está",
    "it": "il la di che e un una è per non in con del le si i da sono della gli alla come più",
    "pt": "o a de que e os um uma é para não em com do da as por se no na mais como dos ao",
    "nl": "de het een en van is dat in op te niet voor zijn met aan die er om ook als bij worden",
}
_COMMON = {code: frozenset(words.split()) for code, words in _COMMON_WORDS.items()}
_SCRIPTS: Mapping[str, re.Pattern[str]] = {
    "ru": re.compile("[\u0400-\u04ff]"),
    "zh": re.compile("[\u4e00-\u9fff]"),
    "ja": re.compile("[\u3040-\u30ff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "ar": re.compile("[\u0600-\u06ff]"),
}
_VERBS = (
    r"answer|reply|respond|write|explain|antworte|antworten sie|schreibe|répondez|réponds|responde|responda|rispondi"
    r"|antwoord"
)
_NOT = re.compile(r"\b(?:not|never|don['’]t|nicht|ne|no|non)\W{1,20}(?:\w{1,20}\W{1,20})?$")
_REQUEST = re.compile(
    rf"\b(?:{_VERBS})\b[^.!?\n]{{0,40}}?\b(?:in|auf|en|em|het)\s{{1,8}}(?P<name>{'|'.join(_NAMES.values())})\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{0,500}`", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+")
_LEAST_WORDS = 20
_LEAST_LETTERS = 40
_MOST = 10_000  # characters that are read


def language_asked(text: str) -> str | None:
    """Return the language that a prompt asks the answer to be in; `None` if it names none, or several."""
    found: set[str] = set()
    for match in _REQUEST.finditer(text):
        if not _NOT.search(text[max(0, match.start() - 20) : match.start()].lower()):
            name = match["name"].lower()
            found.update(code for code, names in _NAMES.items() if name in names.split("|"))
    return found.pop() if len(found) == 1 else None


def is_in_other_language(text: str, language: str) -> bool:
    """Return whether a text is clearly not in a language."""
    prose = _CODE.sub(" ", text[:_MOST])
    words = _WORD.findall(prose.lower())
    letters = sum(map(len, words))
    if letters < _LEAST_LETTERS:
        return False
    if language in _SCRIPTS:
        return len(_SCRIPTS[language].findall(prose)) < 0.1 * letters
    if sum(len(script.findall(prose)) for script in _SCRIPTS.values()) > 0.5 * letters:
        return True
    if len(words) < _LEAST_WORDS:
        return False
    shares = {code: sum(word in common for word in words) / len(words) for code, common in _COMMON.items()}
    return max(shares.values()) > max(0.1, 3 * shares[language])
