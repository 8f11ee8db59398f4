"""The calls of one WebSocket connection, one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from proxy.arrival import Detached, run_off_loop
from proxy.core.errors import InvalidRequest, ProxyError, Unavailable
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.sse import data_of, split
from proxy.http.exchange import Ids, RunCall
from proxy.http.websocket.channel import Channel
from proxy.http.websocket.frames import Close
from proxy.surfaces.base import Encoder, Surface
from proxy.surfaces.headers import Headers
from proxy.surfaces.responses.connection import ConnectionSurface, Remembered

IDLE_SECONDS = 600.0  # without a message
LONGEST_SECONDS = 3600.0  # of a connection; a turn that runs then is completed
_LAST = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"')


class Session:
    """One connection and its calls. `headers`, `address` and `query` are those of the handshake."""

    def __init__(
        self,
        channel: Channel,
        run: RunCall,
        ids: Ids,
        now: Callable[[], float],
        remembered: Remembered,
        *,
        headers: Mapping[str, str],
        address: str | None,
        query: str,
    ) -> None:
        self.channel = channel
        self.surface = ConnectionSurface(now, remembered)
        self.ids = ids
        self.headers = headers
        self.address = address
        self.query = query
        self._run = run
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Serve messages until the connection ends."""
        end = self._loop.time() + LONGEST_SECONDS
        try:
            while (message := await self._next(end)) is not None:
                await self._turn(message)
                self.surface.end(await run_off_loop(self.surface.items, self.surface.size + len(message)))
        finally:
            self.surface.forget()

    async def _next(self, end: float) -> bytes | None:
        """Return the next message; `None` if there is none. Closes a connection that is idle, or too old."""
        left = end - self._loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, IDLE_SECONDS)):
                return await self.channel.receive()
        if left > IDLE_SECONDS:
            self.channel.close(Close.NORMAL, "no message came for 10 minutes")
            return None
        message = "The connection has been open for 60 minutes; open another one."
        self.channel.send([error_message(InvalidRequest(message, code="websocket_connection_limit_reached"))])
        self.channel.close(Close.NORMAL, "the connection has been open for 60 minutes")
        return None

    async def _turn(self, message: bytes) -> None:
        """Serve one message."""
        arrival = MessageArrival(self, message)
        self.channel.on_end = arrival.leave
        try:
            try:
                try:
                    await self._run.run(arrival)
                except ProxyError as error:
                    arrival.fail(error)
                if arrival.interrupted is not None:
                    await asyncio.sleep(0)  # a cancellation that came too late is raised here
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if arrival.interrupted is None or task is None or task.uncancel():
                    raise
                if arrival.interrupted == "draining":
                    arrival.fail(Unavailable("The server is shutting down.", code="draining", retry_after=1.0))
        finally:
            self.channel.on_end = None
            arrival.close()


class MessageArrival:
    """One message as an `Arrival`: the events of its answer are messages."""

    def __init__(self, session: Session, message: bytes) -> None:
        self.id = self.request_id = session.ids.new()
        self.headers = session.headers
        self.path = "/v1/responses"
        self.query = session.query
        self.address = session.address
        self.history = session.surface.size
        self.surface: Surface = session.surface
        self._connection = session.surface
        self.encoder: Encoder | None = None
        self.interrupted: str | None = None
        self.client_seconds = 0.0
        self.answer_headers: Mapping[str, str] = {}
        self.status = 0
        self.detached: Detached | None = None
        self._channel = session.channel
        self._message = message
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    @property
    def delivering(self) -> bool:
        """Whether there is data that the client has not received yet."""
        return self._channel.delivering

    async def read(self) -> bytes:
        """Return the body. Raises `InvalidRequest`."""
        message, self._message = self._message, b""
        return await run_off_loop(lambda: self._connection.body_of(message), len(message))

    def expect_stream(self, headers: Callable[[], Headers]) -> None:
        """Do nothing: pings keep the connection alive."""

    def interrupt(self, why: str) -> None:
        """End the call early, for the reason `client_closed` or `draining`."""
        if self.interrupted is None and self._task is not None:
            self.interrupted = why
            self._task.cancel()

    def leave(self) -> None:
        """End the call, because its client is gone."""
        self.interrupt("client_closed")

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send the events of a whole answer."""
        self.status = status
        if not self.write(body):
            await self.drain()

    async def begin_stream(self, status: int, headers: Headers, *, events: bool) -> None:
        """Note the status; headers are not sent."""
        self.status = status

    def write(self, data: bytes) -> bool:
        """Send events; return whether the client takes more now."""
        texts = [text for event in split(data) if (text := data_of(event)) is not None]
        for text in texts[-1:]:
            if any(kind in text for kind in _LAST):
                self._note(text)
        return self._channel.send(texts) if texts else True

    async def drain(self) -> None:
        """Wait until the client takes more."""
        began = self._loop.time()
        try:
            await self._channel.drain()
        finally:
            self.client_seconds += self._loop.time() - began

    async def end_stream(self) -> None:
        """Do nothing: the last event ends the answer."""

    def fail(self, error: ProxyError) -> None:
        """Send the error: as the last event of a stream, or as a message of its own."""
        if self.status and self.encoder is not None:
            self.write(self.encoder.fail(error))
        elif self.status:
            self.write(self.surface.event(error))
        else:
            self._channel.send([error_message(error)])

    def close(self) -> None:
        """Release the task."""
        self._task = None

    def _note(self, text: bytes) -> None:
        event = object_of(text)
        response = event.get("response") if event is not None else None
        if isinstance(response, dict) and event is not None and str(event.get("type")).startswith("response."):
            self._connection.note(response)


def error_message(error: ProxyError) -> bytes:
    """Return the message for a call that has no answer. It always has a `code`, which clients look for."""
    members = {"type": error.type, "code": error.error_code or error.type, "message": str(error), "param": error.param}
    return compact_nulled({"type": "error", "status": error.http_status, "error": members})
