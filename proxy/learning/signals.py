"""Signals: what the end of a call says about the answer.

The score is the rating of the answer (`rating.py`), or 0 if the same caller sends the same request again within a
minute.

A signal counts little beside feedback. Calls without a bad sign count too: bad signs alone would say that all fail.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from msgspec import structs

from proxy.core.record import Outcome, Record
from proxy.learning.decisions import Decision
from proxy.learning.labels import SIGNAL, SIGNAL_WEIGHT, Label

AGAIN = 60_000_000  # microseconds in which the same request is a complaint about its first answer
_MOST = 10_000  # requests that are remembered


class Signals:
    """Remembers the newest requests of this process, by their digests."""

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[str, bytes], Label] = OrderedDict()

    def read(self, record: Record, decision: Decision, owner: str | None, now: int) -> list[Label]:
        """Return the label of a call that has ended, and a worse one of the call that it repeats."""
        if record.outcome is not Outcome.OK or decision.features is None or record.call is None:
            return []
        label = Label(
            decision.id,
            decision.chosen,
            SIGNAL,
            now,
            owner,
            record.rating.score if record.rating is not None else _by_end(record),
            SIGNAL_WEIGHT,
            decision.propensity,
            decision.features,
        )
        key = (decision.tenant, blake2b(record.call.raw, digest_size=16).digest())
        before = self._newest.pop(key, None)
        self._newest[key] = label
        if len(self._newest) > _MOST:
            self._newest.popitem(last=False)
        if before is None or now - before.time > AGAIN:
            return [label]
        return [structs.replace(before, score=0.0, time=now), label]


def _by_end(record: Record) -> float:
    """Return the score of an answer that was not read, such as one in a provider's own format."""
    from proxy.learning.rating import rate

    return rate({} if record.call is None else record.call.body, None, record.finish_reason).score
