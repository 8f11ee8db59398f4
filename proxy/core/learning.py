"""What the operator decides about learning from feedback."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JudgePolicy:
    """The model that judges answers: which one, how many, for how long to wait, and what it may cost."""

    model: str  # a model or a route
    share: float = 0.05  # of the answers of `auto`
    deadline: float = 30.0
    budget: int | None = None  # nano-dollars per day


@dataclass(frozen=True, slots=True)
class ShadowPolicy:
    """Calls that a second model answers, too, so that both answers are judged."""

    share: float  # of the calls of `auto`
    budget: int | None = None  # nano-dollars per day


@dataclass(frozen=True, slots=True)
class LearningRules:
    """The settings `learning`, where it is on."""

    least: int = 100  # labels of a model before it is learned
    key_share: float = 0.2  # the most weight of one key
    explore: float = 0.0  # the share of calls in which another adequate model may come first
    signals: bool = False  # rate answers, and learn from the ratings
    comments: bool = False  # keep the comments of feedback
    judge: JudgePolicy | None = None
    shadow: ShadowPolicy | None = None
