"""Answers to streamed calls with the content type of another answer: the first bytes decide.

Some servers send events as `application/json`; others answer a streamed call with a JSON error and status 200.
"""

from __future__ import annotations

from proxy.core.failures import UpstreamFailure
from proxy.core.usage import Usage
from proxy.dialects.base import Decoder

_BLANK = b" \t\r\n\xef\xbb\xbf"  # white space, and the byte order mark
_EVENT = (b"d", b"e", b"i", b"r", b":")  # `data`, `event`, `id`, `retry`, a comment


class BodyOrEvents:
    """Reads with `body` until the first byte shows that it is a stream of events, then with `events`."""

    def __init__(self, body: Decoder, events: Decoder) -> None:
        self._decoder = body
        self._events = events
        self._known = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes for the client. Raises `UpstreamFailure`."""
        if not self._known:
            chunk = chunk.lstrip(_BLANK)
            self._known = bool(chunk)
            if chunk.startswith(_EVENT):
                self._decoder = self._events
        return self._decoder.feed(chunk)

    def finish(self) -> bytes:
        """Return the last bytes for the client. Raises `UpstreamFailure` if the answer is incomplete."""
        return self._decoder.finish()

    @property
    def committed(self) -> bool:
        """Whether the commit point has been passed."""
        return self._decoder.committed

    @property
    def complete(self) -> bool:
        """Whether the answer is complete."""
        return self._decoder.complete

    @property
    def closed(self) -> bool:
        """Whether the upstream has ended the answer."""
        return self._decoder.closed

    @property
    def fault(self) -> UpstreamFailure | None:
        """The upstream's own error after the commit point; `feed` does not return its event."""
        return self._decoder.fault

    @property
    def passed_error(self) -> bool:
        """Whether an error event was relayed after a complete answer, which is not a failure."""
        return self._decoder.passed_error

    @property
    def native_finish(self) -> str | None:
        """The provider's finish reason."""
        return self._decoder.native_finish

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the answer."""
        return self._decoder.finish_reason

    @property
    def usage(self) -> Usage | None:
        """The usage reported so far."""
        return self._decoder.usage
