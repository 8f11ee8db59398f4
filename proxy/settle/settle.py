"""The settler: turns a finished record into cost, metrics, and one line in the access log.

It runs exactly once per call, whatever the outcome, and never raises: its errors are logged. It does not await, so
cancellation cannot interrupt it.
"""

from __future__ import annotations

import logging
from typing import Any

from proxy.core.clock import Clock
from proxy.core.model import Deployment
from proxy.core.money import cost_nusd, usd
from proxy.core.record import Record
from proxy.core.usage import Usage
from proxy.observe.metrics import Metrics

_LOG = logging.getLogger(__name__)
_ACCESS = logging.getLogger("proxy.access")
_LONGEST = 256
OTHER = "other"


class Settler:
    """Settles records into metrics and the access log."""

    def __init__(self, *, metrics: Metrics, clock: Clock, access_log: bool) -> None:
        self._metrics = metrics
        self._clock = clock
        self.access_log = access_log

    def settle(self, record: Record) -> None:
        """Settle one call."""
        try:
            price(record)
            now = self._clock.monotonic()
            overhead = max(0.0, now - record.started - record.upstream_seconds - record.client_seconds - record.waited)
            self._count(record, now, overhead)
            if self.access_log:
                _ACCESS.info("call", extra={"fields": _fields(record, now, overhead)})
        except Exception:
            _LOG.exception("a call could not be settled", extra={"fields": {"id": record.id}})

    def probed(self, deployment: Deployment, outcome: str, usage: Usage | None) -> None:
        """Count the call of a background probe, which costs money like a client's call."""
        provider, model = _labels(deployment)
        self._metrics.attempts.labels(provider, model, outcome).inc()
        self._spent(provider, model, usage, _cost(usage, deployment) or 0)

    def _count(self, record: Record, now: float, overhead: float) -> None:
        metrics = self._metrics
        provider, model = _labels(record.chosen)
        metrics.requests.labels(_route(record), provider, model, str(record.status)).inc()
        metrics.duration.observe(now - record.started)
        metrics.overhead.observe(overhead)
        if record.first_token is not None and record.call and record.call.stream:
            metrics.first_token.observe(record.first_token - record.started)
        chosen_cost = record.cost_nusd or 0
        for attempt in record.attempts:
            listed = record.call and f"{attempt.provider}/{attempt.model}" in record.call.snapshot.deployments
            name, source = attempt.model if listed else OTHER, _source(record, attempt.provider)
            metrics.attempts.labels(source, name, attempt.outcome).inc()
            self._spent(source, name, attempt.usage, attempt.cost_nusd or 0)
            chosen_cost -= attempt.cost_nusd or 0
        self._spent(provider, model, record.usage, chosen_cost)

    def _spent(self, provider: str, model: str, usage: Usage | None, nusd: int) -> None:
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


def price(record: Record) -> Record:
    """Set the record's cost if usage and price are known; return the record."""
    cost = _cost(record.usage, record.chosen)
    lost = sum(attempt.cost_nusd or 0 for attempt in record.attempts)
    if cost is not None or lost:
        record.cost_nusd = (cost or 0) + lost  # assigned, not added: a call is priced several times
    return record


def _cost(usage: Usage | None, of: Deployment | None) -> int | None:
    if usage and of and of.price and not of.provider.stand_in:
        return cost_nusd(usage, of.price)
    return None


def _labels(deployment: Deployment | None) -> tuple[str, str]:
    if deployment is None:
        return OTHER, OTHER
    return deployment.provider.label, deployment.model if deployment.listed else OTHER


def _source(record: Record, provider: str) -> str:
    """Return the provider label of an attempt for metrics and logs: `mock` for a stand-in."""
    known = record.call.snapshot.providers.get(provider) if record.call else None
    return known.label if known else provider


def _route(record: Record) -> str:
    """Return the route label; `other` for a model that is not in the configuration."""
    plan = record.plan
    if plan is None or any(
        target.deployment.name == plan.route and not target.deployment.listed for target in plan.targets
    ):
        return OTHER
    return plan.route


def _fields(record: Record, now: float, overhead: float) -> dict[str, Any]:
    """Return the fields of the access line: ids, names and numbers, no content; tokens and cost of all attempts."""
    call, chosen = record.call, record.chosen
    used = [usage for usage in (record.usage, *(attempt.usage for attempt in record.attempts)) if usage]
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
                "provider": _source(record, a.provider),
                "model": a.model[:_LONGEST],
                "key": a.key_id,
                "outcome": a.outcome,
                "status": a.status,
                "ms": round(a.ms, 1),
                **({"cause": a.cause, "error": a.error} if a.cause else {}),
            }
            for a in record.attempts
        ],
        "input_tokens": sum(usage.input for usage in used) if used else None,
        "output_tokens": sum(usage.output for usage in used) if used else None,
        "cost_usd": usd(record.cost_nusd) if record.cost_nusd is not None else None,
        "ms": round((now - record.started) * 1000, 1),
        "ttft_ms": round((record.first_token - record.started) * 1000, 1) if record.first_token is not None else None,
        "waited_ms": round(record.waited * 1000, 1),
        "predicted_wait_ms": round(record.predicted_wait * 1000, 1),
        "overhead_ms": round(overhead * 1000, 3),
        **({"continued_after": record.continued.after_characters} if record.continued else {}),
    }
