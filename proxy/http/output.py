"""Outputs for the response of an exchange: directly to the connection, or through ASGI's `send`.

Both delay the head until the first bytes of the body, so that they are sent in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Message, Receive, Send

from proxy.surfaces.headers import Headers, pairs

CYCLE = "signalbox.cycle"  # the ASGI extension that holds the `Cycle` of a request


class Output(Protocol):
    """One request and its response."""

    task: asyncio.Task[Any] | None  # handles the request; `None`: unknown
    on_gone: Callable[[], None] | None  # called once if the client disconnects before it has the whole response
    reports_disconnect: bool  # else `receive` must be awaited to notice a disconnect
    last_write: float  # time of the last write of the body, in seconds of the event loop's clock
    response_complete: bool  # the server has accepted all of it

    def whole_body(self) -> bytes | None:
        """Return the request's body if all of it has arrived, else `None`: then await `receive`."""
        ...

    @property
    def receive(self) -> Receive:
        """ASGI's `receive`, for the body of the request."""
        ...

    @property
    def send(self) -> Send:
        """ASGI's `send`, instead of `start`, `write` and `finish`."""
        ...

    @property
    def delivering(self) -> bool:
        """Whether data waits for the client to read it."""
        ...

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begin the response; `length` is the size of its body, `None` if unknown."""
        ...

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Write a whole response. Return False if `drain` must be called."""
        ...

    def write(self, data: bytes) -> bool:
        """Write a piece of the body. Return False if `drain` must be called before the next one."""
        ...

    def finish(self, data: bytes) -> bool:
        """Write the last piece, which may be empty. Return False if `drain` must be called."""
        ...

    async def drain(self) -> None:
        """Wait until the client accepts more data, or has disconnected."""
        ...


class Cycle(Output, Protocol):
    """A request on a connection of `protocol.py`; `cycle.py` implements it."""

    on_leaving: Callable[[], None] | None  # called when the server is about to close the connection
    disconnected: bool

    def take_over(self) -> asyncio.Transport:
        """Return the connection, for another protocol than HTTP; the request has no response any more."""
        ...


class AsgiOutput:
    """The response through ASGI's `send`: `write` collects messages, and `drain` sends them.

    `on_gone` is called if the server does not accept a message within `write_stall` seconds, or reports a disconnect.
    """

    task: asyncio.Task[Any] | None = None
    on_gone: Callable[[], None] | None = None
    reports_disconnect = False

    def __init__(self, receive: Receive, send: Send, write_stall: float) -> None:
        self.receive: Receive = receive
        self.send: Send = send
        self._write_stall = write_stall
        self.last_write = 0.0
        self.response_complete = False
        self._loop = asyncio.get_running_loop()
        self._messages: list[Message] = []
        self._sending = 0
        self._lock = asyncio.Lock()

    def whole_body(self) -> bytes | None:
        return None

    @property
    def delivering(self) -> bool:
        return self._sending > 0

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        fields = pairs(headers)
        if length is not None:
            fields.append((b"content-length", b"%d" % length))
        self._messages.append({"type": "http.response.start", "status": status, "headers": fields})

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        self.start(status, headers, len(body))
        return self.finish(body)

    def write(self, data: bytes) -> bool:
        self.last_write = self._loop.time()
        self._messages.append({"type": "http.response.body", "body": data, "more_body": True})
        return False

    def finish(self, data: bytes) -> bool:
        self._messages.append({"type": "http.response.body", "body": data, "more_body": False})
        return False

    async def drain(self) -> None:
        async with self._lock:
            messages, self._messages = self._messages, []
            for message in messages:
                self._sending += 1
                timer = self._loop.call_later(self._write_stall, self._gone)
                try:
                    await self.send(message)
                    self._sending -= 1
                    self.response_complete = not message.get("more_body", True)
                except OSError:  # some servers report a disconnect so
                    self._gone()
                    await asyncio.sleep(0)  # the call is cancelled here
                    return
                finally:
                    timer.cancel()

    def _gone(self) -> None:
        if self.on_gone is not None:
            self.on_gone()
