"""Decoders of answers of Google's API that pass to a client of the same API.

A stream has one of two forms: events (`alt=sse`), or one JSON array that grows; both are relayed as they came. An
answer is complete when every candidate has its `finishReason`; some models send one in every chunk, and some before the
text, so that often only the end of the body completes it (see `stream.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proxy.core.dialects import NativeFormat
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.sse import data_of
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds
from proxy.dialects.gemini.errors import failure_in_200, has_shape, is_error
from proxy.dialects.gemini.parts import FAILED, NO_FINISH
from proxy.dialects.gemini.typed import TextChunk, text_chunk_of
from proxy.dialects.gemini.usage import Counts, counts_of, later, usage_of
from proxy.dialects.gemini.wire import LIMIT, NotAnAnswer, Objects, objects_of
from proxy.dialects.native import NativeBody, NativeEvents, kept_error, size_of

FORMAT: NativeFormat = "generate"
_UNSPECIFIED = "BLOCK_REASON_UNSPECIFIED"
_BLANK = b" \t\r\n"
_NO_CONTENT = {"thoughtSignature", "thought", "text"}


class _Errors:
    """Reads errors in Google's shape."""

    def _is_error(self, value: dict[str, Any]) -> bool:
        return is_error(value)

    def _failure(self, value: dict[str, Any], data: bytes) -> UpstreamFailure:
        return kept_error(failure_in_200(value), FORMAT, data, fits=has_shape(data))


@dataclass(slots=True)
class Progress:
    """What a candidate has so far. `reopened`: content followed its finish."""

    finish: str | None = None
    reopened: bool = False
    content: bool = False  # more than thoughts

    @property
    def failed(self) -> bool:
        """Whether its finish reports a failure, and there is no content."""
        return self.finish in FAILED and not self.content


class GenerateStream(_Errors, NativeEvents):
    """A stream of answers. `choices` is the requested number of candidates; `events`: not an array."""

    _limit = LIMIT

    def __init__(self, bounds: UsageBounds = UNBOUNDED, *, choices: int = 1, events: bool = True) -> None:
        super().__init__(bounds)
        self._expected = choices
        self._candidates: dict[int, Progress] = {}
        self._blocked: str | None = None
        self._gradual = False  # a chunk had no finish, so a finish is an end
        self._counts = Counts()
        self._is_array = not events
        self._objects: Objects | None = None  # of the array
        self._pending = bytearray()  # of the array: the bytes behind the last whole object

    def feed(self, chunk: bytes) -> bytes:
        """Return the events or objects that `chunk` completes. Raises `UpstreamFailure` for other bytes."""
        if self._objects is not None:
            if not self.committed:
                self._hold(chunk)
            return self._feed_array(self._objects, chunk)
        out = super().feed(chunk)
        if self._body is None or not self._is_array:
            return out
        self._objects, chunk, self._body = Objects(), bytes(self._body), None
        return self._feed_array(self._objects, chunk)

    def finish(self) -> bytes:
        """Return the last bytes. Raises `UpstreamFailure` if the answer is not complete."""
        if self._objects is None:
            return super().finish()
        if self.fault is not None:
            return b""
        if not self._objects.closed:
            raise self._broken("ends in the middle of its JSON")
        self._end()
        if not self.complete:
            raise self._broken("ended without a finish")
        self.committed = True
        rest = bytes(self._pending)
        self._pending.clear()
        return rest

    def _hold(self, chunk: bytes) -> None:
        super()._hold(chunk)
        if self._is_array and self._begun and self._body is None and self._objects is None:
            raise self._broken("consists of events, and an array was asked for")

    def _feed_array(self, objects: Objects, chunk: bytes) -> bytes:
        """Return the bytes of whole objects; the closing bracket only if every candidate has its finish."""
        if self.closed:
            return chunk if self.fault is None and not chunk.strip(_BLANK) else b""
        pending, out = self._pending, bytearray()
        pending += chunk
        try:
            for text in objects.feed(chunk):
                if not self._read_object(text):
                    return bytes(out)
                end = pending.index(b"{") + len(text)
                out += pending[:end]
                del pending[:end]
        except NotAnAnswer as exc:
            failure = self._broken(f"cannot be read: {exc}")
            failure.partial = bytes(out) if self.committed else b""
            raise failure from exc
        if objects.closed and self._is_finished() and self._failed_candidates() is None:
            self.committed = self.complete = self.closed = True
            out += pending if not pending.strip(_BLANK + b"]") else b""
            pending.clear()
        return bytes(out)

    def _read_object(self, text: bytes) -> bool:
        """Read an object of the array. Returns whether the client gets it: not the upstream's own error."""
        for value in objects_of(text):
            if not is_error(value):
                self._read(value)
                continue
            failure = self._failure(value, text)
            if not self.committed:
                raise failure
            self.fault = self._after_commit(failure)
            self.closed = True
            return False
        return True

    def _take(self, event: bytes) -> bool:
        if not self.closed:
            data = data_of(event)
            chunk = None if data is None else text_chunk_of(data)
            if chunk is not None and self._add(chunk):
                return True
        return super()._take(event)

    def _add(self, chunk: TextChunk) -> bool:
        """Read a piece of text. Returns whether its candidate has begun before."""
        [piece] = chunk.candidates
        candidate = self._candidates.get(piece.index)
        if candidate is None:
            return False
        if chunk.usage_metadata is not None:
            self._count(chunk.usage_metadata)
        for part in piece.content.parts:
            self._text(candidate, part.text, thought=bool(part.thought))
        self._gradual = self._gradual or candidate.finish is None
        self._update()
        return True

    def _read(self, value: dict[str, Any]) -> None:
        if isinstance(value.get("usageMetadata"), dict):
            self._count(counts_of(value["usageMetadata"]))
        self._blocked = _blocked(value) or self._blocked
        candidates = value.get("candidates")
        for place, candidate in enumerate(candidates if isinstance(candidates, list) else []):
            if isinstance(candidate, dict):
                self._candidate(candidate, place)
        self._update()

    def _candidate(self, value: dict[str, Any], place: int) -> None:
        index = value.get("index")
        index = index if isinstance(index, int) and 0 <= index < 1000 else place
        candidate = self._candidates.setdefault(index, Progress())
        for part in _parts(value):
            text = part.get("text")
            if isinstance(text, str):
                self._text(candidate, text, thought=bool(part.get("thought")))
            elif part.keys() - _NO_CONTENT:
                candidate.reopened = candidate.finish is not None
                candidate.content = candidate.content or not part.get("thought")
                self.committed = True
        finish = _finish(value)
        if finish is not None:
            candidate.finish, candidate.reopened = finish, False
        self._gradual = self._gradual or candidate.finish is None

    def _text(self, candidate: Progress, text: str, *, thought: bool) -> None:
        if text:
            candidate.reopened = candidate.finish is not None
            candidate.content = candidate.content or not thought
            self.text_bytes += size_of(text)
            self.committed = True

    def _count(self, counts: Counts) -> None:
        self._counts = later(self._counts, counts)
        self.usage = usage_of(self._counts, self._bounds) or self.usage

    def _update(self) -> None:
        first = self._candidates.get(0)
        self.native_finish = self._blocked or (None if first is None else first.finish)
        enough = len(self._candidates) >= self._expected or self._blocked is not None
        reopened = any(candidate.reopened for candidate in self._candidates.values())
        sure = self._gradual and enough and not reopened
        self.complete = sure and self._is_finished() and self._failed_candidates() is None

    def _end(self) -> None:
        failed = self._failed_candidates()
        if failed is not None:
            failure = self._broken(failed)
            failure.kind = failure.kind if self.committed else FailureKind.SERVER_ERROR
            raise failure
        self.complete = self.complete or self._is_finished()

    def _is_finished(self) -> bool:
        """Return whether there is a candidate and each has its finish, or the prompt was blocked."""
        finishes = [candidate.finish for candidate in self._candidates.values()]
        return self._blocked is not None or (bool(finishes) and None not in finishes)

    def _failed_candidates(self) -> str | None:
        """Describe the failure, if every candidate is empty and reports one."""
        candidates = list(self._candidates.values())
        if self._blocked is not None or not candidates or not all(each.failed for each in candidates):
            return None
        return f"is empty: the model ended with `{candidates[0].finish}`"


class GenerateBody(_Errors, NativeBody):
    """A whole answer; Google leaves the finish out of some."""

    def _fits(self, value: dict[str, Any]) -> bool:
        candidates = value.get("candidates")
        return _blocked(value) is not None or (isinstance(candidates, list) and bool(candidates))

    def _read(self, value: dict[str, Any]) -> None:
        candidates = [each for each in value.get("candidates") or () if isinstance(each, dict)]
        finishes = [_finish(candidate) for candidate in candidates]
        blocked = _blocked(value)
        empty = candidates and not any(_parts(candidate) for candidate in candidates)
        if empty and blocked is None and all(finish in FAILED for finish in finishes):
            message = f"the upstream's answer is empty: the model ended with `{finishes[0]}`"
            raise UpstreamFailure(FailureKind.SERVER_ERROR, message)
        self.native_finish = self.finish_reason = blocked or (finishes[0] if finishes else None)
        self.usage = usage_of(counts_of(value.get("usageMetadata")), self._bounds)


class CountedTokens(_Errors, NativeBody):
    """A count of tokens, which costs nothing."""

    _wanted = "a count of tokens"

    def _fits(self, value: dict[str, Any]) -> bool:
        return type(value.get("totalTokens", 0)) is int  # 0 is left out

    def _read(self, value: dict[str, Any]) -> None:
        self.usage = Usage()


class Embeddings(_Errors, NativeBody):
    """One embedding, or a list of them."""

    _wanted = "a list of embeddings"

    def _fits(self, value: dict[str, Any]) -> bool:
        several = value.get("embeddings")
        return isinstance(value.get("embedding"), dict) or (isinstance(several, list) and bool(several))

    def _read(self, value: dict[str, Any]) -> None:
        self.usage = usage_of(counts_of(value.get("usageMetadata")), self._bounds)


def _parts(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _finish(candidate: dict[str, Any]) -> str | None:
    finish = candidate.get("finishReason")
    return finish if isinstance(finish, str) and finish and finish != NO_FINISH else None


def _blocked(value: dict[str, Any]) -> str | None:
    """Return why the prompt was blocked; `None` if it was not."""
    feedback = value.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return reason if isinstance(reason, str) and reason and reason != _UNSPECIFIED else None
