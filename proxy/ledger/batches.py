"""Batches: finished calls in one transaction of the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from proxy.core.ledger import AttemptRow, CallRow

_LOG = logging.getLogger(__name__)
BATCH = 500  # calls in one transaction

Finished = tuple[CallRow | None, list[AttemptRow]]  # a call with its attempts, or attempts alone


class LedgerStore(Protocol):
    """The store of the rows; `proxy.store` implements it."""

    async def write(self, calls: Sequence[CallRow], attempts: Sequence[AttemptRow]) -> None:
        """Write the rows in one transaction, or raise an error. Writing them again changes nothing."""
        ...


async def write_batch(store: LedgerStore, batch: Sequence[Finished], unavailable: type[Exception]) -> int:
    """Write calls; return how many of them the store rejects, which is logged. Raises `unavailable`."""
    rejected = await _rejected(store, batch, unavailable)
    if rejected:
        id, why = rejected[0]
        fields = {"id": id, "why": why, "calls": len(rejected)}
        _LOG.error("the store rejects calls of the ledger", extra={"fields": fields})
    return len(rejected)


async def _rejected(
    store: LedgerStore, batch: Sequence[Finished], unavailable: type[Exception]
) -> list[tuple[str | None, str]]:
    """Write calls; return the ids of those that the store rejects, and why.

    A call that the database does not accept must not keep the others from it, so the batch is halved until it is alone.
    """
    calls = [call for call, _ in batch if call is not None]
    attempts = [attempt for _, rows in batch for attempt in rows]
    try:
        await store.write(calls, attempts)
    except unavailable:
        raise
    except Exception as exc:
        if len(batch) > 1:
            half = len(batch) // 2
            rejected = await _rejected(store, batch[:half], unavailable)
            return rejected + await _rejected(store, batch[half:], unavailable)
        ids = [row.id for row in calls] or [row.call_id for row in attempts]
        return [(ids[0] if ids else None, type(exc).__name__)]
    return []
