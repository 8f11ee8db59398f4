"""A non-streamed answer in the OpenAI dialect: collected, checked to be an answer, and passed on as it came.

An ordinary answer is read by typed views (see `typed.py`) of the members that the proxy looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import DECODE_ERRORS, SMALL, is_expensive, loads
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, service_of
from proxy.dialects.error_details import is_error
from proxy.dialects.held import LIMIT, HeldAnswer
from proxy.dialects.openai.errors import failure_in_200
from proxy.dialects.openai.typed import Finish, Kind, Vectors
from proxy.dialects.openai.usage import usage_of

_Count = Annotated[int, Meta(ge=0)]


class _Message(Struct, gc=False):
    """Any object."""


class AnswerChoice(Struct, gc=False):
    """A choice of a chat completion."""

    message: _Message
    finish_reason: Finish | None = None
    error: None = None


class Answer(Struct, gc=False):
    """A whole chat completion that holds choices and no error."""

    choices: Annotated[list[AnswerChoice], Meta(min_length=1)]
    usage: Raw = Raw()
    service_tier: str | None = None
    object: Kind | None = None
    type: None = None
    error: None = None


class _Read(Struct, gc=False):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    audio_tokens: Literal[0] = 0
    image_tokens: Literal[0] = 0


class _Written(Struct, gc=False):
    reasoning_tokens: _Count = 0
    audio_tokens: Literal[0] = 0
    image_tokens: Literal[0] = 0


class Tokens(Struct, gc=False):
    """The usage of a chat completion of text, in OpenAI's own words."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _Read | None = None
    completion_tokens_details: _Written | None = None
    input_tokens_details: None = None
    input_token_details: None = None
    output_tokens_details: None = None
    prompt_cache_hit_tokens: None = None


_NOTHING_READ, _NOTHING_WRITTEN = _Read(), _Written()
_decode_answer = Decoder(Answer).decode
_decode_tokens = Decoder(Tokens).decode


def completion_of(body: bytes) -> Answer | None:
    """The chat completion that `body` is; `None` if it does not fit."""
    if len(body) > SMALL and is_expensive(body):
        return None
    try:
        if not body.isascii():
            body.decode()  # strings that are skipped are not checked for UTF-8
        return _decode_answer(body)
    except DECODE_ERRORS:
        return None


class JsonDecoder(HeldAnswer):
    """A chat completion, passed on as it came once it is whole."""

    _wanted = "a chat completion"
    _member = "choices"  # what every answer has
    _typed: Callable[[bytes], Answer | Vectors | None] = staticmethod(completion_of)  # if it is an ordinary one

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        self._bounds = bounds

    def feed(self, chunk: bytes) -> bytes:
        """Collect `chunk`. Raises `UpstreamFailure` if the body is too large."""
        if self._held or len(chunk) > LIMIT:
            return super().feed(chunk)
        self._held = chunk  # most bodies come in one piece
        return b""

    def finish(self) -> bytes:
        """Return the whole body. Raises `UpstreamFailure` if it is empty, not JSON, an error, or another answer."""
        body = bytes(self._held)
        answer = self._typed(body)
        if type(answer) is Answer:
            self.finish_reason = answer.choices[-1].finish_reason
            if answer.usage:
                self.usage = _tokens_of(answer.usage, self._bounds, answer.service_tier)
        else:
            usage, service = self._usage(body) if answer is None else (answer.usage, answer.service_tier)
            if usage is not None:
                self.usage = usage_of(usage, self._bounds, service)
        self.committed = self.complete = self.closed = True
        return body

    def _usage(self, body: bytes) -> tuple[Any, Any]:
        """Check any body and return its usage and its service tier."""
        value = _load(body)
        if isinstance(value, dict) and is_error(value, self._member):
            raise failure_in_200(value, body)
        if not self._fits(value):
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer is not {self._wanted}")
        return value.get("usage"), value.get("service_tier")

    def _fits(self, value: Any) -> bool:
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not choices:
            return False
        return all(isinstance(choice, dict) and _is_message(choice) for choice in choices)


def _tokens_of(raw: Raw, bounds: UsageBounds, service: str | None) -> Usage | None:
    """Read a `usage`, as `usage_of` does."""
    try:
        tokens = _decode_tokens(raw)
    except DECODE_ERRORS:
        return usage_of(loads(bytes(raw)), bounds, service)
    read, written = tokens.prompt_tokens, tokens.completion_tokens
    of_read = tokens.prompt_tokens_details or _NOTHING_READ
    cached, cache_write = of_read.cached_tokens, of_read.cache_write_tokens
    reasoning = (tokens.completion_tokens_details or _NOTHING_WRITTEN).reasoning_tokens
    if cached + cache_write > read or reasoning > written or read > bounds.input or written > bounds.output or not read:
        return usage_of(loads(bytes(raw)), bounds, service)
    tier = bounds.service if service is None else None if service == "default" else service_of(service)
    return Usage(read, written, cached, cache_write, reasoning, service=tier)


class NotAStream(JsonDecoder):
    """An answer to a streamed call that is labelled as JSON or a page: an error, or a body that is not relayed."""

    def finish(self) -> bytes:
        """Raises `UpstreamFailure`, the upstream's own error if the body is one."""
        super().finish()
        self.committed = self.complete = self.closed = False
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream answered a streamed call without a stream")


def _is_message(choice: Mapping[str, Any]) -> bool:
    """Whether a choice is one of a chat completion; a filter may leave a finish without a message."""
    if isinstance(choice.get("message"), dict):
        return True
    other = choice.get("message") is not None or "delta" in choice or "text" in choice
    return bool(choice.get("finish_reason")) and not other


def _load(body: bytes) -> Any:
    if not body.strip():
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer is empty")
    try:
        return loads(body)
    except (ValueError, RecursionError) as exc:
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer is not JSON") from exc
