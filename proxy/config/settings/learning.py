"""The section `learning`: what `auto` learns from judged answers."""

from typing import ClassVar

from pydantic import Field

from proxy.config.settings.base import Integer, Number, Section
from proxy.config.settings.units import PositiveDuration


class JudgeSettings(Section):
    """A model that judges a share of the answers of `auto`."""

    at: ClassVar[str | None] = "learning.judge"

    model: str | None = Field(
        default=None, min_length=1, description="The model, tier or scenario that judges answers; none: no judge."
    )
    share: Number = Field(default=0.05, ge=0, le=1, description="The share of the answers of `auto` that is judged.")
    deadline: PositiveDuration = Field(default=30.0, description="How long a judgement may take.")
    budget: Number | None = Field(
        default=1, ge=0, description="The most that the judgements may cost per day in USD; `null`: no limit."
    )


class ShadowSettings(Section):
    """Calls of `auto` that a second model answers, too. Its answer is judged and dropped."""

    at: ClassVar[str | None] = "learning.shadow"

    share: Number = Field(
        default=0, ge=0, le=0.5, description="The share of `auto` calls that a second model answers, too."
    )
    budget: Number | None = Field(
        default=1, ge=0, description="The most that these answers may cost per day in USD; `null`: no limit."
    )


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
    comments: bool = Field(default=False, description="Keep the comments of feedback.")
    judge: JudgeSettings = Field(
        default=JudgeSettings.model_construct(), description="A model that judges a share of the answers of `auto`."
    )
    shadow: ShadowSettings = Field(
        default=ShadowSettings.model_construct(), description="Calls of `auto` that a second model answers, too."
    )
