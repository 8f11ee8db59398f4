"""The decision record for the client: the candidates with their scores, the choice, and the attempts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from proxy.core.money import usd
from proxy.core.record import AttemptOutcome, Record
from proxy.surfaces.openai.chat import DebugStream, with_router


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


class Embedding:
    """Puts the decision record into an answer: as a member `router`, or as one more chunk before `[DONE]`.

    `router` returns the record; it is called when the record is due.
    """

    def __init__(self, router: Callable[[], Mapping[str, Any]]) -> None:
        self._router = router
        self._stream = DebugStream()

    def whole(self, body: bytes) -> bytes:
        """Return a JSON answer with the record."""
        return with_router(body, self._router())

    def into(self, write: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """Return a function that writes the pieces of a stream with the record to `write`."""

        def write_embedded(data: bytes) -> bool:
            out = self._stream.feed(data, self._router)
            return write(out) if out else True

        return write_embedded

    def end(self) -> bytes:
        """Return what is left at the end of a stream."""
        return self._stream.last(self._router) + self._stream.rest()
