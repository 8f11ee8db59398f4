"""The interface between the HTTP edge and the pipeline: a received request, and reading its body as a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from anyio import to_thread

from proxy.core.call import Call
from proxy.core.snapshot import Snapshot
from proxy.core.work import LARGE

T = TypeVar("T")


class ReadCall(Protocol):
    """A reader for the bodies of one endpoint, such as `surfaces.chat.read_chat`."""

    def __call__(
        self, raw: bytes, headers: Mapping[str, str], *, id: str, request_id: str, snapshot: Snapshot, caller: str
    ) -> Call: ...


class Arrival(Protocol):
    """A received request whose body has not been read yet."""

    id: str  # assigned by the proxy
    request_id: str  # from the client if it is valid, else assigned by the proxy
    headers: Mapping[str, str]
    caller: str  # the queue shares capacity evenly between callers
    read_call: ReadCall  # the reader for the request's path
    interrupted: str | None  # why the call ended early: `client_closed` or `draining`
    client_seconds: float  # time spent waiting for the client
    answer_headers: dict[str, str]  # the call's headers, for the error response to a call that ended early

    @property
    def delivering(self) -> bool:
        """Return whether data is being sent that the client has not received yet."""
        ...

    async def read(self) -> bytes:
        """Return the body. Raises `ProxyError` if it is too large or too slow."""
        ...

    def expect_stream(self, headers: Callable[[], Mapping[str, str]]) -> None:
        """Announce an event stream, which may be opened early with `headers` if the upstream stays silent."""
        ...

    def interrupt(self, why: str) -> None:
        """End the call early for the reason `why`."""
        ...


async def call_of(arrival: Arrival, raw: bytes, snapshot: Snapshot) -> Call:
    """Read the body as a call; the call keeps `snapshot` until it ends. Raises `InvalidRequest`."""
    read = partial(arrival.read_call, raw, arrival.headers, id=arrival.id, request_id=arrival.request_id)
    return await aside(lambda: read(snapshot=snapshot, caller=arrival.caller), len(raw))


async def aside(work: Callable[[], T], size: int) -> T:
    """Run `work` on a body of `size` bytes: in the event loop if it is small, else in a thread."""
    return work() if size <= LARGE else await to_thread.run_sync(work, abandon_on_cancel=True)
