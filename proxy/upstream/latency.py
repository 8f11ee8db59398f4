"""Measured latency: a moving average of the seconds to the first content, by deployment name."""

from __future__ import annotations

WEIGHT = 0.2  # of a new measurement in the moving average
MAX_DEPLOYMENTS = 10_000  # `any_model` lets clients name models; the oldest are dropped


class Latencies:
    """The moving averages; `seconds` is for reading."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add the time to the first content of a successful answer."""
        averages = self.seconds
        before = averages.get(name, seconds)
        averages[name] = before + WEIGHT * (seconds - before)
        if len(averages) > MAX_DEPLOYMENTS:
            del averages[next(iter(averages))]
