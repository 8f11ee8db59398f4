"""Signals: what the end of a call says about the answer, without reading it.

    0    the answer was refused or filtered, or cut by a length that the client did not set,
         or the same caller sends the same request again within a minute
    1    anything else that ended well

A signal counts little beside feedback. Calls without a bad sign count too: bad signs alone would say that all fail.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from msgspec import structs

from proxy.core.record import Outcome, Record
from proxy.learning.labels import SIGNAL, SIGNAL_WEIGHT, Label
from proxy.learning.memory import Decision

AGAIN = 60_000_000  # microseconds in which the same request is a complaint about its first answer
_MOST = 10_000  # requests that are remembered
_REFUSED = frozenset({"content_filter", "refusal"})
_LIMITS = ("max_completion_tokens", "max_tokens")


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
            0.0 if _is_bad(record) else 1.0,
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


def _is_bad(record: Record) -> bool:
    if record.finish_reason in _REFUSED:
        return True
    body = {} if record.call is None else record.call.body
    return record.finish_reason == "length" and all(body.get(name) is None for name in _LIMITS)
