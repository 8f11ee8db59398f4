"""Prometheus metrics, in a registry of their own.

Labels come from the configuration's own names, so that no client can make series; anything else is `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = {"closed": 0, "half-open": 1, "open": 2}
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Metrics:
    """Every metric there is; the names are the contract's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, registry=self.registry, buckets=buckets)

        call = ("route", "provider", "model", "status")
        self.requests = counter("signalbox_requests_total", "Calls of clients, by their final status.", call)
        target = ("provider", "model")
        self.attempts = counter(
            "signalbox_attempts_total", "Attempts at upstreams, by how they ended.", (*target, "outcome")
        )
        self.duration = histogram(
            "signalbox_request_duration_seconds", "From the request to the answer's end.", _SECONDS
        )
        self.overhead = histogram(
            "signalbox_overhead_seconds", "Time of a call that was neither an upstream's nor the client's.", _OVERHEAD
        )
        self.first_token = histogram(
            "signalbox_time_to_first_token_seconds", "From the request to the first content of a stream.", _SECONDS
        )
        self.tokens = counter("signalbox_tokens_total", "Tokens as upstreams reported them.", (*target, "kind"))
        self.cost = counter("signalbox_cost_usd_total", "Cost in USD at the configured prices.", target)
        self.inflight = Gauge("signalbox_inflight_requests", "Calls in flight.", registry=self.registry)
        self.queue_depth = Gauge("signalbox_queue_depth", "Calls that wait for room.", registry=self.registry)
        self.reload_success = Gauge(
            "signalbox_config_reload_success", "1 if the last configuration read was good.", registry=self.registry
        )
        self.reload_success.set(1)

    def watch_breakers(self, breakers: Callable[[], list[dict[str, Any]]], known: Callable[[], Iterable[str]]) -> None:
        """Read `signalbox_breaker_state` when it is asked for; `known` are the configured deployments."""
        self.registry.register(_Breakers(breakers, known))

    def watch_retries(self, refused: Callable[[], int]) -> None:
        """Read `signalbox_retries_refused_total` when it is asked for."""
        self.registry.register(_Refused(refused))

    def text(self) -> bytes:
        """The exposition, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Breakers(Collector):
    def __init__(self, breakers: Callable[[], list[dict[str, Any]]], known: Callable[[], Iterable[str]]) -> None:
        self._breakers = breakers
        self._known = known

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "signalbox_breaker_state", "0 closed, 1 half-open, 2 open.", labels=["provider", "model", "key"]
        )
        known = set(self._known())
        worst: dict[tuple[str, str, str], int] = {}
        for row in self._breakers():
            listed = f"{row['provider']}/{row['model']}" in known
            labels = (row["provider"], row["model"] if listed else "other", row["key"])
            worst[labels] = max(worst.get(labels, 0), STATES[row["state"]])
        for labels, state in worst.items():
            family.add_metric(list(labels), state)
        yield family


class _Refused(Collector):
    def __init__(self, refused: Callable[[], int]) -> None:
        self._refused = refused

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "signalbox_retries_refused", "Attempts for which the retry budget had nothing left."
        )
        family.add_metric([], self._refused())
        yield family
