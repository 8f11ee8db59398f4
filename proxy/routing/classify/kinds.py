"""Terms of the difficulty that depend on the kind of a prompt, beside those that all prompts have.

    multiple choice   the length of the question before its options
    other prompts     what their tasks add, by their probabilities
    calculations      of these, those in words, with numbers but no formula: their length, numbers and sentences

`proxy/routing/train/kinds.py` sets the weights; `docs/routing.md` has the reasons.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.model import TASKS
from proxy.routing.classify.features import NAMES, Text

SIZE = tuple(NAMES.index(name) for name in ("characters", "numbers", "sentences"))
_FORMULA = "\\=^{}"  # signs that a calculation in words does not have
_OPTION = re.compile(r"[A-D][.):]")  # it begins with a letter, which makes the search fast
_BEFORE_OPTION = frozenset(" \n\t(")
_MATH = TASKS.index("math")
QUESTION_BOUND, SIZE_BOUND = 2.0, 2.0  # of the distances from the training's mean


class Kinds:
    """The weights of the terms."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        """`header` is the member `kinds` of the model's header."""
        self._tasks: Sequence[float] = header["tasks"]
        self._question, self._question_centre = header["question"]
        self._size, self._size_centre = header["size"]

    def terms(self, parsed: Text, values: Sequence[float], probabilities: Sequence[float]) -> list[tuple[str, float]]:
        """Return the terms of a text, from its standardised features and the probabilities of `TASKS`."""
        before = before_options(parsed.text)
        if before is not None:
            distance = math.log1p(before) - self._question_centre
            return [("length of the question", self._question * _cut(distance, QUESTION_BOUND))]
        terms = [("task", sum([weight * share for weight, share in zip(self._tasks, probabilities, strict=True)]))]
        if is_calculation(parsed):
            distance = sum([values[at] for at in SIZE]) - self._size_centre
            terms.append(("size of the calculation", self._size * probabilities[_MATH] * _cut(distance, SIZE_BOUND)))
        return terms


def is_calculation(parsed: Text) -> bool:
    """Return whether a text may be a calculation in words: it has two numbers or more, and no formula."""
    counts = parsed.counts
    numbers = sum([times for token, times in counts.items() if token[0].isdigit()])
    return numbers >= 2 and counts.keys().isdisjoint(_FORMULA)


def before_options(text: str) -> int | None:
    """Return how many characters of a multiple-choice question precede its options; `None` for other texts."""
    first = None
    found = set()
    for option in _OPTION.finditer(text):
        start, letter = option.start(), option[0][0]
        if (start and text[start - 1] not in _BEFORE_OPTION) or (first is None and letter != "A"):
            continue
        if first is None:
            first = start
        found.add(letter)
        if found.issuperset("ABC"):
            return len(text[:first].rstrip(" \n\t("))
    return None


def _cut(value: float, bound: float) -> float:
    return min(bound, max(-bound, value))
