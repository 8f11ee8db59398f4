"""All metrics of the service, as documented in `docs/metrics.md`.

Label values come from the configuration, so that clients cannot create series; anything else is `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from proxy.core.snapshot import Snapshot
from proxy.observe import series
from proxy.observe.exposition import Family, exported, merged
from proxy.observe.instruments import Counter, Gauge, Histogram

_CALL = ("route", "provider", "model", "status")
_TARGET = ("provider", "model")
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Metrics:
    """The instruments that calls change, and the families that are read at a scrape."""

    def __init__(self) -> None:
        self.requests = Counter("signalbox_requests_total", "Calls of clients, by their final status.", _CALL)
        self.attempts = Counter(
            "signalbox_attempts_total", "Attempts at upstreams, by how they ended.", (*_TARGET, "outcome")
        )
        self.duration = Histogram(
            "signalbox_request_duration_seconds", "From the request to the answer's end.", _SECONDS
        )
        self.overhead = Histogram(
            "signalbox_overhead_seconds",
            "Time of a call that was spent neither on an upstream nor on the client.",
            _OVERHEAD,
        )
        self.first_token = Histogram(
            "signalbox_time_to_first_token_seconds", "From the request to the first content of a stream.", _SECONDS
        )
        self.tokens = Counter("signalbox_tokens_total", "Tokens as upstreams reported them.", (*_TARGET, "kind"))
        self.usage_clamped = Counter(
            "signalbox_usage_clamped_total", "Answers that reported more tokens than they can contain.", _TARGET
        )
        self.cost = Counter("signalbox_cost_usd_total", "Cost in USD at the configured prices.", _TARGET)
        self.inflight = Gauge("signalbox_inflight_requests", "Calls in flight.")
        self.queue_depth = Gauge("signalbox_queue_depth", "Calls that wait for capacity.")
        self.reload_success = Gauge(
            "signalbox_config_reload_success", "1 if the last configuration read was valid.", "min"
        )
        self.reload_success.set(1)
        self._instruments: list[Counter | Gauge | Histogram] = [
            value for value in vars(self).values() if isinstance(value, Counter | Gauge | Histogram)
        ]
        self._sources: list[Callable[[], Iterable[Family]]] = []
        self._live: list[Family] | None = None  # as of the last `read`

    def initialise(self, snapshot: Snapshot) -> None:
        """Show the series of a configuration with the value 0 until they count, and none of an earlier one."""
        targets = series.targets(snapshot)
        self.attempts.at_zero((*target, outcome) for target in targets for outcome in series.OUTCOMES)
        self.tokens.at_zero((*target, kind) for target in targets for kind in series.KINDS)
        self.usage_clamped.at_zero(targets)
        self.cost.at_zero(series.priced(snapshot))
        self.requests.at_zero(series.requests(snapshot))

    def watch(self, source: Callable[[], Iterable[Family]]) -> None:
        """Read the families of `source` at each scrape."""
        self._sources.append(source)

    def read(self) -> None:
        """Read the values that other components hold; call it in the event loop, so that they are consistent."""
        self._live = self._read()

    def families(self) -> list[Family]:
        """Return all families of this process, with the values of the last `read`; may run in a thread."""
        current = self._read() if self._live is None else self._live
        return [*(instrument.family() for instrument in self._instruments), *current]

    def exposition(self, others: Sequence[bytes] = (), accept: str = "") -> tuple[bytes, str]:
        """Return the exposition, together with what other processes have `export`ed, and its content type.

        `accept` is the request's header of that name; without it the format is Prometheus' text.
        """
        from proxy.observe.prometheus import exposition

        families = self.families()
        return exposition(merged(families, others) if others else families, accept)

    def export(self) -> bytes:
        """Return all families of this process for the exposition of another one."""
        return exported(self.families())

    def _read(self) -> list[Family]:
        return [family for source in self._sources for family in source()]
