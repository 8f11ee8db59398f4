"""The decision record as the client sees it: what was weighed, what was chosen, and what then happened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from proxy.core.money import usd
from proxy.core.record import AttemptOutcome, Record
from proxy.surfaces.chat import DebugStream, with_router


def decision_record(record: Record) -> dict[str, Any]:
    """Section 6 of the contract, as JSON values."""
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


async def embed(
    chunks: AsyncGenerator[bytes, None], router: Callable[[], Mapping[str, Any]], *, stream: bool
) -> AsyncGenerator[bytes, None]:
    """The same answer with the decision record in it: a member `router`, or one more chunk before `[DONE]`."""
    async with aclosing(chunks):
        if not stream:
            body = b"".join([chunk async for chunk in chunks])
            yield with_router(body, router())
            return
        debug = DebugStream()
        async for chunk in chunks:
            if out := debug.feed(chunk, router):
                yield out
        if out := debug.last(router) + debug.rest():
            yield out
