"""The task classifier: picks one of seven tasks by votes of words, digits and symbols. One regex, no backtracking.

Words at the start and end of a prompt count double, because instructions usually stand there.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from proxy.core.model import TASKS
from proxy.routing.classify.words import DEPTH_WORDS, TASK_PHRASES, TASK_WORDS

_TOKEN = re.compile(r"```|[^\W\d_]+|\d+|[^\w\s]")
_HEAD = 260
_TAIL = 160
_EMPHASIS = 2.0
_REPEATS = 3  # a word's votes count this often at most
_ENOUGH = 1.5  # fewer votes are inconclusive
_PHRASE = 4.0
_CODE_SIGNS = "{};<>=[]"
_CODE_DENSITY = 0.08  # share of all tokens
_FEW = 20  # tokens; the density of fewer is inconclusive
_MATH_SIGNS = "+*/=^%$\\"
_MARKS = tuple("-*0123456789")  # that begin a line of a list


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of the votes. The bounded text bounds the counts."""

    task: str
    confidence: float  # 0: no votes, or a tie
    depth: int  # different words that ask for depth
    fences: int  # lines of ```
    questions: int
    lines: int  # enumerated


def read_words(text: str) -> Reading:
    """Tokenise once and count the votes."""
    votes, seen = _count(text.lower())
    task, confidence = _winner(votes)
    return Reading(
        task=task,
        confidence=confidence,
        depth=len(DEPTH_WORDS & seen.keys()),
        fences=seen["```"],
        questions=seen["?"] + seen["\uff1f"],
        lines=sum(line.lstrip()[:1] in _MARKS for line in text.split("\n")),
    )


def depth_words(text: str) -> list[str]:
    """Return the different words that ask for depth, in order."""
    return sorted(DEPTH_WORDS.intersection(_TOKEN.findall(text.lower())))


def votes_of(lowered: str) -> dict[str, float]:
    """Return the votes for each task."""
    return _count(lowered)[0]


def _count(lowered: str) -> tuple[dict[str, float], Counter[str]]:
    """Return the votes for each task, and the tokens."""
    tail = max(_HEAD, len(lowered) - _TAIL)
    middle = Counter(_TOKEN.findall(lowered[_HEAD:tail]))
    seen = Counter(_TOKEN.findall(lowered[:_HEAD]) + _TOKEN.findall(lowered[tail:]))
    votes = dict.fromkeys(TASKS, 0.0)
    _vote(votes, middle, 1.0)
    _vote(votes, seen, _EMPHASIS)
    seen.update(middle)
    _vote_by_signs(votes, seen)
    for phrase, task in TASK_PHRASES:
        if phrase in lowered:
            votes[task] += _PHRASE
    return votes, seen


def _vote(votes: dict[str, float], tokens: Counter[str], weight: float) -> None:
    """Count a word's votes for at most `_REPEATS` occurrences."""
    for token in TASK_WORDS.keys() & tokens.keys():
        for task, vote in TASK_WORDS[token]:
            votes[task] += vote * weight * min(tokens[token], _REPEATS)


def _vote_by_signs(votes: dict[str, float], seen: Counter[str]) -> None:
    """Count votes of symbols: numbers with a question indicate math, dense brackets indicate code."""
    tokens = seen.total()
    code = sum(seen[sign] for sign in _CODE_SIGNS)
    if tokens > _FEW and code > _CODE_DENSITY * tokens:
        votes["code"] += 3.0
    numbers = sum(times for token, times in seen.items() if token.isdecimal())
    if numbers >= 2:
        signs = sum(seen[sign] for sign in _MATH_SIGNS)
        votes["math"] += min(numbers, 6) * 0.3 + min(signs, 6) * 0.3
        if "how" in seen and ("many" in seen or "much" in seen):
            votes["math"] += 2.5


def _winner(votes: dict[str, float]) -> tuple[str, float]:
    """Return the task with most votes, `chat` without votes; ties are resolved by the order of TASKS."""
    rounded = {task: round(vote, 6) for task, vote in votes.items()}  # independent of the order of addition
    first, second = sorted(rounded.values(), reverse=True)[:2]
    if first < _ENOUGH:
        return "chat", 0.0
    task = next(task for task in TASKS if rounded[task] == first)
    return task, round((first - second) / (first + 1.0), 3)
