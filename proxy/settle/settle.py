"""The settler: turns a finished record into metrics, one line in the access log, and rows of the ledger.

It runs exactly once per call, whatever the outcome, and never raises: its errors are logged. It does not await, so
cancellation cannot interrupt it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from proxy.core.clock import Clock
from proxy.core.ledger import Ledger
from proxy.core.log_limit import LogLimit
from proxy.core.model import OTHER, Deployment
from proxy.core.money import NUSD
from proxy.core.plan import Plan
from proxy.core.record import Record
from proxy.core.snapshot import Live
from proxy.core.usage import Usage
from proxy.observe.instruments import Cell
from proxy.observe.metrics import Metrics
from proxy.settle.access import LONGEST, AccessLine, log_access
from proxy.settle.call_logs import CallLogs

_LOG = logging.getLogger(__name__)
_UNKNOWN = (OTHER, OTHER)
_MOST_SERIES = 10_000


class Settler:
    """Settles records into metrics, the access log and the ledger."""

    answered: Sequence[Callable[[Record], None]] = ()  # receive the records of calls of `auto`,
    named: Callable[[Record], None] | None = None  # and of other calls, where `learning` is enabled

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        live: Live,
        write: Callable[[AccessLine], None] = log_access,
        logs: CallLogs | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._live = live
        self._write = write
        self._logs = logs
        self._ledger = ledger  # `None`: calls are not recorded
        self._errors = LogLimit()
        self._calls: dict[tuple[str, tuple[str, str], int], Cell] = {}  # by route, target and status
        self._attempts: dict[tuple[tuple[str, str], str], _AttemptSeries] = {}  # by target and outcome

    def settle(self, record: Record) -> None:
        """Settle one call, unless it runs on in the background, with a record of its own."""
        if record.handed_over:
            return
        try:
            self._settle(record)
            if record.plan is not None and record.plan.conversation is not None:
                for note in self.answered:
                    note(record)
            elif record.call is not None and record.call.snapshot.learning is not None and self.named is not None:
                self.named(record)
        except Exception:  # the call has been answered; an error in its accounting must not end the connection
            unlogged = self._errors.passes(self._clock.monotonic())
            if unlogged is not None:
                fields = {"id": record.id, "unlogged": unlogged}
                _LOG.exception("a call could not be settled", extra={"fields": fields})
        if self._ledger is not None:
            self._ledger.close(record)

    def probed(self, deployment: Deployment, outcome: str, usage: Usage | None, nusd: int | None) -> None:
        """Count the call of a background probe, which costs money like a client's call."""
        self._count_attempt(deployment, outcome, usage, nusd)

    def _settle(self, record: Record) -> None:
        metrics, timings, call, plan, chosen = self._metrics, record.timings, record.call, record.plan, record.chosen
        now = self._clock.monotonic()
        seconds, overhead, first = now - timings.started, timings.overhead(now), timings.first_token
        if first is not None:
            first -= timings.started
            if call is not None and call.stream:
                metrics.first_token.observe(first)
        metrics.duration.observe(seconds)
        metrics.overhead.observe(overhead)
        labels = chosen.labels if chosen is not None else _UNKNOWN
        calls = self._calls.get((plan.route if plan is not None else OTHER, labels, record.status))
        if calls is None:
            calls = self._new_calls(plan, labels, record.status)
        calls.value += 1

        tokens_in: int | None = None
        tokens_out: int | None = None
        cost: int | None = None
        for attempt in record.attempts:
            usage, nusd = attempt.usage, attempt.cost_nusd
            self._count_attempt(attempt.deployment, attempt.outcome, usage, nusd)
            if usage is not None:
                tokens_in, tokens_out = (tokens_in or 0) + usage.input, (tokens_out or 0) + usage.output
            if nusd is not None:
                cost = (cost or 0) + nusd

        snapshot = self._live.snapshot
        if self._logs is not None and (snapshot.daily_log or snapshot.request_log != "none"):
            label = _route_label(plan)
            self._logs.note(record, seconds, label, requests=snapshot.request_log, daily=snapshot.daily_log)
        if snapshot.access_log:
            self._write(
                AccessLine(
                    self._clock.time(),
                    record.id,
                    record.request_id,
                    call.options.client_id if call is not None else None,
                    call.model[:LONGEST] if call is not None else None,
                    plan.route[:LONGEST] if plan is not None else None,
                    chosen,
                    call.stream if call is not None else None,
                    record.status,
                    record.outcome,
                    record.code[:LONGEST] if record.code is not None else None,
                    record.attempts,
                    tokens_in,
                    tokens_out,
                    cost,
                    seconds,
                    first,
                    timings.queue_seconds,
                    timings.predicted_queue_seconds,
                    overhead,
                    record.continued.after_characters if record.continued is not None else None,
                    record.rating,
                )
            )

    def _new_calls(self, plan: Plan | None, labels: tuple[str, str], status: int) -> Cell:
        """Return the counter of calls with this route, target and status, and keep it."""
        label = _route_label(plan)
        cell = self._metrics.requests.labels(label, *labels, str(status))
        if plan is None or label == plan.route:  # a route that only a client has named is not kept
            if len(self._calls) >= _MOST_SERIES:
                self._calls.clear()
            self._calls[label, labels, status] = cell
        return cell

    def _count_attempt(self, deployment: Deployment, outcome: str, usage: Usage | None, nusd: int | None) -> None:
        labels = deployment.labels
        series = self._attempts.get((labels, outcome))
        if series is None:
            if len(self._attempts) >= _MOST_SERIES:
                self._attempts.clear()
            series = self._attempts[labels, outcome] = _AttemptSeries(self._metrics.attempts.labels(*labels, outcome))
        series.attempts.value += 1
        if usage is not None:
            if series.input is None or series.output is None:
                series.input = self._metrics.tokens.labels(*labels, "input")
                series.output = self._metrics.tokens.labels(*labels, "output")
            series.input.value += usage.input
            series.output.value += usage.output
            if usage.cached or usage.reasoning or usage.source == "clamped":
                self._count_details(labels, usage)
        if nusd:
            cost = series.cost
            if cost is None:
                cost = series.cost = self._metrics.cost.labels(*labels)
            cost.value += nusd / NUSD

    def _count_details(self, labels: tuple[str, str], usage: Usage) -> None:
        """Count the tokens that few answers have, and report impossible numbers."""
        metrics = self._metrics
        if usage.cached:
            metrics.tokens.labels(*labels, "cached").inc(usage.cached)
        if usage.reasoning:
            metrics.tokens.labels(*labels, "reasoning").inc(usage.reasoning)
        if usage.source == "clamped":
            metrics.usage_clamped.labels(*labels).inc()
            fields = {"provider": labels[0], "model": labels[1], "input": usage.input, "output": usage.output}
            _LOG.warning("an upstream reported more tokens than its answer can have", extra={"fields": fields})


class _AttemptSeries:
    """The counters of one target and outcome. Those of tokens and cost are looked up when they first count."""

    __slots__ = ("attempts", "cost", "input", "output")

    def __init__(self, attempts: Cell) -> None:
        self.attempts = attempts
        self.input: Cell | None = None  # tokens
        self.output: Cell | None = None
        self.cost: Cell | None = None  # known or estimated, in dollars


def _route_label(plan: Plan | None) -> str:
    """Return the route in metrics; `other` for a model that is not in the configuration."""
    if plan is None:
        return OTHER
    named = (target.deployment for target in plan.targets if target.deployment.name == plan.route)
    return plan.route if all(deployment.listed for deployment in named) else OTHER
