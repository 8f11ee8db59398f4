"""The section `learning`: what `auto` learns from judged answers."""

from typing import ClassVar

from pydantic import Field

from proxy.config.settings.base import Integer, Number, Section


class LearningSettings(Section):
    """Learning from the judged answers of `auto`. Feedback is accepted and recorded in any case."""

    at: ClassVar[str | None] = "learning"

    enabled: bool = Field(default=False, description="Learn from feedback, and let what was learned choose models.")
    min_labels: Integer = Field(
        default=100, ge=20, le=10_000, description="How many labels a model needs before it is learned."
    )
    key_share: Number = Field(
        default=0.2, gt=0, le=1, description="The most that the labels of one virtual key or user count, of all labels."
    )
    explore: Number = Field(
        default=0, ge=0, le=0.5, description="The share of `auto` calls in which another adequate model may come first."
    )
    signals: bool = Field(
        default=False,
        description="Rate the answers of `auto` by cheap signs, and learn from the ratings.",
    )
