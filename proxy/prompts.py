"""Stored prompts: what `auto` has classified, with the profiles, where `prompts.store` asks for it.

A call never waits for the store: its prompt waits in memory until the next second, and is lost if the store stays away
for too long. Only the text that the classifier has read is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.json_text import compact_nulled
from proxy.routing.classify.prompt import read_prompt
from proxy.routing.classify.rules import Profile
from proxy.routing.record import profile_record
from proxy.store.errors import StoreUnavailable
from proxy.store.prompts import PromptRow

_LOG = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two writes
BATCH = 200  # prompts of one transaction
MAX_WAITING = 2_000  # prompts, of some 4 KB at most


class Writes(Protocol):
    """Where prompts are kept (`proxy/store/prompts.py`)."""

    async def write(self, rows: Sequence[PromptRow]) -> None:
        """Write prompts. Raises `StoreUnavailable`."""
        ...


class StoredPrompts:
    """A background service that writes prompts."""

    def __init__(self, store: Writes, clock: Clock) -> None:
        self.lost = 0  # prompts that were not stored, because too many were waiting
        self._store = store
        self._clock = clock
        self._waiting: deque[PromptRow] = deque()
        self._lock = asyncio.Lock()

    def note(self, call: Call, profile: Profile) -> None:
        """Take the prompt of a call, if its configuration stores prompts."""
        if not call.snapshot.store_prompts:
            return
        time = self._clock.time()
        item = compact_nulled(_item(call, profile, int(time)))
        self._waiting.append(PromptRow(call.id, call.principal.tenant, int(time * 1e6), item))
        self._drop()

    async def flush(self) -> None:
        """Write what is waiting. Raises `StoreUnavailable`; then it is still waiting."""
        async with self._lock:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                try:
                    await self._store.write(batch)
                except BaseException:
                    self._waiting.extendleft(reversed(batch))
                    self._drop()
                    raise

    async def run(self) -> None:
        """Write every second until cancelled, and then once more."""
        try:
            while True:
                await self._clock.sleep(EVERY)
                with suppress(StoreUnavailable):
                    await self.flush()
        finally:
            with suppress(StoreUnavailable):
                await self.flush()

    def _drop(self) -> None:
        """Drop the oldest if too many are waiting."""
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.lost += 1
            if self.lost == 1:
                _LOG.warning("prompts are lost, because the store is unavailable")


def _item(call: Call, profile: Profile, created_at: int) -> dict[str, Any]:
    """Return a prompt as clients see it."""
    prompt = read_prompt(call.body)
    return {
        "id": call.id,
        "object": "prompt",
        "created_at": created_at,
        "model": call.model,
        "prompt": prompt.text,
        "characters": prompt.characters,
        "profile": {"needs": [], "fallback": None, **profile_record(profile)},
    }
