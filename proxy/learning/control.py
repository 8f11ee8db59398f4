"""What all processes share: the store of labels and versions, and the state of learning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from proxy.core.clock import Clock
from proxy.store.errors import StoreUnavailable

RETRIES = (0.2, 1.0)  # seconds before feedback is written to the store again
Values = Mapping[str, Any]


class Store(Protocol):
    """Where labels and versions are kept: `store/learning.py`, or `LearningMemory`."""

    shared: bool  # with other processes

    async def add_decisions(self, rows: Sequence[Values]) -> None: ...
    async def decision(self, id: str) -> Values | None: ...
    async def add_labels(self, labels: Sequence[Values]) -> None: ...
    async def labels(self, since: int, most: int, of_key: int | None = None) -> Sequence[Values]: ...
    async def counts(self, since: int, most: int) -> Mapping[str, int]: ...
    async def judgements(self, call_id: str) -> Sequence[Values]: ...
    async def newest(self) -> tuple[int, Values]: ...
    async def load(self, version: int) -> bytes | None: ...
    async def versions(self) -> Sequence[tuple[int, int]]: ...
    async def publish(self, version: int, time: int, state: bytes, keep: int) -> bool: ...
    async def control(self, values: Values) -> None: ...


class Control(msgspec.Struct, frozen=True):
    """The state of learning, which all processes share."""

    frozen: bool = False
    version: int | None = None  # the one that serves after a rollback, 0 for the prior; `None`: the newest
    after: int = 0  # versions up to this one were dropped by a reset
    since: int = 0  # labels before this time do not count, in microseconds since 1970


async def written_again(write: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Write to the store; again after a moment if others are writing to it. Raises `StoreUnavailable`."""
    for pause in RETRIES:
        try:
            await write()
        except StoreUnavailable:
            await clock.sleep(pause)
        else:
            return
    await write()
