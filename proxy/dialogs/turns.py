"""The turns of stored dialogs: `begin` reads what came before, `commit` writes the turn, `end` frees the conversation.

A turn is written whole, before the client receives the end of the answer; one that fails or is cancelled writes
nothing. A conversation is locked from `begin` to `commit`. `run` renews the locks of the turns that run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from msgspec.json import decode

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled
from proxy.core.record import Record
from proxy.core.turn import Turn
from proxy.core.work import LARGE
from proxy.dialogs.owners import Owners
from proxy.dialogs.refusals import refusal
from proxy.store.dialogs import ENDED, LOCK_SECONDS, DialogStore, History
from proxy.store.dialogs import Turn as StoredTurn
from proxy.store.errors import InvalidValue, Locked, Missing, StoreError, StoreUnavailable, TooLarge
from proxy.store.items import Item
from proxy.store.values import check_id

_LOG = logging.getLogger(__name__)

RENEW_SECONDS = LOCK_SECONDS / 3
COMMIT_ATTEMPTS = 4  # the store is probed four times a second after a failure
COMMIT_PAUSE_SECONDS = 0.4

T = TypeVar("T")
Lock = tuple[str, str]  # tenant and conversation


@dataclass(slots=True)
class _Running:
    """A turn between `begin` and `end`."""

    owner: str
    history: History = History((), 0)
    locked: bool = False  # it has the lock for certain


class StoredTurns:
    """A background service. Calls without a turn do not come here."""

    def __init__(self, store: DialogStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._owners = Owners()
        self._running: dict[Turn, _Running] = {}
        self._locks: dict[Lock, str] = {}  # owners of the locks of this process
        self._left: dict[Lock, str] = {}  # that were perhaps taken when their call was cancelled

    async def begin(self, call: Call) -> Call:
        """Return the call with its history, and lock its conversation, unless the call only counts tokens.

        Raises `InvalidRequest`, `NotFound`, or `Unavailable` while the store does not work.
        """
        turn = call.turn
        assert turn is not None
        continues = turn.previous is not None or turn.conversation is not None or turn.references
        if not (turn.store or continues):
            return call
        _check_ids(turn)
        running = self._running[turn] = _Running(self._owners.name(call.id))
        try:
            await self._store.ready()
            if turn.references:
                turn.found = await self._found(call.principal.tenant, turn.references)
            if turn.previous is not None:
                running.history = await self._history(call.principal.tenant, turn.previous)
            elif turn.conversation is not None:
                running.history = await self._conversation(call, turn.conversation, running)
        except (StoreError, InvalidValue) as exc:
            raise refusal(exc) from None
        if not continues:
            return call
        history, running.history = running.history, running.history._replace(items=())  # not kept while the turn runs
        return await _completed(turn, history)

    async def commit(self, call: Call, record: Record) -> None:
        """Write the turn and free its conversation, if its answer is complete.

        Raises `Unavailable` if the store does not work, and `InvalidRequest` if the conversation was deleted.
        """
        turn = call.turn
        assert turn is not None
        if turn not in self._running:
            return
        stored = await _off_loop(partial(self._stored, call, turn), len(call.raw))
        if stored is None:
            return
        try:
            await self._commit(stored)
        except (StoreError, InvalidValue) as exc:
            raise refusal(exc) from None
        if turn.conversation is not None:
            self._locks.pop((stored.tenant, turn.conversation), None)

    async def end(self, call: Call, record: Record) -> None:
        """Free the conversation of a turn that was not committed."""
        turn = call.turn
        running = self._running.pop(turn, None) if turn is not None else None
        if running is None or turn is None or turn.conversation is None:
            return
        lock = (call.principal.tenant, turn.conversation)
        if self._locks.get(lock) != running.owner:
            return
        del self._locks[lock]
        if not running.locked:
            self._left[lock] = running.owner
            return
        try:
            await self._store.release({turn.conversation: running.owner})
        except StoreUnavailable:
            _LOG.debug("the lock of a conversation expires, because the store is unavailable")

    async def run(self) -> None:
        """Renew the locks of running turns until cancelled."""
        while True:
            await self._clock.sleep(RENEW_SECONDS)
            try:
                await self.renew()
            except StoreUnavailable:
                _LOG.debug("locks of conversations wait for the store")

    async def renew(self) -> None:
        """Renew all locks now, and free those that calls have left behind. Raises `StoreUnavailable`."""
        if left := {id: owner for (_, id), owner in self._left.items()}:
            await self._store.release(left)
            self._left.clear()
        if locks := {id: owner for (_, id), owner in self._locks.items()}:
            await self._store.renew(locks)

    async def _found(self, tenant: str, references: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the stored items that an input names. Raises `InvalidRequest` for one that does not exist."""
        found = await self._store.referenced(tenant, references)
        for id in references:
            if id not in found:
                raise InvalidRequest(f"Item with id '{id[:256]}' not found.", param="input")
        return {id: decode(json) for id, json in found.items()}

    async def _history(self, tenant: str, previous: str) -> History:
        try:
            return await self._store.history(tenant, previous)
        except (Missing, InvalidValue) as exc:
            message = f"Previous response with id '{previous[:256]}' not found: {exc}."
            raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_found") from None

    async def _conversation(self, call: Call, conversation: str, running: _Running) -> History:
        tenant = call.principal.tenant
        try:
            if call.count is not None:
                return await self._store.contents(tenant, conversation)
            return await self._lock(tenant, conversation, running)
        except InvalidValue as exc:
            raise Missing(str(exc)) from None

    async def _lock(self, tenant: str, conversation: str, running: _Running) -> History:
        """Lock a conversation and return its items. A lock whose process has died is taken."""
        lock = (tenant, conversation)
        if lock in self._locks:
            raise Locked(f"conversation `{conversation}` is locked by another turn")
        self._locks[lock] = running.owner
        try:
            try:
                history = await self._store.lock(tenant, conversation, running.owner)
            except Locked as exc:
                if exc.owner is None or not self._owners.has_died(exc.owner):
                    raise
                await self._store.release({conversation: exc.owner})
                history = await self._store.lock(tenant, conversation, running.owner)
        except (InvalidValue, Missing, Locked, TooLarge):
            del self._locks[lock]
            raise
        running.locked = True
        return history

    def _stored(self, call: Call, turn: Turn) -> StoredTurn | None:
        """Return what is written of a turn; `None` if that is nothing."""
        document = turn.document
        if document is None or document.get("status") not in ENDED:
            return None
        if not turn.store and turn.conversation is None:
            return None
        running = self._running[turn]
        return StoredTurn(
            tenant=call.principal.tenant,
            owner=running.owner,
            conversation=turn.conversation,
            input=_items(_resolved(turn)),
            output=_items(turn.output),
            id=str(document.get("id") or turn.id),
            document=compact_nulled(document) if turn.store else None,
            status=document["status"],
            background=turn.background,
            previous=turn.previous,
            before=running.history,
        )

    async def _commit(self, turn: StoredTurn) -> None:
        """Write a turn. A connection that is lost meanwhile is no reason to lose an answer."""
        for _ in range(COMMIT_ATTEMPTS - 1):
            try:
                await self._store.commit(turn)
            except StoreUnavailable:
                turn = turn._replace(again=True)
                await self._clock.sleep(COMMIT_PAUSE_SECONDS)
            else:
                return
        await self._store.commit(turn)


async def _completed(turn: Turn, history: History) -> Call:
    """Return the call with its history."""
    return await _off_loop(lambda: turn.complete([decode(item) for item in history.items]), history.size)


async def _off_loop(work: Callable[[], T], size: int) -> T:
    """Run `work` on `size` bytes: in the event loop if they are few, else in a thread."""
    return work() if size <= LARGE else await asyncio.get_running_loop().run_in_executor(None, work)


def _check_ids(turn: Turn) -> None:
    """Raise `InvalidRequest` for an id that cannot be stored."""
    for place, item in enumerate(turn.input):
        id = item.get("id")
        try:
            check_id(id if isinstance(id, str) else "", f"input[{place}].id")
        except InvalidValue as exc:
            raise InvalidRequest(f"{exc}.", param=f"input[{place}].id") from None


def _resolved(turn: Turn) -> Iterable[Mapping[str, Any]]:
    """Yield the items of the input, with those that it names in place of the names."""
    for item in turn.input:
        yield turn.found.get(str(item.get("id")), item) if item.get("type") == "item_reference" else item


def _items(items: Iterable[Mapping[str, Any]]) -> list[Item]:
    return [Item(str(item.get("id")), compact_nulled(item)) for item in items]
