"""The decision record for the client: the candidates with their scores, the choice, and the attempts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from proxy.core.money import usd
from proxy.core.record import AttemptOutcome, Record


def decision_record(record: Record) -> dict[str, Any]:
    """Return the decision record of a call as JSON values; `docs/routing.md` documents them."""
    decision = dict(record.plan.decision) if record.plan else {}
    attempts = [
        {
            "provider": attempt.deployment.provider.name,
            "model": attempt.deployment.model,
            "key_id": attempt.key_id,
            "outcome": "ok" if attempt.outcome is AttemptOutcome.STARTED else attempt.outcome,
            "status": attempt.status,
            "ms": round(attempt.ms or attempt.first_token_ms or 0.0, 3),
            **({"cause": attempt.cause, "error": attempt.error} if attempt.cause else {}),
        }
        for attempt in record.attempts
    ]
    cost, timings = record.cost_nusd, record.timings
    native = {"native_finish": record.native_finish} if record.native_finish else {}
    wait = {
        "predicted_ms": round(timings.predicted_queue_seconds * 1000, 3),
        "real_ms": round(timings.queue_seconds * 1000, 3),
    }
    if "affinity" in decision and record.plan and record.chosen is not None and len(record.plan.targets) > 1:
        decision["affinity"] = {**decision["affinity"], "kept": record.chosen.name in record.plan.family}
    continued = {"continued": asdict(record.continued)} if record.continued else {}
    shown_cost = None if cost is None else usd(cost)
    return {
        "id": record.id,
        **decision,
        "wait": wait,
        "attempts": attempts,
        **continued,
        "cost_usd": shown_cost,
        **native,
    }
