"""An answer that is not streamed: held back until its end, since it is whole or it is none."""

from __future__ import annotations

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds

LIMIT = 64 * 1024 * 1024  # bytes


class HeldAnswer:
    """Collects. A decoder adds `finish`, which reads what has come and, if it is an answer, lets it `_pass`."""

    native_finish: str | None = None
    passed_error: bool = False

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        self._bounds = bounds
        self._held = bytearray()
        self.committed = self.complete = self.closed = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Collect. Raises `UpstreamFailure` if it becomes too much."""
        self._held += chunk
        if len(self._held) > LIMIT:
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer is larger than {LIMIT} bytes")
        return b""

    def _pass(self) -> None:
        """The answer is one, and goes to the client."""
        self.committed = self.complete = self.closed = True
