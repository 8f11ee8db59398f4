"""What the operator decides about learning from feedback."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LearningRules:
    """The settings `learning`, where it is on."""

    least: int = 100  # labels of a model before it is learned
    key_share: float = 0.2  # the most weight of one key
    explore: float = 0.0  # the share of calls in which another adequate model may come first
    signals: bool = False  # learn from how calls ended, too
