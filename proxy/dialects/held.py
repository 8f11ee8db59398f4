"""An answer that is not streamed: collected until its end, because it is only an answer if it is whole."""

from __future__ import annotations

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds

LIMIT = 64 * 1024 * 1024  # bytes


class HeldAnswer:
    """Collects the body. A subclass adds `finish`, which reads it and sets `committed`, `complete` and `closed`."""

    committed = complete = closed = passed_error = False
    native_finish: str | None = None
    finish_reason: str | None = None
    fault: UpstreamFailure | None = None
    usage: Usage | None = None
    _held: bytes | bytearray = b""

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        self._bounds = bounds

    def feed(self, chunk: bytes) -> bytes:
        """Collect `chunk`. Raises `UpstreamFailure` if the body is too large."""
        if not self._held:
            self._held = chunk  # most bodies come in one piece
        else:
            self._held = self._held if isinstance(self._held, bytearray) else bytearray(self._held)
            self._held += chunk
        if len(self._held) > LIMIT:
            self._held = bytearray()  # the failure's traceback may keep this object for a while
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer is larger than {LIMIT} bytes")
        return b""
