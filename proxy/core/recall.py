"""Memory of answers for the next turn, for clients that do not return values which a provider requires again.

Providers sign their models' thinking and require the signature with the tool results. An entry is found only by an
owner, a name and a proof that all match. A name is the id of a tool call that an answer of this process gave to the
owner; some are chosen by upstreams and may be equal by chance, so that the proof, a digest of what precedes them,
decides. Entries are bounded in number, size and time.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from proxy.core.clock import Clock
from proxy.core.json_text import compact_nulled, value_of

MAX_ENTRIES = 10_000
MAX_BYTES = 64 * 1024 * 1024
MAX_AGE = 3600.0  # seconds


class _Key(NamedTuple):
    owner: str
    name: str
    proof: str


class _Entry(NamedTuple):
    expires: float  # monotonic seconds
    text: bytes


class Recall:
    """A bounded memory that drops the oldest entries first. Values are JSON."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._names: Counter[tuple[str, str]] = Counter()  # so that a proof is only made for a name that is known
        self._issued: Counter[str] = Counter()  # names of all owners
        self._bytes = 0

    def keep(self, owner: str, name: str, proof: str, value: Any) -> None:
        """Remember `value`; an equal owner, name and proof replaces it."""
        key = _Key(owner, name, proof)
        self._forget(key)
        entry = _Entry(self._clock.monotonic() + MAX_AGE, compact_nulled(value))
        self._entries[key] = entry
        self._names[owner, name] += 1
        self._issued[name] += 1
        self._bytes += len(entry.text)
        while self._entries and (len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES):
            self._forget(next(iter(self._entries)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self._entries

    def issued(self, name: str) -> bool:
        """Return whether an entry has that name, for any owner: an answer of this process gave it to a client."""
        return name in self._issued

    def find(self, owner: str, name: str, proof: Callable[[], str]) -> Any | None:
        """Return the stored value or `None`. `proof` is called only if `owner` has an entry of that name."""
        if (owner, name) not in self._names:
            return None
        key = _Key(owner, name, proof())
        entry = self._entries.get(key)
        if entry is not None and entry.expires < self._clock.monotonic():
            self._forget(key)
            return None
        return value_of(entry.text) if entry else None

    def _forget(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= len(entry.text)
        self._names[key.owner, key.name] -= 1
        if not self._names[key.owner, key.name]:
            del self._names[key.owner, key.name]
        self._issued[key.name] -= 1
        if not self._issued[key.name]:
            del self._issued[key.name]
