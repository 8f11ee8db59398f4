"""What is learned from, and what was learned, in the memory of this process: recent decisions, and all of it without a
store."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from proxy.learning.decisions import Decision

MOST = 20_000  # decisions, of about a kilobyte each
MOST_LABELS = 20_000


class Decisions:
    """A bounded memory; the oldest decisions are forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._by_id: OrderedDict[str, Decision] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, decision: Decision) -> None:
        """Remember a decision."""
        self._by_id[decision.id] = decision
        if len(self._by_id) > self._most:
            self._by_id.popitem(last=False)

    def get(self, id: str) -> Decision | None:
        """Return a decision; `None` if it is not, or no longer, known."""
        return self._by_id.get(id)


class LearningMemory:
    """Takes the place of `store/learning.py` with `store: none`: nothing survives the process."""

    shared = False

    def __init__(self, most: int = MOST_LABELS) -> None:
        self._most = most
        self._by_key: Counter[str] = Counter()  # labels of each key
        self._labels: OrderedDict[tuple[Any, ...], Mapping[str, Any]] = OrderedDict()
        self._versions: dict[int, tuple[int, bytes]] = {}
        self._control: Mapping[str, Any] = {}

    async def add_decisions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep nothing: `Decisions` has them."""

    async def decision(self, id: str) -> Mapping[str, Any] | None:
        """Return `None`."""
        return None

    async def add_labels(self, labels: Sequence[Mapping[str, Any]]) -> None:
        """Keep labels in place of earlier ones of the same source; the oldest ones are forgotten."""
        for label in labels:
            key = (label["call_id"], label["model"], label["source"])
            self._forget(key)
            self._labels[key] = label
            if label["key_id"] is not None:
                self._by_key[label["key_id"]] += 1
            if len(self._labels) > self._most:
                self._forget(self._least_needed())

    def _forget(self, key: tuple[Any, ...]) -> None:
        label = self._labels.pop(key, None)
        owner = None if label is None else label["key_id"]
        if owner is not None:
            self._by_key[owner] -= 1
            if not self._by_key[owner]:
                del self._by_key[owner]

    def _least_needed(self) -> tuple[Any, ...]:
        """Return the oldest label; of a key that has given more than half of all, so that it displaces no others."""
        owner, count = max(self._by_key.items(), key=itemgetter(1), default=("", 0))
        if count * 2 <= len(self._labels):
            return next(iter(self._labels))
        return next(key for key, label in self._labels.items() if label["key_id"] == owner)

    async def labels(self, since: int, most: int, of_key: int | None = None) -> Sequence[Mapping[str, Any]]:
        """Return the newest `most` labels from a time on, the oldest first; of each key at most `of_key`."""
        found: list[Mapping[str, Any]] = []
        by_key: Counter[str] = Counter()
        for label in reversed(self._labels.values()):
            key = label["key_id"]
            if label["time"] < since or (of_key is not None and key is not None and by_key[key] >= of_key):
                continue
            found.append(label)
            if len(found) == most:
                break
            if key is not None:
                by_key[key] += 1
        return found[::-1]

    async def counts(self, since: int, most: int) -> Mapping[str, int]:
        """Return how many answers of each model the newest `most` labels from a time on judge."""
        answers = {(label["model"], label["call_id"]) for label in await self.labels(since, most)}
        return Counter([model for model, _ in answers])

    async def judgements(self, call_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the labels of a call, by model and source."""
        found = [label for label in self._labels.values() if label["call_id"] == call_id]
        return sorted(found, key=lambda label: (label["model"], label["source"]))

    async def newest(self) -> tuple[int, Mapping[str, Any]]:
        """Return the number of the newest version, 0 without one, and the state of learning."""
        return max(self._versions, default=0), self._control

    async def load(self, version: int) -> bytes | None:
        """Return a version; `None` if it is not kept."""
        return self._versions[version][1] if version in self._versions else None

    async def versions(self) -> Sequence[tuple[int, int]]:
        """Return the number and the time of each version that is kept, the newest first."""
        return [(version, self._versions[version][0]) for version in sorted(self._versions, reverse=True)]

    async def publish(self, version: int, time: int, state: bytes, keep: int) -> bool:
        """Keep a version and the `keep` before it."""
        self._versions[version] = (time, state)
        for old in [each for each in self._versions if each < version - keep]:
            del self._versions[old]
        return True

    async def control(self, values: Mapping[str, Any]) -> None:
        """Replace the state of learning."""
        self._control = dict(values)
