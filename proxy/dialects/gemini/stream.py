"""Decoder of Gemini answers, streamed or not, for bytes that are split anywhere.

Gemini has no `[DONE]`: an answer is complete when every candidate has its `finishReason`. Some models send `STOP` in
every chunk, and some send an empty `STOP` with token counts before the text, so a finish is written only at the
end of the body or when the outermost bracket is closed. A missing finish is never invented. An answer without content
whose finish reports a failure of the model (`MALFORMED_FUNCTION_CALL`) is a failure.
"""

from __future__ import annotations

from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.dialects.answer_tool import Structure
from proxy.dialects.gemini.calls import Keep
from proxy.dialects.gemini.errors import failure_in_200, is_error
from proxy.dialects.gemini.parts import Candidate
from proxy.dialects.gemini.typed import TextChunk, text_chunk_of
from proxy.dialects.gemini.usage import Counts, counts_of, later, usage_of
from proxy.dialects.gemini.wire import Answers, NotAnAnswer, objects_of
from proxy.dialects.names import ToolNames
from proxy.dialects.translated import TranslatingDecoder
from proxy.dialects.writer import AnswerWriter

HELD_LIMIT = 64 * 1024 * 1024  # bytes without any content


class GeminiDecoder(TranslatingDecoder):
    """Decodes one answer. `choices` is the requested number.

    `committed`: for streams, content was read; for other answers, the whole answer. `complete`: every candidate has its
    finish, or the prompt was blocked. `closed`: the answer has ended, or the upstream's own error was read.
    """

    def __init__(
        self,
        writer: AnswerWriter,
        keep: Keep,
        names: ToolNames | None = None,
        structure: Structure | None = None,
        *,
        stream: bool,
        choices: int,
    ) -> None:
        super().__init__(writer, stream=stream, limit=HELD_LIMIT)
        self._keep = keep
        self._names = names
        self._structure = structure
        self._expected = choices
        self._answers = Answers()
        self._candidates: dict[int, Candidate] = {}
        self._blocked: str | None = None
        self._named = False  # the answer's id and model are known
        self._gradual = False  # a chunk had no finish, so a finish is an end
        self._counts = Counts()

    def _read(self, chunk: bytes) -> None:
        try:
            for text in self._answers.feed(chunk):
                part = text_chunk_of(text)
                if part is None or not self._add(part):
                    self._take(text)
        except NotAnAnswer as exc:
            raise self._broken(f"cannot be read: {exc}") from exc
        if self._answers.closed and self._stream and not self._over and self.fault is None and self._is_whole():
            self._end()

    def _read_end(self) -> None:
        whole = self._is_finished()
        try:
            rest = self._answers.rest()
            if rest:
                self._take(rest)
        except NotAnAnswer as exc:
            if not whole:
                raise self._broken(f"cannot be read: {exc}") from exc
        if self.fault is not None or self._over:
            return
        if not self._is_finished() and not self._is_whole():  # fewer candidates than requested may end the body
            raise self._broken("ended without a finish" if self._candidates else "is empty")
        self._end()

    def _update(self) -> None:
        self.committed = self._over or (self._stream and self._writer.committed)
        self.complete = self._is_complete()
        self.closed = self._over or self.fault is not None
        self.native_finish = self._blocked
        if self._blocked is None and 0 in self._candidates:
            self.native_finish = self._candidates[0].finish

    def _is_complete(self) -> bool:
        """Return whether the answer is complete.

        If every chunk has a finish, or content followed the last one, only the end of the body completes it.
        """
        if self._over or not self._is_whole() or self._failed() is not None:
            return self._over
        if not self._stream or self._answers.closed:
            return True
        return self._gradual and not any(candidate.reopened for candidate in self._candidates.values())

    def _add(self, chunk: TextChunk) -> bool:
        """Read a piece of text. Returns whether its candidate has begun before."""
        [piece] = chunk.candidates
        candidate = self._candidates.get(piece.index)
        if candidate is None or self.fault is not None or self._over:
            return False
        if chunk.usage_metadata is not None:
            self._count(chunk.usage_metadata)
        for part in piece.content.parts:
            candidate.add(part)
        self._gradual = self._gradual or candidate.finish is None
        return True

    def _take(self, text: bytes) -> None:
        """Read one JSON text of the answer."""
        for value in objects_of(text):
            if self.fault is not None or self._over:
                return  # ignore data after an error
            if is_error(value):
                self._error(value)
                return
            self._name(value)
            if isinstance(value.get("usageMetadata"), dict):
                self._count(counts_of(value["usageMetadata"]))
            self._feedback(value.get("promptFeedback"))
            candidates = value.get("candidates")
            for place, candidate in enumerate(candidates if isinstance(candidates, list) else []):
                if isinstance(candidate, dict):
                    self._candidate(candidate, place)

    def _count(self, counts: Counts) -> None:
        self._counts = later(self._counts, counts)
        self.usage = self._writer.usage = usage_of(self._counts, self._writer.bounds) or self.usage

    def _name(self, value: dict[str, Any]) -> None:
        """Take the answer's id and model from its first object; they never change."""
        if self._named:
            return
        self._named = True
        id, model = value.get("responseId"), value.get("modelVersion")
        self._writer.identify(
            id=f"chatcmpl-{id}" if isinstance(id, str) and id else None, model=model if isinstance(model, str) else None
        )

    def _feedback(self, feedback: Any) -> None:
        reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if isinstance(reason, str) and reason and reason != "BLOCK_REASON_UNSPECIFIED":
            self._blocked = reason

    def _candidate(self, value: dict[str, Any], place: int) -> None:
        index = value.get("index")
        index = index if isinstance(index, int) and 0 <= index < 1000 else place
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = Candidate(self._writer, self._keep, index, self._names, self._structure)
            self._candidates[index] = candidate
        candidate.take(value)
        self._gradual = self._gradual or candidate.finish is None

    def _is_finished(self) -> bool:
        """Whether there is a candidate and each has its finish, or the prompt was blocked."""
        if self._blocked is not None:
            return True
        finishes = [candidate.finish for candidate in self._candidates.values()]
        return bool(finishes) and None not in finishes

    def _is_whole(self) -> bool:
        """Whether all requested candidates are finished; an array or object that is closed may have fewer.

        A whole object that is not a stream needs no finish either: a finish that Google leaves out stays null.
        """
        if self._answers.closed and not self._stream and self._candidates:
            return True
        enough = self._answers.closed or len(self._candidates) >= self._expected or self._blocked is not None
        return enough and self._is_finished()

    def _end(self) -> None:
        """Write the ends of all choices. Raises `UpstreamFailure` if the model failed and there is nothing to write."""
        failed = self._failed()
        if failed is not None:
            raise self._broken(failed, FailureKind.SERVER_ERROR)
        if self._blocked is not None and not self._candidates:
            self._writer.begin()
            self._writer.finish("content_filter")
        for _, candidate in sorted(self._candidates.items()):
            candidate.close(blocked=self._blocked is not None)
        self._over = True

    def _failed(self) -> str | None:
        """Describe the failure, if every candidate is empty and reports one."""
        failures = [candidate.failed for candidate in self._candidates.values()]
        return failures[0] if failures and all(failures) and self._blocked is None else None

    def _error(self, value: dict[str, Any]) -> None:
        """Take the upstream's own error: a failure before the commit point, afterwards the end of the stream.

        After a complete answer it changes nothing.
        """
        failure = failure_in_200(value)
        self._update()
        if not self.committed:
            raise failure
        if self.complete:
            self._end()
            return
        kind = FailureKind.OVERLOADED if failure.kind is FailureKind.OVERLOADED else FailureKind.BROKEN_STREAM
        self.fault = UpstreamFailure(kind, str(failure), status=failure.status, code=failure.code)
