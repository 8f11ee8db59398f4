"""The arrival of a call that runs in the background: the answer is recorded instead of sent.

Events are kept in memory until the service has written them to the store; readers that are up to date read them here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from proxy.arrival import Arrival, Detached
from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled
from proxy.core.turn import Item, Turn
from proxy.store.background import Batch
from proxy.surfaces.base import Encoder
from proxy.surfaces.headers import Headers
from proxy.surfaces.responses.background import AnswerEvents

MOST_PENDING = 1024 * 1024  # bytes of events that wait for the store


class Recorder:
    """One call and its answer. `flush` writes what is pending to the store."""

    delivering = False
    history = 0

    def __init__(
        self,
        arrival: Arrival,
        raw: bytes,
        response: Item,
        *,
        tenant: str,
        owner: str,
        keeps_events: bool,
        flush: Callable[[Recorder], Awaitable[None]],
    ) -> None:
        self.id = arrival.id
        self.request_id = arrival.request_id
        self.headers = arrival.headers
        self.path = arrival.path
        self.query = arrival.query
        self.address = arrival.address
        self.surface = arrival.surface
        self.encoder: Encoder | None = None
        self.interrupted: str | None = None
        self.client_seconds = 0.0
        self.answer_headers: Mapping[str, str] = {}
        self.status = 0
        self.detached: Detached | None = self

        self.tenant = tenant
        self.owner = owner
        self.response_id: str = response["id"]
        self.keeps_events = keeps_events
        self.answer_events = AnswerEvents(response)
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.first = self.answer_events.number  # the number of the first event in memory
        self.changed = asyncio.Event()  # replaced after each change
        self._raw = raw
        self._flush = flush
        self._pending: list[bytes] = []
        self._size = 0  # bytes in `_pending`
        self._begun = False  # the answer has
        self._stored_begun = False
        self._completes = False  # the turn is being written

    async def read(self) -> bytes:
        """Return the body, once."""
        raw, self._raw = self._raw, b""
        return raw

    def expect_stream(self, headers: Callable[[], Headers]) -> None:
        """Note that the call is admitted."""
        if not self.admitted.done():
            self.admitted.set_result(None)

    def reject(self, error: ProxyError) -> None:
        """Report an error to the client, unless the call is admitted."""
        if not self.admitted.done():
            self.admitted.set_exception(error)
            self.admitted.exception()  # the client may have left

    def interrupt(self, why: str) -> None:
        """End the call early, unless its turn is being written: `draining`, or `client_closed` if it was cancelled."""
        if self.interrupted is None and self.task is not None and not self._completes:
            self.interrupted = why
            self.task.cancel()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Record a whole answer."""
        await self.begin_stream(status, headers, events=False)
        self.write(body)

    async def begin_stream(self, status: int, headers: Headers, *, events: bool) -> None:
        """Note that the response is in progress."""
        self.status = status
        self._begun = True

    def write(self, data: bytes) -> bool:
        """Record events; return whether the store keeps up."""
        events = self.answer_events.feed(data)
        if self.keeps_events and events:
            self._pending += events
            self._size += sum(map(len, events))
            self.wake()
        return self._size < MOST_PENDING

    async def drain(self) -> None:
        """Write everything to the store. Raises `ProxyError` if it does not work."""
        await self._flush(self)

    async def complete(self, turn: Turn) -> None:
        """Write all events, and give the turn the id that the client has. Raises `ProxyError`."""
        await self._flush(self)
        self._completes = True
        turn.id = self.response_id
        if turn.document is not None:
            turn.document = self.answer_events.own(turn.document)

    async def end_stream(self) -> None:
        """Do nothing: the turn is in the store already."""

    def since(self, after: int) -> Sequence[bytes]:
        """Return the events in memory behind number `after`, which is not before them."""
        return self._pending[max(0, after + 1 - self.first) :]

    def wake(self) -> None:
        """Wake the readers."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def batch(self) -> Batch | None:
        """Return what the store does not have; `None` if that is nothing."""
        begins = self._begun and not self._stored_begun
        if not begins and not self._pending:
            return None
        document = compact_nulled({**self.answer_events.response, "status": "in_progress"}) if begins else None
        return Batch(self.response_id, self.owner, self.first, list(self._pending), document)

    def written(self, batch: Batch) -> None:
        """Drop what the store has now."""
        self._stored_begun = self._stored_begun or batch.document is not None
        count = len(batch.events)
        self._size -= sum(map(len, batch.events))
        del self._pending[:count]
        self.first += count
