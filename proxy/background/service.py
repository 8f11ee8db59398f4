"""Runs responses in the background, and reads and cancels those of all replicas.

Each call is a task of this service: it continues when its client disconnects, and a drain waits for it. The state and
the events of its response are in the store, where every replica reads them. A response whose process has died fails
when it is next read: at once on the same host, and `LEASE_SECONDS` later elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.admission.gate import leaving
from proxy.arrival import Arrival, run_off_loop
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InternalError, ProxyError, Unavailable
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.turn import Item
from proxy.dialogs.owners import Owners
from proxy.dialogs.refusals import refusal
from proxy.store.background import RUNNING, BackgroundStore, NewResponse, View
from proxy.store.dialogs import ENDED
from proxy.store.errors import Missing, StoreError, StoreUnavailable
from proxy.store.responses import ResponseStore

if TYPE_CHECKING:
    from proxy.background.reader import Begun
    from proxy.background.recorder import Recorder

_LOG = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25  # between two writes of events
RENEW_SECONDS = 1.0  # between two renewals, which also find out what was cancelled elsewhere
FLUSH_ATTEMPTS = 10
RETRY_SECONDS = 0.5
END_SECONDS = 2.0  # for the tasks when the service ends

Run = Callable[[Arrival], Awaitable[None]]


class BackgroundCalls:
    """A background service."""

    def __init__(self, store: BackgroundStore, responses: ResponseStore, clock: Clock) -> None:
        self._store = store
        self._responses = responses
        self._clock = clock
        self._owners = Owners()
        self._running: dict[str, Recorder] = {}  # by the response's id
        self._busy = asyncio.Event()  # something runs
        self._flushing = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None

    async def begin(self, arrival: Arrival, raw: bytes, call: Call, run: Run) -> Begun:
        """Begin the call of `arrival`, whose body is `raw`: `run` handles it once more, from its beginning.

        Raises `Unavailable` if the store does not work, or the server is shutting down.
        """
        from proxy.background.reader import Begun  # here: most processes run nothing in the background
        from proxy.background.recorder import Recorder
        from proxy.surfaces.responses.background import first_events, queued_response

        turn = call.turn
        assert turn is not None
        if self._group is None:
            raise leaving()
        response = queued_response(call, int(self._clock.time()))
        recorder = Recorder(
            arrival,
            raw,
            response,
            tenant=call.principal.tenant,
            owner=self._owners.name(call.id),
            keeps_events=turn.events,
            flush=self._drain,
        )
        events = first_events(response) if turn.events else ()
        id, tenant = recorder.response_id, recorder.tenant
        members = {"input": turn.input, "previous": turn.previous, "conversation": turn.conversation}
        request = await run_off_loop(lambda: compact_nulled(members), len(raw))
        try:
            await self._store.create(NewResponse(id, tenant, recorder.owner, compact_nulled(response), events, request))
        except StoreError as exc:
            raise refusal(exc) from None
        if self._group is None:  # since the response was written, which fails when its lease expires
            raise leaving()
        self._running[id] = recorder
        recorder.task = self._group.create_task(self._run(recorder, run))
        recorder.task.add_done_callback(lambda task: self._ended(recorder))
        self._busy.set()
        return Begun(self, recorder, response)

    async def run(self) -> None:
        """Write the events of running responses and renew their leases, until cancelled; then end those that run."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            renewed = self._clock.monotonic()
            try:
                while True:
                    await self._busy.wait()
                    await self._clock.sleep(FLUSH_SECONDS)
                    with suppress(StoreUnavailable):
                        await self.flush(list(self._running.values()))
                        if self._clock.monotonic() - renewed >= RENEW_SECONDS:
                            renewed = self._clock.monotonic()
                            await self.renew()
                    if not self._running:
                        self._busy.clear()
            finally:
                self._group = None
                for recorder in self._running.values():
                    recorder.interrupt("draining")
                if tasks := {recorder.task for recorder in self._running.values() if recorder.task is not None}:
                    await asyncio.wait(tasks, timeout=END_SECONDS)

    async def flush(self, recorders: Sequence[Recorder]) -> None:
        """Write what these have recorded. Raises `StoreUnavailable`."""
        async with self._flushing:
            batches = [(recorder, batch) for recorder in recorders if (batch := recorder.batch()) is not None]
            if not batches:
                return
            ended = await self._store.append([batch for _, batch in batches])
            for recorder, batch in batches:
                recorder.written(batch)
                if batch.id in ended:
                    recorder.interrupt("client_closed")

    async def renew(self) -> None:
        """Renew all leases, and end what was cancelled or deleted. Raises `StoreUnavailable`."""
        recorders = list(self._running.values())
        if recorders:
            alive = await self._store.renew([recorder.owner for recorder in recorders])
            for recorder in recorders:
                if recorder.response_id not in alive:
                    recorder.interrupt("client_closed")

    async def view(self, tenant: str, id: str, after: int | None = None) -> View:
        """Return a response with its events behind number `after`, or with none; one whose process has died fails.

        Raises `NotFound`, or `StoreUnavailable`.
        """
        try:
            view = await self._store.view(tenant, id, after)
            if id not in self._running and self._has_died(view):
                error = InternalError("The process that ran the response has ended before the response.")
                await self._store.end(tenant, id, "failed", _failed(object_of(view.document) or {}, error))
                view = await self._store.view(tenant, id, after)
        except Missing as exc:
            raise refusal(exc) from None
        return view

    async def cancel(self, tenant: str, id: str) -> View:
        """Cancel a response if it runs, and return it. Raises `NotFound`, or `StoreUnavailable`."""
        view = await self.view(tenant, id)
        if view.status not in RUNNING:
            return view
        cancelled = {**(object_of(view.document) or {}), "status": "cancelled"}
        if await self._store.end(tenant, id, "cancelled", compact_nulled(cancelled)):
            recorder = self._running.get(id)
            if recorder is not None and recorder.tenant == tenant:
                recorder.interrupt("client_closed")
        return await self.view(tenant, id)

    def _has_died(self, view: View) -> bool:
        """Return whether a response was left behind by the process that ran it."""
        return view.status in RUNNING and (view.expired or self._owners.has_died(view.owner))

    def recorder(self, tenant: str, id: str) -> Recorder | None:
        """Return the recorder of a response that runs here."""
        recorder = self._running.get(id)
        return recorder if recorder is not None and recorder.tenant == tenant else None

    async def _run(self, recorder: Recorder, run: Run) -> None:
        """Run the call, and write how it has ended if that is not a turn."""
        task = recorder.task
        error: ProxyError | None = None
        try:
            await run(recorder)
        except ProxyError as exc:
            error = exc
        except asyncio.CancelledError:
            if recorder.interrupted is None or task is None or task.uncancel():
                raise
            error = Unavailable("The server is shutting down.", code="draining")
        except Exception:
            _LOG.exception("internal error of a response in the background", extra={"fields": {"id": recorder.id}})
            error = InternalError("Internal error of the proxy; the log has the details under this response's id.")
        if error is not None and not recorder.admitted.done():
            with suppress(Missing, StoreUnavailable):
                await self._responses.delete(recorder.tenant, recorder.response_id)
            recorder.reject(error)
        elif recorder.interrupted != "client_closed":
            await self._end(recorder, error)

    def _ended(self, recorder: Recorder) -> None:
        """Forget a recorder whose task has ended, or was cancelled before it began."""
        del self._running[recorder.response_id]
        recorder.reject(leaving())
        recorder.wake()

    async def _end(self, recorder: Recorder, error: ProxyError | None) -> None:
        """Write the response as failed, if its turn was not committed."""
        if error is not None and recorder.encoder is not None:
            recorder.write(recorder.encoder.fail(error))
        response = recorder.answer_events.response
        status = response.get("status")
        if error is None and status in ENDED:
            return
        failed = error or InternalError("The answer has no end.")
        document = compact_nulled(response) if status == "failed" else _failed(response, failed)
        while True:
            try:
                await self.flush([recorder])
                await self._store.end(recorder.tenant, recorder.response_id, "failed", document)
            except StoreUnavailable:
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return

    async def _drain(self, recorder: Recorder) -> None:
        """Write what a recorder has. Raises `Unavailable` if the store does not work for long."""
        for _ in range(FLUSH_ATTEMPTS - 1):
            try:
                await self.flush([recorder])
            except StoreUnavailable:
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return
        try:
            await self.flush([recorder])
        except StoreUnavailable as exc:
            raise refusal(exc) from None


def _failed(response: Item, error: ProxyError) -> bytes:
    """Return the object of a response that fails with `error`, as JSON."""
    from proxy.surfaces.responses.background import failed_response

    return compact_nulled(failed_response(response, error))
