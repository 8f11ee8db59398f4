"""The features of a prompt's text that the trained classifier reads: shares of kinds of tokens, lengths and shapes.

Every feature is a number with a fixed name, so that an explanation can list it without words of the prompt. The
training (`proxy/routing/train`) calls the same function.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from zlib import crc32

TOKEN = re.compile(r"```|[^\W\d_]+|\d+(?:\.\d+)?|[^\w\s]")
BUCKETS = 1 << 14  # of the hashed words and pairs of words
HEAD, TAIL = 260, 160  # characters in which an instruction usually stands
_OPTION = re.compile(r"(?m)^\(?[A-J][.)]")
_SENTENCE_END = re.compile(r"[.?!](?:\s|$)")
_REPEATS = 3  # a hashed word counts this often at most

_GROUPS: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (name, frozenset(words.split()))
    for name, words in (
        ("common words", "the a an of to in is and for that it on with as by are at be this from or was we can do"),
        (
            "units",
            "kg km cm mm nm ml mol psi psia psig atm btu kj kcal joule joules watt watts volt volts ohm ohms amp amps "
            "hz khz mhz kpa mpa pa ft lb lbm lbf gal rpm kw kwh mw db rad deg meter meters metre metres second seconds "
            "minute minutes hour hours gram grams liter liters inches inch feet mile miles percent degrees kelvin "
            "celsius fahrenheit newton newtons tesla coulomb ev",
        ),
        ("asks for a value", "calculate compute determine find evaluate solve derive prove show estimate obtain"),
        (
            "asks to explain",
            "explain describe discuss compare contrast analyze analyse why how summarize justify argue",
        ),
        ("asks to write", "write compose draft create generate rewrite edit translate imagine suggest list name tell"),
        ("question words", "what which who whom whose when where"),
        ("conditions", "if given assume assuming suppose let where such that then"),
        ("logic words", "not all some none every only unless except neither both either least most must cannot always"),
        (
            "code words",
            "function class def return import python java javascript code program algorithm array string sql html api "
            "json file print loop script",
        ),
        ("you", "you your"),
        ("I", "i my me we"),
    )
)
_ASK, _WRITE, _WH = (dict(_GROUPS)[name] for name in ("asks for a value", "asks to write", "question words"))

NAMES = (
    "characters",
    "words",
    "word length",
    "long words",
    "very long words",
    "distinct words",
    "share of numbers",
    "decimals",
    "large numbers",
    "numbers",
    "operators",
    "parentheses",
    "commas",
    "questions",
    "lines",
    "sentences",
    "sentence length",
    "code signs",
    "backticks",
    "formula signs",
    "options",
    "capitals",
    "quotes",
    "colons",
    "percent signs",
    "short",
    "very short",
    "begins with a question word",
    "begins with a calculation",
    "begins with a request to write",
    "slashes",
    "equals signs",
    *(name for name, _ in _GROUPS),
)


class Text:
    """A text, its tokens and its features; reading it is linear in its length."""

    def __init__(self, text: str) -> None:
        """`text` is bounded by the caller."""
        self.text = text
        self.lowered = text.lower()
        self.tokens: list[str] = TOKEN.findall(self.lowered)
        self.counts = Counter(self.tokens)
        self.words = [token for token in self.tokens if token[0].isalpha()]

    def dense(self) -> list[float]:
        """Return the values of `NAMES`."""
        text, low, counts, words = self.text, self.lowered, self.counts, self.words
        count, total = len(words), max(len(self.tokens), 1)
        some = max(count, 1)
        lengths = [len(word) for word in words]
        numbers = [token for token in self.tokens if token[0].isdigit()]
        sentences = max(1, len(_SENTENCE_END.findall(text)))
        first = words[0] if words else ""
        return [
            math.log1p(len(text)),
            math.log1p(count),
            sum(lengths) / some,
            sum([length >= 9 for length in lengths]) / some,
            sum([length >= 12 for length in lengths]) / some,
            len(set(words)) / some**0.75 if count else 0.0,
            len(numbers) / total,
            sum(["." in token for token in numbers]) / total,
            sum([len(token) >= 4 for token in numbers]) / total,
            math.log1p(len(numbers)),
            sum([counts[sign] for sign in "+=*/^<>"]) / total,
            counts["("] / total,
            counts[","] / total,
            min(counts["?"], 4),
            min(math.log1p(low.count("\n")), 4.0),
            math.log1p(sentences),
            min(count / sentences, 60.0) / 20,
            sum([counts[sign] for sign in "{};[]"]) / total,
            min(low.count("`"), 6),
            min(counts["\\"] + counts["$"], 10),
            min(len(_OPTION.findall(text)), 10),
            sum(map(str.isupper, text)) / max(len(text), 1),
            min(counts['"'], 6),
            min(counts[":"], 6),
            counts["%"] / total,
            1.0 if count < 12 else 0.0,
            1.0 if count < 6 else 0.0,
            1.0 if first in _WH else 0.0,
            1.0 if first in _ASK else 0.0,
            1.0 if first in _WRITE else 0.0,
            counts["/"] / total,
            counts["="] / total,
            *[sum([counts[word] for word in group & counts.keys()]) / some for _, group in _GROUPS],
        ]

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Yield the hashed words and pairs of words at both ends of the text, with their capped counts."""
        low = self.lowered
        ends = [low] if len(low) <= HEAD + TAIL else [low[:HEAD], low[-TAIL:]]
        found: Counter[int] = Counter()
        for end in ends:
            hashes = [
                crc32(b"0" if token[0].isdigit() else token.encode("utf-8", "replace")) for token in TOKEN.findall(end)
            ]
            found.update([value % BUCKETS for value in hashes])
            found.update([(first * 31 + second) % BUCKETS for first, second in pairwise(hashes)])
        for bucket, times in found.items():
            yield bucket, min(times, _REPEATS)

    @property
    def is_latin(self) -> bool:
        """Whether most letters are of the scripts that the classifier was trained on."""
        letters = [char for char in self.text if char.isalpha()]
        return sum([char < "\u0250" for char in letters]) * 2 >= len(letters)
