"""What an operator may decide about failures, as values: the section `resilience`, compiled. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and for how long; counts are failures, times seconds."""

    consecutive: int = 3
    window: float = 600.0
    window_failures: int = 5
    open: float = 60.0
    max_open: float = 1800.0
    half_open: int = 1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` counts all upstream attempts of a call, `same_target` the retries on one target."""

    attempts: int = 4
    same_target: int = 1
    backoff: float = 0.2
    max_backoff: float = 5.0
    stale_post: bool = True  # a request that met a dead pooled connection goes out again on a fresh one
    share: float = 0.2  # of recent calls: attempts beyond each call's first, over the process
    floor: float = 10.0  # ... and as many a second besides


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """Seconds after the call's start: `soft` prefers fast targets, `hard` ends at the commit point."""

    soft: float = 30.0
    hard: float = 600.0


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How many calls may wait for room, and how long each, in seconds."""

    size: int = 1000
    max_wait: float = 10.0


@dataclass(frozen=True, slots=True)
class SlowPolicy:
    """When an answer that began late counts as a failure: `times` the normal time to the first content, in seconds."""

    enabled: bool = True
    times: float = 5.0
    at_least: float = 1.0


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """A second target where the first is slower than `percentile` of its calls, once `samples` of them are known."""

    enabled: bool = False
    percentile: float = 0.95
    samples: int = 20


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """Whether resting keys and open breakers are asked in the background; `chat` allows calls of one token."""

    enabled: bool = True
    chat: bool = False
