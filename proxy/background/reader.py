"""Readers of responses that run in the background: the client that began one, and those that stream it again.

A reader that is up to date gets events from memory as they come, if the response runs in this process. All others read
the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

from proxy.arrival import Arrival
from proxy.background.recorder import Recorder
from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.sse import split
from proxy.core.turn import Item
from proxy.store.background import RUNNING, View
from proxy.store.errors import StoreUnavailable
from proxy.surfaces.headers import Headers
from proxy.surfaces.responses.background import deleted_event, failed_response, last_event

POLL_SECONDS = 0.5  # between two reads of a response that another process runs
SILENCE_SECONDS = 5.0  # after which a reader without events returns nothing, so that its client may get a comment
_JSON = b"content-type: application/json\r\n"
_EVENTS = b"content-type: text/event-stream; charset=utf-8\r\n"


class Responses(Protocol):
    """Where responses are read; `service.py` implements it."""

    async def view(self, tenant: str, id: str, after: int | None = None) -> View:
        """Return a response with its events behind number `after`, or with none.

        Raises `NotFound` or `StoreUnavailable`.
        """
        ...

    def recorder(self, tenant: str, id: str) -> Recorder | None:
        """Return the recorder of a response that runs in this process."""
        ...


class Begun:
    """A response that was begun, and its client."""

    def __init__(self, calls: Responses, recorder: Recorder, response: Item) -> None:
        self._calls = calls
        self._recorder = recorder
        self._response = response

    async def answer(self, arrival: Arrival, headers: Headers) -> None:
        """Answer as soon as the call is admitted: with the response as it is queued, or with its stream.

        Raises `ProxyError` if it is not admitted.
        """
        recorder = self._recorder
        await asyncio.shield(recorder.admitted)
        if not recorder.keeps_events:
            await arrival.answer(200, headers + _JSON, compact_nulled(self._response))
            return
        reader = Reader(self._calls, recorder.tenant, recorder.response_id, -1, self._response)
        await arrival.begin_stream(200, headers + _EVENTS, events=True)
        arrival.encoder = reader
        async for data in reader.events():
            if data and not arrival.write(data):
                await arrival.drain()
        await arrival.end_stream()


class Reader:
    """Reads the events of one response, from memory where it runs here, else from the store.

    It is also the encoder of a client's stream: `fail` ends a stream that cannot go on.
    """

    def __init__(self, calls: Responses, tenant: str, id: str, after: int, response: Item) -> None:
        self._calls = calls
        self._tenant = tenant
        self._id = id
        self._after = after  # the number of the last event
        self._response = response

    async def events(self) -> AsyncIterator[bytes]:
        """Yield events up to the last one; nothing (`b""`) after each `SILENCE_SECONDS` without any."""
        ended = False
        while not ended:
            recorder = self._calls.recorder(self._tenant, self._id)
            if recorder is not None and self._after + 1 >= recorder.first:
                changed = recorder.changed
                events = recorder.since(self._after)
                self._after += len(events)
                yield b"".join(events)
                if not events:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(SILENCE_SECONDS):
                            await changed.wait()
            else:
                data, ended = await self._stored()
                yield data
                if not data:
                    await asyncio.sleep(POLL_SECONDS)

    async def _stored(self) -> tuple[bytes, bool]:
        """Return the next events in the store, and whether the last one of the stream is among them."""
        try:
            view = await self._calls.view(self._tenant, self._id, self._after)
        except StoreUnavailable:
            return b"", False
        except ProxyError:
            return deleted_event(self._after + 1), True
        data = b""
        for events in view.events:
            for number, event in enumerate(split(events.data), events.first):
                if number > self._after:
                    data += event
                    self._after = number
        if view.more or view.status in RUNNING:
            return data, False
        self._response = object_of(view.document) or {}
        self._after += 1
        return data + last_event(self._response, self._after), True

    def feed(self, data: bytes) -> bytes:
        """Return the events, which are the client's already."""
        return data

    def finish(self) -> bytes:
        """Return nothing: the events have an end."""
        return b""

    def fail(self, error: ProxyError) -> bytes:
        """Return the last event of a stream that ends early."""
        return last_event(failed_response(self._response, error), self._after + 1)
