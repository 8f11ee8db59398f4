"""A request that has arrived: what the HTTP surface hands to the pipeline, and how its body becomes a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from anyio import to_thread

from proxy.core.types import Call, Snapshot

LARGE = 256 * 1024  # bytes; to work on more than that in the event loop would hold up every other call
T = TypeVar("T")


class ReadCall(Protocol):
    """Reads a body of one endpoint: `surfaces.chat.read_chat` and its like."""

    def __call__(
        self, raw: bytes, headers: Mapping[str, str], *, id: str, request_id: str, snapshot: Snapshot
    ) -> Call: ...


class Arrival(Protocol):
    """A request that has arrived, its body not yet read."""

    id: str  # ours
    request_id: str  # the client's where sane
    headers: Mapping[str, str]
    caller: str  # whose turn it is, where calls have to wait
    read_call: ReadCall  # for the path that it came to
    interrupted: str | None  # why the call was ended early: `client_closed` or `draining`
    client_seconds: float  # spent waiting for the client
    answer_headers: dict[str, str]  # of the call, for whoever still answers when it was ended early

    @property
    def delivering(self) -> bool:
        """Something is on its way out that the client has not taken yet."""
        ...

    async def read(self) -> bytes:
        """The body. Raises `ProxyError` if it is too large or too slow."""
        ...

    def expect_stream(self, headers: Callable[[], Mapping[str, str]]) -> None:
        """The answer will be a stream of events: one that is silent for long may be opened early, with `headers`."""
        ...

    def interrupt(self, why: str) -> None:
        """End the call early."""
        ...


async def call_of(arrival: Arrival, raw: bytes, snapshot: Snapshot) -> Call:
    """Read the body as a call, which keeps `snapshot` until its end. Raises `InvalidRequest`."""
    read = partial(arrival.read_call, raw, arrival.headers, id=arrival.id, request_id=arrival.request_id)
    call = await aside(lambda: read(snapshot=snapshot), len(raw))
    return replace(call, caller=arrival.caller)


async def aside(work: Callable[[], T], size: int) -> T:
    """Do `work` on a body of `size` bytes: at once if it is small, else in a thread."""
    return work() if size <= LARGE else await to_thread.run_sync(work, abandon_on_cancel=True)
