"""The prompt classifier: estimates the task of a prompt and the tier that it needs, by plain rules.

A profile lists features by fixed names, never words of the prompt. `trained.py` has another classifier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.core.call import Call
from proxy.core.model import EMPTY, TIERS, Tier
from proxy.routing.classify.prompt import Prompt, read_prompt
from proxy.routing.classify.tasks import Reading, read_words
from proxy.routing.facts import positive

_BASE = 0.10
CUTS = (0.31, 0.47)  # scores at which the medium and the high tier begin


@dataclass(frozen=True, slots=True)
class Profile:
    """A classifier's result. `features` are names with their contributions to the score."""

    task: str
    tier: Tier
    score: float  # 0 (easy) to 1 (hard)
    features: tuple[tuple[str, float], ...]
    confidence: float  # 0 to 1
    classifier: str = "rules"  # the classifier, and the version of its model
    needs: tuple[str, ...] = ()  # capabilities that a classifying model has named
    waited: float = field(default=0.0, compare=False)  # seconds for which the call waited for that model
    fallback: str = ""  # why no model has classified the prompt, although one is configured
    cuts: tuple[float, float] = CUTS  # the scores at which the medium and the high tier begin
    inputs: tuple[float, ...] = field(default=(), repr=False)  # what a learner reads: see `packed.py`
    hashed: tuple[tuple[int, int], ...] = field(default=(), repr=False)  # buckets of words and pairs, with counts
    learned: Mapping[str, float] = field(default_factory=lambda: EMPTY, repr=False)  # by model: see `learned.py`
    before_learning: float | None = None  # the score of the classifier, if what was learned has changed it


class Classifier(Protocol):
    """Classifies prompts without I/O; the same call always gets the same profile."""

    def classify(self, call: Call) -> Profile:
        """Return the profile of a call's last turn."""
        ...


_TASK_SCORES = {"math": 0.20, "code": 0.18, "analysis": 0.16, "writing": 0.08, "translation": 0.06, "extraction": 0.05}
_EFFORT_SCORES = {"none": -0.10, "minimal": -0.10, "low": -0.05, "medium": 0.10, "high": 0.25, "xhigh": 0.30}


class RuleClassifier:
    """A classifier that sums small terms over words, length, shape and parameters."""

    def classify(self, call: Call) -> Profile:
        """Classify the last user turn; `router.task` overrides the task."""
        prompt = read_prompt(call.body)
        reading = read_words(prompt.text)
        asked = call.options.task
        task = asked or reading.task
        terms = {**_text_terms(prompt, reading, task), **shape_terms(prompt, call.body)}
        features = tuple((name, round(term, 3)) for name, term in terms.items() if abs(term) >= 0.005)
        score = round(min(1.0, max(0.0, _BASE + sum(term for _, term in features))), 3)
        return Profile(task, tier_of(score), score, features, 1.0 if asked else reading.confidence)


RULES = RuleClassifier()


def tier_of(score: float, cuts: tuple[float, float] = CUTS) -> Tier:
    """Return the tier for a score; `cuts` are the scores at which the medium and the high tier begin."""
    medium, high = cuts
    return TIERS[(score >= medium) + (score >= high)]


def _text_terms(prompt: Prompt, reading: Reading, task: str) -> dict[str, float]:
    return {
        f"task {task}": _TASK_SCORES.get(task, 0.0),
        "length": min(0.32, 0.05 * math.log2(1 + prompt.characters / 120)),
        "depth words": min(0.24, 0.06 * reading.depth),
        "code blocks": min(0.12, 0.06 * (reading.fences // 2)),
        "several questions": 0.04 if reading.questions >= 3 else 0.0,
        "enumerated demands": 0.05 if reading.lines >= 4 else 0.0,
    }


def shape_terms(prompt: Prompt, body: Mapping[str, Any]) -> dict[str, float]:
    """Return the terms of the conversation's shape and of the parameters, which no text shows."""
    effort = body.get("reasoning_effort")
    limit = positive(body.get("max_completion_tokens")) or positive(body.get("max_tokens"))
    short, long = limit is not None and limit <= 64, limit is not None and limit >= 4_000
    return {
        "long system prompt": 0.04 if prompt.system_characters > 2_000 else 0.0,
        "turns": min(0.08, 0.01 * max(0, prompt.turns - 1)),
        "tools": min(0.12, 0.06 + 0.01 * prompt.tools) if prompt.tools else 0.0,
        "images": 0.05 if prompt.images else 0.0,
        "reasoning_effort": _EFFORT_SCORES.get(effort, 0.0) if isinstance(effort, str) else 0.0,
        "short answer asked": -0.06 if short else 0.0,
        "long answer asked": 0.06 if long else 0.0,
    }
