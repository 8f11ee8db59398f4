"""An answer of Gemini being read: bytes cut anywhere in, an OpenAI answer out, streamed or not.

Gemini has no `[DONE]`: an answer is complete when every candidate has its `finishReason`. Some models send `STOP` in
every chunk, and some send an empty `STOP` with token counts before the text, so a finish is written only when nothing
can follow it: at the end of the bytes or when the outermost bracket is closed. A missing finish is never made up. An
answer without content whose finish says that the model failed (`MALFORMED_FUNCTION_CALL`) is a failure.
"""

from __future__ import annotations

from typing import Any

from proxy.core.errors import Unavailable, UpstreamError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, count, known
from proxy.dialects.answer_tool import Structure
from proxy.dialects.gemini.calls import Keep
from proxy.dialects.gemini.errors import failure_in_200, is_error
from proxy.dialects.gemini.parts import Candidate
from proxy.dialects.gemini.wire import Answers, NotAnAnswer
from proxy.dialects.names import ToolNames
from proxy.dialects.writer import AnswerWriter

_COUNTS = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
)
HELD_LIMIT = 64 * 1024 * 1024  # bytes without any content


class GeminiDecoder:
    """Reads one answer. `choices` is how many the client asked for."""

    passed_error: bool = False

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
        self._writer = writer
        self._keep = keep
        self._names = names
        self._structure = structure
        self._stream = stream
        self._expected = choices
        self._answers = Answers()
        self._candidates: dict[int, Candidate] = {}
        self._blocked: str | None = None
        self._named = False  # the answer's id and model are known
        self._gradual = False  # a chunk without a finish came, so that a finish means something
        self._counts: dict[str, int] = {}
        self._held = 0
        self._ended = False
        self._error_event = b""
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None

    @property
    def committed(self) -> bool:
        """Content has come, for streams; the whole answer, for the others. A finish is held until the end."""
        return self._ended or (self._stream and self._writer.committed)

    @property
    def complete(self) -> bool:
        """Every candidate has its finish, or the prompt was blocked.

        Where every chunk has a finish, or content followed the last one, only the clean end of the bytes completes it.
        """
        if self._ended or not self._whole or self._failed() is not None:
            return self._ended
        if not self._stream or self._answers.closed:
            return True
        return self._gradual and not any(candidate.reopened for candidate in self._candidates.values())

    @property
    def closed(self) -> bool:
        """Nothing more is to be expected: the answer has ended, or the upstream's own error came."""
        return self._ended or self.fault is not None

    @property
    def native_finish(self) -> str | None:
        """Google's own word for why the first choice ended."""
        if self._blocked is not None:
            return self._blocked
        return self._candidates[0].finish if 0 in self._candidates else None

    def feed(self, chunk: bytes) -> bytes:
        """What `chunk` gives the client. Raises `UpstreamFailure` on what is no answer."""
        if self.closed:
            return b""
        self._held += 0 if self.committed else len(chunk)
        if self._held > HELD_LIMIT:
            raise self._broken(f"is larger than {HELD_LIMIT} bytes")
        try:
            for value in self._answers.feed(chunk):
                self._take(value)
        except NotAnAnswer as exc:
            raise self._broken(f"cannot be read: {exc}") from exc
        if self._stream and self._whole and self._answers.closed and self.fault is None:
            self._end()
        return self._due()

    def finish(self) -> bytes:
        """What the end of the body gives the client. Raises `UpstreamFailure` if the answer is not whole."""
        if self.closed:
            return b""
        whole = self._finished
        try:
            for value in self._answers.rest():
                self._take(value)
        except NotAnAnswer as exc:
            if not whole:
                raise self._broken(f"cannot be read: {exc}") from exc
        if self.fault is None:
            self._close()
        return self._due()

    def _close(self) -> None:
        if not self._finished and not self._whole:  # fewer candidates than asked for are no fault at a clean end
            raise self._broken("ended without a finish" if self._candidates else "is empty")
        if not self._ended:
            self._end()

    def _take(self, value: dict[str, Any]) -> None:
        """One object of the answer."""
        if self.closed:
            return  # nothing follows an error
        if is_error(value):
            self._error(value)
            return
        self._name(value)
        self._count(value.get("usageMetadata"))
        self._feedback(value.get("promptFeedback"))
        candidates = value.get("candidates")
        for place, candidate in enumerate(candidates if isinstance(candidates, list) else []):
            if isinstance(candidate, dict):
                self._candidate(candidate, place)

    def _count(self, reported: Any) -> None:
        """The last counts hold, and may be smaller; where no prompt is counted, they are added to those before."""
        if not isinstance(reported, dict):
            return
        counts = {name: number for name in _COUNTS if (number := count(reported.get(name)))}
        self._counts = counts if "promptTokenCount" in counts else {**self._counts, **counts}
        usage = usage_of(self._counts or reported, self._writer.bounds)
        self.usage = self._writer.usage = usage or self.usage

    def _name(self, value: dict[str, Any]) -> None:
        """The answer's id and model come from its first object, and never change."""
        if self._named:
            return
        self._named = True
        id, model = value.get("responseId"), value.get("modelVersion")
        if isinstance(id, str) and id:
            self._writer.id = f"chatcmpl-{id}"
        if isinstance(model, str) and model:
            self._writer.model = model

    def _feedback(self, feedback: Any) -> None:
        reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if isinstance(reason, str) and reason and reason != "BLOCK_REASON_UNSPECIFIED":
            self._blocked = reason

    def _candidate(self, candidate: dict[str, Any], place: int) -> None:
        index = candidate.get("index")
        index = index if isinstance(index, int) and 0 <= index < 1000 else place
        found = self._candidates.setdefault(
            index, Candidate(self._writer, self._keep, index, self._names, self._structure)
        )
        found.take(candidate)
        self._gradual = self._gradual or found.finish is None

    @property
    def _finished(self) -> bool:
        """There is a candidate, and each that was seen has its finish; or the prompt was blocked."""
        if self._blocked is not None:
            return True
        finishes = [candidate.finish for candidate in self._candidates.values()]
        return bool(finishes) and None not in finishes

    @property
    def _whole(self) -> bool:
        """All candidates that were asked for are finished; an array or object that is closed may have fewer.

        One whole object that is no stream needs no finish either: what Google leaves out stays null.
        """
        if self._answers.closed and not self._stream and self._candidates:
            return True
        enough = self._answers.closed or len(self._candidates) >= self._expected or self._blocked is not None
        return self._finished and enough

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
        self._ended = True

    def _failed(self) -> str | None:
        """What went wrong, where every candidate is empty and says that the model failed."""
        found = [candidate.failed for candidate in self._candidates.values()]
        return found[0] if found and all(found) and self._blocked is None else None

    def _due(self) -> bytes:
        """The bytes for the client; of an answer that is not streamed, all at its end."""
        if self._ended:
            return self._writer.end()
        return self._writer.take() + self._error_event if self._stream else b""

    def _error(self, value: dict[str, Any]) -> None:
        """The upstream's own error: a failure before the commit point, afterwards an event for the client.

        After a complete answer it changes nothing.
        """
        failure = failure_in_200(value)
        if not self.committed:
            raise failure
        if self.complete:
            self._end()
            return
        message = str(failure)
        self.fault = UpstreamFailure(FailureKind.BROKEN_STREAM, message, status=failure.status, code=failure.code)
        kind = Unavailable if failure.kind is FailureKind.OVERLOADED else UpstreamError
        self._error_event = kind(message, code=failure.code).event()

    def _broken(self, what: str, uncommitted: FailureKind = FailureKind.MALFORMED) -> UpstreamFailure:
        kind = FailureKind.BROKEN_STREAM if self.committed else uncommitted
        failure = UpstreamFailure(kind, f"the upstream's answer {what}")
        failure.partial = self._writer.take() if self.committed else b""
        return failure


def usage_of(counts: Any, bounds: UsageBounds = UNBOUNDED) -> Usage | None:
    """The usage that `usageMetadata` counts; None if it counts no prompt (some chunks have the kind of traffic only).

    `promptTokenCount` includes what came from the cache; the results of Google's own tools are counted beside it, as
    thoughts are beside the candidates' tokens. Source: ai.google.dev/api/generate-content, UsageMetadata.
    """
    reported = counts if isinstance(counts, dict) else {}
    numbers = {name: number for name in _COUNTS if (number := count(reported.get(name))) is not None}
    if "promptTokenCount" not in numbers:
        return None
    thoughts = numbers.get("thoughtsTokenCount", 0)
    usage = Usage(
        input=numbers["promptTokenCount"] + numbers.get("toolUsePromptTokenCount", 0),
        output=numbers.get("candidatesTokenCount", 0) + thoughts,
        cached=numbers.get("cachedContentTokenCount", 0),
        reasoning=thoughts,
    )
    return known(usage, bounds)
