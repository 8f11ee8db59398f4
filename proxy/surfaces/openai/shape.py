"""Reads the shape of a chat body: its parameters, and what its messages contain, without decoding their texts.

Most messages have the members of `PlainMessage` only. Others are read as `AnyMessage`, which has all members that can
matter to the proxy and skips the rest.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Raw, Struct, ValidationError
from msgspec.json import Decoder

from proxy.core.exact import MAX_DEPTH
from proxy.core.json_limits import may_exceed
from proxy.core.messages import MessageFacts

M = TypeVar("M")

_ABSENT = Raw(b"null")
_STRING, _LIST, _NULL = b'"[n'
_NOTHING = Annotated[list[Any], Meta(max_length=0)] | None


class AnyObject(Struct, gc=False):
    """Any JSON object; its members are skipped."""


class PlainMessage(Struct, gc=False, forbid_unknown_fields=True):
    """A message as OpenAI's clients send it. Members that can hold other values than strings are `Raw`."""

    role: str
    content: Raw = _ABSENT
    tool_calls: Raw = _ABSENT
    tool_call_id: str | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    audio: None = None
    function_call: None = None
    annotations: _NOTHING = None


class AnyMessage(Struct, gc=False):
    """A message with any members."""

    role: str
    content: Raw = _ABSENT
    tool_calls: Raw = _ABSENT
    reasoning_details: Raw = _ABSENT
    extra_content: Raw = _ABSENT
    google_parts: Raw = _ABSENT
    images: Raw = _ABSENT


_Count = Annotated[int, Meta(ge=1)]
_Ceiling = Annotated[int, Meta(ge=-1)]  # -1, of local servers, is no limit


class _StreamOptions(Struct, gc=False):
    include_usage: bool | None = None


class _Chat(Struct, Generic[M], gc=False):
    model: str
    messages: list[M]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: _Count | None = None
    max_tokens: _Ceiling | None = None
    max_completion_tokens: _Ceiling | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    tools: list[AnyObject] | None = None
    functions: list[AnyObject] | None = None
    tool_choice: str | AnyObject | None = None
    response_format: AnyObject | None = None
    user: str | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None


class Shape(Struct, frozen=True, gc=False):
    """What the proxy needs to know of every chat body."""

    model: str
    stream: bool
    usage_asked: bool  # the client requests the stream's usage chunk
    messages: MessageFacts


_TEXTS = MessageFacts(parts=False, replayed=False, large=False)
_check_parts = Decoder(list[AnyObject | str]).decode
_read_plain = Decoder(_Chat[PlainMessage]).decode
_read_any = Decoder(_Chat[AnyMessage]).decode
_LEVELS = MAX_DEPTH - 2  # for a message: the body and the list around it are two


def read_shape(raw: bytes) -> Shape | None:
    """Return the shape of a chat body; `None` if `checks.check` has to look at it.

    This is no proof that `raw` is valid: the encoding of skipped strings and repeated members are not checked.
    """
    chat: _Chat[PlainMessage] | _Chat[AnyMessage]
    try:
        try:
            chat = plain = _read_plain(raw)
            messages = facts_of_plain(plain.messages, _LEVELS)
        except ValidationError:
            chat = other = _read_any(raw)
            messages = facts_of_any(other.messages)
    except (ValueError, RecursionError):
        return None
    if messages is None or not (chat.model and chat.messages) or 0 in (chat.max_tokens, chat.max_completion_tokens):
        return None
    options = chat.stream_options
    return Shape(chat.model, chat.stream is True, options is not None and options.include_usage is True, messages)


def facts_of_plain(messages: list[PlainMessage], levels: int) -> MessageFacts | None:
    """Return what the messages contain; `None` if a content is neither a string, a list of parts, nor null.

    `levels` is the depth of nesting that is allowed in a message. Raises `ValueError` for a part that is neither an
    object nor a string, and `RecursionError`.
    """
    parts = replayed = large = False
    for message in messages:
        content, calls = message.content, message.tool_calls
        first = memoryview(content)[0]
        if first == _LIST:
            _check_parts(content)
            parts = True
            large = large or may_exceed(content, levels - 1)
        elif first != _STRING and first != _NULL:
            return None
        if calls is not _ABSENT:
            replayed = replayed or _has_extra_content(calls)
            large = large or may_exceed(calls, levels - 1)
    return MessageFacts(parts, replayed, large) if parts or replayed or large else _TEXTS


def facts_of_any(messages: list[AnyMessage]) -> MessageFacts | None:
    """Return what the messages contain, as `facts_of_plain` does; whether they exceed limits is not known."""
    parts = replayed = False
    for message in messages:
        first = memoryview(message.content)[0]
        if first == _LIST:
            _check_parts(message.content)
            parts = True
        elif first != _STRING and first != _NULL:
            return None
        replayed = replayed or (message.role == "assistant" and _is_replayed(message))
    return MessageFacts(parts, replayed)


def _is_replayed(message: AnyMessage) -> bool:
    return (
        message.reasoning_details is not _ABSENT
        or message.extra_content is not _ABSENT
        or message.google_parts is not _ABSENT
        or message.images is not _ABSENT
        or _has_extra_content(message.tool_calls)
    )


def _has_extra_content(calls: Raw) -> bool:
    """Return whether tool calls may have the member `extra_content`, whose name may be written with escapes."""
    text = bytes(calls)
    return b'"extra_content"' in text or b"\\u" in text
