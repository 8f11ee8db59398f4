"""The section `resilience`: how failures, slow targets and exhausted limits are handled."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from proxy.config.settings.base import Integer, Number, Section
from proxy.config.settings.presets import PRESETS, Preset
from proxy.config.settings.units import Duration, PositiveDuration
from proxy.core.failures import FailureClass, KeyEffect
from proxy.core.slow import RECENT


class BreakerSettings(Section):
    """The circuit breaker of each (provider, model, key)."""

    consecutive: Integer = Field(default=3, ge=1, description="Failures in a row that open the breaker.")
    window: PositiveDuration = Field(default=600.0, description="The sliding window for `window_failures`.")
    window_failures: Integer = Field(default=5, ge=1, description="Failures within the window that open the breaker.")
    open: PositiveDuration = Field(
        default=60.0, description="How long the breaker stays open; doubles each time it opens again."
    )
    max_open: PositiveDuration = Field(default=1800.0, description="The longest time that the breaker stays open.")
    half_open: Integer = Field(default=1, ge=1, description="Concurrent probes while the breaker is half-open.")

    @model_validator(mode="after")
    def _grows(self) -> "BreakerSettings":
        if self.max_open < self.open:
            raise ValueError("`max_open` must be at least as long as `open`; raise it or shorten `open`")
        return self


class RetryBudgetSettings(Section):
    """The upper bound on attempts beyond the first, as a part of all traffic."""

    share: Number = Field(
        default=0.2, ge=0, le=1, description="Allow this many further attempts, as a share of recent calls."
    )
    floor: Number = Field(default=10.0, ge=0, description="Allow this many further attempts per second in any case.")


class RetrySettings(Section):
    """The number of attempts of a call, and the delays between them."""

    at: ClassVar[str | None] = "resilience.retry"

    attempts: Integer = Field(
        default=4, ge=1, description="The maximum number of attempts of a call, over all targets."
    )
    same_target: Integer = Field(default=1, ge=0, description="The maximum number of retries on one target.")
    backoff: Duration = Field(default=0.2, description="The delay before the first retry; doubles, with full jitter.")
    max_backoff: Duration = Field(default=5.0, description="The longest delay before a retry.")
    stale_post: bool = Field(
        default=True,
        description="Resend a request on a new connection if the pooled connection turned out to be closed.",
    )
    budget: RetryBudgetSettings = Field(
        default=RetryBudgetSettings.model_construct(), description="The upper bound on attempts beyond the first."
    )

    @model_validator(mode="after")
    def _grows(self) -> "RetrySettings":
        if self.backoff > self.max_backoff:
            raise ValueError("has a `backoff` longer than its `max_backoff`; shorten it or raise `max_backoff`")
        return self


class DeadlineSettings(Section):
    """The deadlines of a call."""

    soft: Duration = Field(default=30.0, description="After this time, prefer fast targets and do not retry a target.")
    hard: PositiveDuration = Field(default=600.0, description="End a call whose answer has not begun after this time.")


class QueueSettings(Section):
    """The queue of calls that wait for capacity."""

    size: Integer = Field(default=1000, ge=0, description="The maximum number of waiting calls.")
    max_wait: Duration = Field(default=10.0, description="The longest time that a call waits.")


class FailureSettings(Section):
    """How one class of failures is handled; absent values come from the preset, else from `docs/resilience.md`."""

    retries: Integer | None = Field(default=None, ge=0, description="The maximum number of retries on the same target.")
    backoff: Duration | None = Field(default=None, description="The delay before the first retry.")
    max_backoff: Duration | None = Field(default=None, description="The longest delay before a retry.")
    breaker: bool | None = Field(default=None, description="Count these failures against the circuit breaker.")
    open: PositiveDuration | None = Field(
        default=None, description="How long a breaker opened by such a failure stays open."
    )
    max_open: PositiveDuration | None = Field(
        default=None, description="The longest time that such a breaker stays open."
    )
    key: KeyEffect | None = Field(
        default=None, description="Put the key into cooldown for the model, for all models, or not at all."
    )
    rest: PositiveDuration | None = Field(
        default=None, description="The cooldown if the provider does not specify one."
    )
    max_rest: PositiveDuration | None = Field(
        default=None, description="The longest cooldown, including one specified by the provider."
    )

    @model_validator(mode="after")
    def _grows(self) -> "FailureSettings":
        for short, long in (("backoff", "max_backoff"), ("open", "max_open"), ("rest", "max_rest")):
            first, last = getattr(self, short), getattr(self, long)
            if first is not None and last is not None and first > last:
                raise ValueError(f"has a `{short}` longer than its `{long}`; shorten it or raise `{long}`")
        return self


class SlowCallSettings(Section):
    """Detection of streams that start unusually late."""

    enabled: bool = Field(default=True, description="Treat streams that start far later than usual as failures.")
    times: Annotated[Number, Field(gt=1)] = Field(
        default=5.0, description="The multiple of the target's usual time to first content that counts as slow."
    )
    at_least: PositiveDuration = Field(
        default=1.0, description="The shortest time to first content that can count as slow."
    )


class ProbeSettings(Section):
    """Background probes of keys in cooldown and of open breakers."""

    enabled: bool = Field(
        default=True, description="Probe keys in cooldown and open breakers by requesting the list of models."
    )
    chat: bool = Field(
        default=False, description="Allow probes by a call of one token where the list of models is not conclusive."
    )


class HedgeSettings(Section):
    """A second attempt on the next target while the first is slow. The loser is cancelled, and may cost money."""

    enabled: bool = Field(default=False, description="Hedge streams.")
    percentile: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.95, description="The percentile of the target's times to first content after which the hedge starts."
    )
    samples: Integer = Field(
        default=20, ge=1, le=RECENT, description="The number of recorded calls needed before hedging."
    )


class ResilienceSettings(Section):
    """How failures of targets are handled."""

    at: ClassVar[str | None] = "resilience"

    preset: Preset = Field(default="standard", description="The preset that supplies the values not set here.")
    breaker: BreakerSettings = Field(
        default=BreakerSettings.model_construct(), description="The circuit breaker of each (provider, model, key)."
    )
    retry: RetrySettings = Field(
        default=RetrySettings.model_construct(), description="The number of attempts and the delays between them."
    )
    deadline: DeadlineSettings = Field(
        default=DeadlineSettings.model_construct(), description="The deadlines of a call."
    )
    queue: QueueSettings = Field(
        default=QueueSettings.model_construct(), description="The queue of calls that wait for capacity."
    )
    mid_stream: Literal["terminate", "continue"] = Field(
        default="terminate", description="How a stream that breaks off is handled."
    )
    failures: dict[FailureClass, FailureSettings] = Field(
        default={}, description="How each class of failures is handled; overrides the preset."
    )
    slow_calls: SlowCallSettings = Field(
        default=SlowCallSettings.model_construct(), description="Detection of streams that start unusually late."
    )
    probes: ProbeSettings = Field(
        default=ProbeSettings.model_construct(), description="Background probes of keys in cooldown and open breakers."
    )
    hedge: HedgeSettings = Field(
        default=HedgeSettings.model_construct(),
        description="A second attempt on the next target while the first is slow.",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        """Merge the values of the file over those of the preset."""
        name = values.get("preset", "standard") if isinstance(values, Mapping) else None
        return _over(PRESETS[name], values) if isinstance(name, str) and name in PRESETS else values


def _over(preset: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`preset` with the values of `values` merged over it, recursively in mappings."""
    merged = {**preset, **values}
    for name in preset.keys() & values.keys():
        if isinstance(preset[name], Mapping) and isinstance(values[name], Mapping):
            merged[name] = _over(preset[name], values[name])
    return merged
