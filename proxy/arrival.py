"""The interface between the HTTP edge and the pipeline: a received request, and the response to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from proxy.core.turn import Turn
from proxy.core.work import LARGE
from proxy.surfaces.base import Encoder, Surface
from proxy.surfaces.headers import Headers

T = TypeVar("T")


class Detached(Protocol):
    """A call that runs in the background: its answer is recorded."""

    async def complete(self, turn: Turn) -> None:
        """Store all events of the answer, and bring the turn in line with them. Raises `ProxyError`."""
        ...


class Arrival(Protocol):
    """A received request whose body has not been read yet, and its response."""

    id: str  # assigned by the proxy
    request_id: str  # from the client if it is valid, else assigned by the proxy
    headers: Mapping[str, str]
    path: str
    query: str  # without `?`
    address: str | None  # the client's IP address, if it is known
    history: int  # bytes that the surface remembers, and may read with the body
    surface: Surface  # of the request's path
    encoder: Encoder | None  # writes the answer, set when it begins; `None`: canonical bytes go out as they are
    interrupted: str | None  # why the call ended early: `client_closed` or `draining`
    client_seconds: float  # time spent waiting for the client
    answer_headers: Mapping[str, str]  # the call's headers, for the error response to a call that ended early
    status: int  # of the response; 0 before it begins
    detached: Detached | None  # `None`: a client waits for the answer

    @property
    def delivering(self) -> bool:
        """Whether data is being sent that the client has not received yet."""
        ...

    async def read(self) -> bytes:
        """Return the body. Raises `ProxyError` if it is too large or too slow."""
        ...

    def expect_stream(self, headers: Callable[[], Headers]) -> None:
        """Announce an event stream, which may be opened early with `headers` if the upstream stays silent."""
        ...

    def interrupt(self, why: str) -> None:
        """End the call early for the reason `why`, by cancelling its task."""
        ...

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Write a whole response."""
        ...

    async def begin_stream(self, status: int, headers: Headers, *, events: bool) -> None:
        """Begin a streamed response, of events if `events`. Raises `ProxyError` if it was opened early for events."""
        ...

    def write(self, data: bytes) -> bool:
        """Write a piece of a stream; return whether the client takes more now, otherwise `drain` first."""
        ...

    async def drain(self) -> None:
        """Wait until the client takes more."""
        ...

    async def end_stream(self) -> None:
        """End a streamed response."""
        ...


async def run_off_loop(work: Callable[[], T], size: int) -> T:
    """Run `work` on a body of `size` bytes: in the event loop if it is small, else in a thread.

    A caller that is cancelled does not wait for the thread.
    """
    return work() if size <= LARGE else await asyncio.get_running_loop().run_in_executor(None, work)
