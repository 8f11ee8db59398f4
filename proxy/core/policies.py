"""The compiled settings of the section `resilience`, as values. Durations are in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and for how long; counts are failures, times are seconds."""

    consecutive: int = 3
    window: float = 600.0
    window_failures: int = 5
    open: float = 60.0
    max_open: float = 1800.0
    half_open: int = 1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retry limits: `attempts` counts all attempts of a call, `same_target` the retries of one target."""

    attempts: int = 4
    same_target: int = 1
    backoff: float = 0.2
    max_backoff: float = 5.0
    stale_post: bool = True  # resend a request on a new connection if the pooled one was stale
    share: float = 0.2  # further attempts of the process, as a share of recent calls
    floor: float = 10.0  # further attempts per second beside the share


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """Seconds after the call's start: `soft` prefers fast targets, `hard` ends at the commit point."""

    soft: float = 30.0
    hard: float = 600.0


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How many calls may wait for capacity, and for how many seconds each."""

    size: int = 1000
    max_wait: float = 10.0


@dataclass(frozen=True, slots=True)
class SlowPolicy:
    """A stream is slow after `times` the normal time to its first content, and at least `at_least` seconds."""

    enabled: bool = True
    times: float = 5.0
    at_least: float = 1.0


@dataclass(frozen=True, slots=True)
class LlmClassifierPolicy:
    """The model that classifies prompts: which one, for how long to wait, and what it may cost."""

    model: str  # a model or a route
    deadline: float = 1.0
    budget: int | None = None  # nano-dollars per day
    cache: int = 10_000  # answers that are kept


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """Hedge if a target is slower than `percentile` of its calls, once `samples` of them are known."""

    enabled: bool = False
    percentile: float = 0.95
    samples: int = 20


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """Background probes of keys in cooldown and open breakers; `chat` allows chat calls of one token."""

    enabled: bool = True
    chat: bool = False


@dataclass(frozen=True, slots=True)
class CostTarget:
    """The share of `auto` that strong models get: of its calls, or of the money that they alone would cost."""

    share: float
    of: Literal["calls", "spend"] = "calls"
