"""The section `resilience`: what happens when a target fails, is slow, or has no room."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from proxy.config.base import Integer, Number, Section
from proxy.config.presets import PRESETS, Preset
from proxy.config.units import Duration, PositiveDuration
from proxy.core.failures import FailureClass, KeyEffect
from proxy.core.slow import RECENT


class BreakerSettings(Section):
    """When a target is rested, per provider, model and key."""

    consecutive: Integer = Field(default=3, ge=1, description="Failures in a row that open the breaker.")
    window: PositiveDuration = Field(default=600.0, description="The sliding window of `window_failures`.")
    window_failures: Integer = Field(default=5, ge=1, description="Failures within the window that open the breaker.")
    open: PositiveDuration = Field(default=60.0, description="How long it stays open; doubles on repeat.")
    max_open: PositiveDuration = Field(default=1800.0, description="The longest that it stays open.")
    half_open: Integer = Field(default=1, ge=1, description="Probes that are admitted when it may close again.")

    @model_validator(mode="after")
    def _grows(self) -> "BreakerSettings":
        if self.max_open < self.open:
            raise ValueError("`max_open` must be at least as long as `open`; raise it or shorten `open`")
        return self


class RetryBudgetSettings(Section):
    """How much of the traffic may be retries."""

    share: Number = Field(default=0.2, ge=0, le=1, description="Attempts beyond the first, as a share of recent calls.")
    floor: Number = Field(default=10.0, ge=0, description="Attempts beyond the first that are free, a second.")


class RetrySettings(Section):
    """How often a call is tried."""

    at: ClassVar[str | None] = "resilience.retry"

    attempts: Integer = Field(default=4, ge=1, description="Upstream attempts of one call, all targets together.")
    same_target: Integer = Field(default=1, ge=0, description="Retries on one target.")
    backoff: Duration = Field(default=0.2, description="The pause before the first retry; doubles, with full jitter.")
    max_backoff: Duration = Field(default=5.0, description="The longest pause before a retry.")
    stale_post: bool = Field(
        default=True, description="Whether a request that met a dead pooled connection goes out again on a fresh one."
    )
    budget: RetryBudgetSettings = Field(
        default=RetryBudgetSettings(), description="How much of the traffic may be retries."
    )

    @model_validator(mode="after")
    def _grows(self) -> "RetrySettings":
        if self.backoff > self.max_backoff:
            raise ValueError("has a `backoff` longer than its `max_backoff`")
        return self


class DeadlineSettings(Section):
    """How long a call may take."""

    soft: Duration = Field(default=30.0, description="After it, fast targets are preferred and none is retried.")
    hard: PositiveDuration = Field(default=600.0, description="After it, the call ends, unless its answer has begun.")


class QueueSettings(Section):
    """Where calls wait for a free slot."""

    size: Integer = Field(default=1000, ge=0, description="Calls that may wait.")
    max_wait: Duration = Field(default=10.0, description="How long a call may wait.")


class FailureSettings(Section):
    """What follows from one class of failures; what is absent is the preset's, or that of the table in the docs."""

    retries: Integer | None = Field(default=None, ge=0, description="Retries on the same target.")
    backoff: Duration | None = Field(default=None, description="The pause before the first of them.")
    max_backoff: Duration | None = Field(default=None, description="The longest pause before one.")
    breaker: bool | None = Field(default=None, description="Whether it counts against the circuit breaker.")
    open: PositiveDuration | None = Field(default=None, description="How long a breaker stays open that it opened.")
    max_open: PositiveDuration | None = Field(default=None, description="The longest that such a breaker stays open.")
    key: KeyEffect | None = Field(default=None, description="Whether the key rests: for the model, or everywhere.")
    rest: PositiveDuration | None = Field(default=None, description="How long, where the provider does not say.")
    max_rest: PositiveDuration | None = Field(default=None, description="How long at most, whoever says so.")

    @model_validator(mode="after")
    def _grows(self) -> "FailureSettings":
        for short, long in (("backoff", "max_backoff"), ("open", "max_open"), ("rest", "max_rest")):
            first, last = getattr(self, short), getattr(self, long)
            if first is not None and last is not None and first > last:
                raise ValueError(f"has a `{short}` longer than its `{long}`")
        return self


class SlowCallSettings(Section):
    """When a stream that began late counts as a failure."""

    enabled: bool = Field(default=True, description="Whether it ever does.")
    times: Annotated[Number, Field(gt=1)] = Field(
        default=5.0, description="How many times the target's normal time to the first content is too long."
    )
    at_least: PositiveDuration = Field(default=1.0, description="Never less than this is too long.")


class ProbeSettings(Section):
    """How resting keys and open breakers are tried before a client is."""

    enabled: bool = Field(default=True, description="Whether they are, by asking for the provider's list of models.")
    chat: bool = Field(default=False, description="Whether a call of one token may be made where the list cannot tell.")


class HedgeSettings(Section):
    """A second target beside one that is slower than usual. The loser is cancelled, and may be charged for."""

    enabled: bool = Field(default=False, description="Whether streams are hedged.")
    percentile: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.95, description="The share of the first target's calls that begin before the second is asked."
    )
    samples: Integer = Field(default=20, ge=1, le=RECENT, description="Calls that must be known before that.")


class ResilienceSettings(Section):
    """What happens when a target fails."""

    at: ClassVar[str | None] = "resilience"

    preset: Preset = Field(default="standard", description="Where the values come from that are not given here.")
    breaker: BreakerSettings = Field(default=BreakerSettings(), description="When a target is rested.")
    retry: RetrySettings = Field(default=RetrySettings(), description="How often a call is tried.")
    deadline: DeadlineSettings = Field(default=DeadlineSettings(), description="How long a call may take.")
    queue: QueueSettings = Field(default=QueueSettings(), description="Where calls wait for a free slot.")
    mid_stream: Literal["terminate", "continue"] = Field(
        default="terminate", description="What a fault in a stream leads to."
    )
    failures: dict[FailureClass, FailureSettings] = Field(
        default={}, description="What follows from each class of failures, where it differs from the preset."
    )
    slow_calls: SlowCallSettings = Field(
        default=SlowCallSettings(), description="When a stream that began late counts as a failure."
    )
    probes: ProbeSettings = Field(default=ProbeSettings(), description="How what rests is tried before a client is.")
    hedge: HedgeSettings = Field(default=HedgeSettings(), description="A second target beside a slow one.")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """The preset's values under those that are given."""
        name = given.get("preset", "standard") if isinstance(given, Mapping) else None
        return _over(PRESETS[name], given) if isinstance(name, str) and name in PRESETS else given


def _over(preset: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, with what only the preset has; wherever both have mappings, likewise inside them."""
    merged = {**preset, **given}
    for name in preset.keys() & given.keys():
        if isinstance(preset[name], Mapping) and isinstance(given[name], Mapping):
            merged[name] = _over(preset[name], given[name])
    return merged
