"""The settler: turns a finished record into cost, metrics, and one line in the access log.

It runs exactly once per call, whatever the outcome, and never raises: its errors are logged. It does not await, so
cancellation cannot interrupt it.
"""

from __future__ import annotations

import logging
from typing import Any

from proxy.core.clock import Clock
from proxy.core.model import OTHER, Deployment
from proxy.core.money import billed_nusd, usd
from proxy.core.record import Record
from proxy.core.usage import Usage
from proxy.observe.metrics import Metrics

_LOG = logging.getLogger(__name__)
_ACCESS = logging.getLogger("proxy.access")
_LONGEST = 256


class Settler:
    """Settles records into metrics and the access log."""

    def __init__(self, *, metrics: Metrics, clock: Clock, access_log: bool) -> None:
        self._metrics = metrics
        self._clock = clock
        self.access_log = access_log

    def settle(self, record: Record) -> None:
        """Settle one call."""
        try:
            now = self._clock.monotonic()
            self._count(record, now)
            if self.access_log:
                _ACCESS.info("call", extra={"fields": _fields(record, now)})
        except Exception:
            _LOG.exception("a call could not be settled", extra={"fields": {"id": record.id}})

    def probed(self, deployment: Deployment, outcome: str, usage: Usage | None) -> None:
        """Count the call of a background probe, which costs money like a client's call."""
        self._count_attempt(deployment, outcome, usage, billed_nusd(usage, deployment))

    def _count(self, record: Record, now: float) -> None:
        metrics, timings = self._metrics, record.timings
        provider, model = record.chosen.labels if record.chosen else (OTHER, OTHER)
        metrics.requests.labels(_route(record), provider, model, str(record.status)).inc()
        metrics.duration.observe(now - timings.started)
        metrics.overhead.observe(timings.overhead(now))
        if timings.first_token is not None and record.call and record.call.stream:
            metrics.first_token.observe(timings.first_token - timings.started)
        for attempt in record.attempts:
            self._count_attempt(attempt.deployment, attempt.outcome, attempt.usage, attempt.cost_nusd)

    def _count_attempt(self, deployment: Deployment, outcome: str, usage: Usage | None, nusd: int | None) -> None:
        provider, model = deployment.labels
        self._metrics.attempts.labels(provider, model, outcome).inc()
        if usage and usage.source == "clamped":
            self._metrics.usage_clamped.labels(provider, model).inc()
            fields = {"provider": provider, "model": model, "input": usage.input, "output": usage.output}
            _LOG.warning("an upstream reported more tokens than its answer can have", extra={"fields": fields})
        if usage:
            tokens = {"input": usage.input, "output": usage.output, "cached": usage.cached}
            for kind, count in {**tokens, "reasoning": usage.reasoning}.items():
                self._metrics.tokens.labels(provider, model, kind).inc(count)
        if nusd:
            self._metrics.cost.labels(provider, model).inc(usd(nusd))


def _route(record: Record) -> str:
    """Return the route label; `other` for a model that is not in the configuration."""
    plan = record.plan
    if plan is None or any(
        target.deployment.name == plan.route and not target.deployment.listed for target in plan.targets
    ):
        return OTHER
    return plan.route


def _fields(record: Record, now: float) -> dict[str, Any]:
    """Return the fields of the access line: ids, names and numbers, no content; tokens and cost of all attempts."""
    call, chosen, timings = record.call, record.chosen, record.timings
    usage, cost = record.usage, record.cost_nusd
    first = timings.first_token
    return {
        "id": record.id,
        "request_id": record.request_id,
        "client_id": call.options.client_id if call else None,
        "model": call.model[:_LONGEST] if call else None,
        "route": record.plan.route[:_LONGEST] if record.plan else None,
        "provider": chosen.provider.label if chosen else None,
        "upstream_model": chosen.model[:_LONGEST] if chosen else None,
        "stream": call.stream if call else None,
        "status": record.status,
        "outcome": record.outcome,
        "code": record.code[:_LONGEST] if record.code else None,
        "attempts": [
            {
                "provider": attempt.deployment.provider.label,
                "model": attempt.deployment.model[:_LONGEST],
                "key": attempt.key_id,
                "outcome": attempt.outcome,
                "status": attempt.status,
                "ms": round(attempt.ms, 1),
                **({"cause": attempt.cause, "error": attempt.error} if attempt.cause else {}),
            }
            for attempt in record.attempts
        ],
        "input_tokens": usage.input if usage else None,
        "output_tokens": usage.output if usage else None,
        "cost_usd": usd(cost) if cost is not None else None,
        "ms": round((now - timings.started) * 1000, 1),
        "ttft_ms": round((first - timings.started) * 1000, 1) if first is not None else None,
        "waited_ms": round(timings.queue_seconds * 1000, 1),
        "predicted_wait_ms": round(timings.predicted_queue_seconds * 1000, 1),
        "overhead_ms": round(timings.overhead(now) * 1000, 3),
        **({"continued_after": record.continued.after_characters} if record.continued else {}),
    }
