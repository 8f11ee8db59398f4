"""What a surface must do: one format that clients speak, in both directions, without I/O.

Inside the pipeline every answer is canonical: one JSON body in OpenAI's format, or whole server-sent events in OpenAI's
format; audio passes as it is. Only the answer of a target that speaks the client's own format (`Call.native`) has that
format. An answer that breaks off is an exception, a `ProxyError`. A surface turns all of these into what its clients
understand. A new surface is a folder beside this module and its rows in `table.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypedDict

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.principal import Principal
from proxy.core.record import Record
from proxy.core.snapshot import Snapshot


class Arrived(TypedDict):
    """The keyword arguments of a `ReadCall`, for readers that pass them on."""

    id: str
    request_id: str
    snapshot: Snapshot
    principal: Principal
    path: str
    query: str


class ReadCall(Protocol):
    """Reads the bodies of one endpoint, such as `surfaces.openai.chat.read_chat`. Raises `InvalidRequest`."""

    def __call__(
        self,
        raw: bytes,
        headers: Mapping[str, str],
        *,
        id: str,
        request_id: str,
        snapshot: Snapshot,
        principal: Principal,
        path: str,
        query: str,
    ) -> Call: ...


class Encoder(Protocol):
    """Writes one successful answer: canonical bytes in, the client's bytes out.

    The bytes that make the answer complete for the client (a last event, a whole body) come from `finish`: what a turn
    adds to a dialog is written before.
    """

    def feed(self, data: bytes) -> bytes:
        """Return the client's bytes for `data`: whole events, or a whole JSON body."""
        ...

    def finish(self) -> bytes:
        """Return the client's last bytes; the answer is complete."""
        ...

    def fail(self, error: ProxyError) -> bytes:
        """Return the client's last bytes; the stream broke off with `error`."""
        ...


class Surface(Protocol):
    """The format of one endpoint. Stateless; the same instance serves all calls."""

    @property
    def keep_alive(self) -> bytes:
        """What is written into an event stream that is silent for long; clients ignore it."""
        ...

    @property
    def read(self) -> ReadCall:
        """The function that reads a body."""
        ...

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer of a call, or `None` if its bytes are the client's bytes.

        `content_type` is that of the answer; `record` is still being written. `native`: the target speaks the client's
        format, so that the bytes are in that format already.
        """
        ...

    def error(self, error: ProxyError) -> bytes:
        """Return an error as the body of a response."""
        ...

    def event(self, error: ProxyError) -> bytes:
        """Return an error as the last event of a stream that has no encoder."""
        ...
