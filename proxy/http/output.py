"""Outputs for the response of an exchange: directly to the connection, or through ASGI's `send`.

Both delay the head until the first bytes of the body, so that they are sent in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from starlette.types import Message, Send

CYCLE = "signalbox.cycle"  # the ASGI extension that holds the `Cycle` of a request
Headers = Sequence[tuple[bytes, bytes]]


class Output(Protocol):
    """The response of one exchange."""

    last_write: float  # time of the last write of the body, in seconds of the event loop's clock

    @property
    def delivering(self) -> bool:
        """Whether data waits for the client to read it."""
        ...

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begin the response; `length` is the size of its body, `None` if unknown."""
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
    """One request and its response on a connection; `proxy.http.cycle` implements it."""

    on_gone: Callable[[], None] | None  # called once if the client disconnects before it has the whole response
    task: asyncio.Task[Any] | None  # handles the request

    on_leaving: Callable[[], None] | None  # called when the server is about to close the connection
    disconnected: bool

    def take_over(self) -> asyncio.Transport:
        """Return the connection, for another protocol than HTTP; the request has no response any more."""
        ...

    def whole_body(self) -> bytes | None:
        """Return the request's body if all of it has arrived, else `None`."""
        ...


class AsgiOutput:
    """The response through ASGI's `send`: `write` collects messages, and `drain` sends them.

    `on_stall` is called if the server does not accept a message within `write_stall` seconds, or reports a disconnect.
    """

    def __init__(self, send: Send, write_stall: float, on_stall: Callable[[], None]) -> None:
        self._send = send
        self._write_stall = write_stall
        self._on_stall = on_stall
        self.last_write = 0.0
        self._loop = asyncio.get_running_loop()
        self._messages: list[Message] = []
        self._sending = 0
        self._lock = asyncio.Lock()

    @property
    def delivering(self) -> bool:
        return self._sending > 0

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        fields = list(headers)
        if length is not None:
            fields.append((b"content-length", b"%d" % length))
        self._messages.append({"type": "http.response.start", "status": status, "headers": fields})

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
                timer = self._loop.call_later(self._write_stall, self._on_stall)
                try:
                    await self._send(message)
                    self._sending -= 1
                except OSError:  # some servers report a disconnect so
                    self._on_stall()
                    await asyncio.sleep(0)  # the call is cancelled here
                    return
                finally:
                    timer.cancel()
