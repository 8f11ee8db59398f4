"""The decoder of a translated answer: what Anthropic's and Gemini's decoders have in common.

A subclass reads bytes that are cut anywhere, and adds pieces to an `AnswerWriter`. This class returns what is due,
bounds what is held before the commit point, and keeps the attributes of `Decoder` up to date.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import Usage
from proxy.dialects.writer import AnswerWriter


class TranslatingDecoder(ABC):
    """Decodes one answer; `stream` is what the client asked for."""

    def __init__(self, writer: AnswerWriter, *, stream: bool, limit: int) -> None:
        """`limit`: bytes before the commit point."""
        self.committed = self.complete = self.closed = self.passed_error = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None
        self.native_finish: str | None = None
        self._writer = writer
        self._stream = stream
        self._limit = limit
        self._held = 0  # bytes before the commit point
        self._over = False  # the last bytes have been written

    def feed(self, chunk: bytes) -> bytes:
        """Return what `chunk` gives the client. Raises `UpstreamFailure` for bytes that are not of this dialect."""
        if self.closed:
            return b""
        if not self.committed:
            self._held += len(chunk)
            if self._held > self._limit:
                raise self._broken(f"is larger than {self._limit} bytes")
        try:
            self._read(chunk)
            out = self._due()
        except UpstreamFailure as failure:
            self._fail(failure)
            raise
        except RecursionError:  # JSON that can be read but is too deep to be written again
            deep = self._broken("is nested too deeply")
            self._fail(deep)
            raise deep from None
        self._update()
        return out

    def finish(self) -> bytes:
        """Return what the end of the body gives the client. Raises `UpstreamFailure` if the answer is not whole."""
        if self._over or self.fault is not None:
            return b""
        try:
            self._read_end()
            out = self._due()
        except UpstreamFailure as failure:
            self._fail(failure)
            raise
        except RecursionError:  # JSON that can be read but is too deep to be written again
            deep = self._broken("is nested too deeply")
            self._fail(deep)
            raise deep from None
        self._update()
        return out

    @property
    def finish_reason(self) -> str | None:
        """The provider's own finish reason."""
        return self.native_finish

    @abstractmethod
    def _read(self, chunk: bytes) -> None:
        """Read `chunk`."""

    @abstractmethod
    def _read_end(self) -> None:
        """Read what is left, and write the end of the answer."""

    @abstractmethod
    def _update(self) -> None:
        """Bring `committed`, `complete`, `closed`, `usage` and `native_finish` up to date."""

    def _due(self) -> bytes:
        """The bytes for the client; all at the end if it does not stream."""
        if self._over:
            return self._writer.end()
        return self._writer.take() if self._stream else b""

    def _fail(self, failure: UpstreamFailure) -> None:
        self._update()
        failure.partial = self._writer.take() if self.committed else b""

    def _broken(self, what: str, uncommitted: FailureKind = FailureKind.MALFORMED) -> UpstreamFailure:
        """A failure of the answer, which `what` describes."""
        self._update()
        kind = FailureKind.BROKEN_STREAM if self.committed else uncommitted
        return UpstreamFailure(kind, f"the upstream's answer {what}")
