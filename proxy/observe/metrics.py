"""Prometheus metrics, in a registry of their own.

Label values come from the configuration, so that clients cannot create series; anything else is `other`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.core.snapshot import Snapshot
from proxy.observe import series
from proxy.observe.zeros import Zeros

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = {"closed": 0, "half-open": 1, "open": 2}
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Metrics:
    """All metrics, as documented in `docs/metrics.md`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it would add a second series per counter

        self._zeros: dict[Counter, Zeros] = {}

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            made = Counter(name, text, labels, registry=self.registry)
            self._zeros[made] = Zeros(made, name, labels)
            return made

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
            "signalbox_overhead_seconds",
            "Time of a call that was spent neither on an upstream nor on the client.",
            _OVERHEAD,
        )
        self.first_token = histogram(
            "signalbox_time_to_first_token_seconds", "From the request to the first content of a stream.", _SECONDS
        )
        self.tokens = counter("signalbox_tokens_total", "Tokens as upstreams reported them.", (*target, "kind"))
        self.usage_clamped = counter(
            "signalbox_usage_clamped_total", "Answers that reported more tokens than they can contain.", target
        )
        self.cost = counter("signalbox_cost_usd_total", "Cost in USD at the configured prices.", target)
        self.inflight = Gauge("signalbox_inflight_requests", "Calls in flight.", registry=self.registry)
        self.queue_depth = Gauge("signalbox_queue_depth", "Calls that wait for capacity.", registry=self.registry)
        self.reload_success = Gauge(
            "signalbox_config_reload_success", "1 if the last configuration read was valid.", registry=self.registry
        )
        self.reload_success.set(1)
        self._live: list[_Live] = []

    def initialise(self, snapshot: Snapshot) -> None:
        """Show the series of a configuration with the value 0 until they count, and none of an earlier one."""
        targets, zeros = series.targets(snapshot), self._zeros
        zeros[self.attempts].replace((*target, outcome) for target in targets for outcome in series.OUTCOMES)
        zeros[self.tokens].replace((*target, kind) for target in targets for kind in series.KINDS)
        zeros[self.usage_clamped].replace(targets)
        zeros[self.cost].replace(series.priced(snapshot))
        zeros[self.requests].replace(series.requests(snapshot))

    def watch_breakers(
        self,
        breakers: Callable[[], list[dict[str, Any]]],
        known: Callable[[], Iterable[str]],
        keys: Callable[[], Collection[tuple[str, str]]],
    ) -> None:
        """Read `signalbox_breaker_state` at each scrape.

        `known` returns the configured deployments, `keys` the (provider, id) of the configured keys.
        """
        self._watch(_Breakers(breakers, known, keys))

    def watch_retries(self, refused: Callable[[], int]) -> None:
        """Read `signalbox_retries_refused_total` at each scrape."""
        self._watch(_Refused(refused))

    def watch_cooldowns(self, rests: Callable[[], list[dict[str, Any]]], snapshot: Callable[[], Snapshot]) -> None:
        """Read `signalbox_keys_in_cooldown` at each scrape."""
        self._watch(_Cooldowns(rests, snapshot))

    def watch_providers(self, snapshot: Callable[[], Snapshot]) -> None:
        """Read `signalbox_provider_usable` at each scrape."""
        self._watch(_Providers(snapshot))

    def watch_process(self, lag: Callable[[], float]) -> None:
        """Read CPU, memory, file descriptors and garbage collections; `lag` returns the event-loop lag in seconds."""
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._watch(_Lag(lag))

    def read(self) -> None:
        """Read the values that other components hold; call it in the event loop, so that they are consistent."""
        for live in self._live:
            live.read()

    def text(self) -> bytes:
        """Return the exposition in Prometheus format, with the values of the last `read`; may run in a thread."""
        text = generate_latest(self.registry)
        for zeros in self._zeros.values():
            text = zeros.added_to(text)
        return text

    def _watch(self, live: _Live) -> None:
        self._live.append(live)
        self.registry.register(live)


class _Live(Collector):
    """A metric family whose values another component holds."""

    def __init__(self) -> None:
        self._families: list[Metric] | None = None

    def read(self) -> None:
        """Read the current values."""
        self._families = list(self.families())

    def collect(self) -> Iterable[Metric]:
        return list(self.families()) if self._families is None else self._families

    @abstractmethod
    def families(self) -> Iterable[Metric]:
        """Return the family with the values of now."""


class _Breakers(_Live):
    def __init__(
        self,
        breakers: Callable[[], list[dict[str, Any]]],
        known: Callable[[], Iterable[str]],
        keys: Callable[[], Collection[tuple[str, str]]],
    ) -> None:
        super().__init__()
        self._breakers = breakers
        self._known = known
        self._keys = keys

    def families(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "signalbox_breaker_state", "0 closed, 1 half-open, 2 open.", labels=["provider", "model", "key"]
        )
        known, keys = set(self._known()), self._keys()
        worst: dict[tuple[str, str, str], int] = {}
        for row in self._breakers():
            if (row["provider"], row["key"]) not in keys:
                continue  # removed from the configuration
            listed = f"{row['provider']}/{row['model']}" in known
            labels = (row["provider"], row["model"] if listed else "other", row["key"])
            worst[labels] = max(worst.get(labels, 0), STATES[row["state"]])
        for labels, state in worst.items():
            family.add_metric(list(labels), state)
        yield family


class _Cooldowns(_Live):
    def __init__(self, rests: Callable[[], list[dict[str, Any]]], snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._rests = rests
        self._snapshot = snapshot

    def families(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "signalbox_keys_in_cooldown",
            "Keys in cooldown, for one model or for all.",
            labels=["provider", "reason"],
        )
        snapshot = self._snapshot()
        keys = {(row["provider"], row["reason"], row["key"]) for row in self._rests()}
        tally = Tally({(name, why): 0 for name in snapshot.providers for why in series.cooldown_reasons(snapshot)})
        tally.update((provider, reason) for provider, reason, _ in keys if provider in snapshot.providers)
        counts: Tally[tuple[str, str]] = Tally()
        for (name, reason), number in tally.items():
            counts[snapshot.providers[name].label, reason] += number
        for labels, number in counts.items():
            family.add_metric(list(labels), number)
        yield family


class _Providers(_Live):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._snapshot = snapshot

    def families(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "signalbox_provider_usable", "1 if a key of the provider is set, else 0.", labels=["provider"]
        )
        snapshot = self._snapshot()
        for provider in snapshot.providers.values():
            family.add_metric([provider.name], 0 if provider.stand_in else 1)
        for name in snapshot.left_out:
            family.add_metric([name], 0)
        yield family


class _Lag(_Live):
    def __init__(self, lag: Callable[[], float]) -> None:
        super().__init__()
        self._lag = lag

    def families(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "signalbox_event_loop_lag_seconds", "Event-loop lag: the longest delay seen recently."
        )
        family.add_metric([], self._lag())
        yield family


class _Refused(_Live):
    def __init__(self, refused: Callable[[], int]) -> None:
        super().__init__()
        self._refused = refused

    def families(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "signalbox_retries_refused", "Attempts not made because the retry budget was exhausted."
        )
        family.add_metric([], self._refused())
        yield family
