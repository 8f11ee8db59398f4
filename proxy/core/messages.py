"""What the messages of a chat contain, read without decoding their texts.

Most messages have the members of `PlainMessage` only. Others are read as `AnyMessage`, which has all members that can
matter to the proxy and skips the rest.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from proxy.core.json_limits import may_exceed

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


class MessageFacts(Struct, frozen=True, gc=False):
    """What is or may be in the messages."""

    parts: bool = True  # contents that are lists of parts
    replayed: bool = True  # members that Signalbox puts into answers of translated providers, in assistant messages
    large: bool = True  # values that may exceed the limits of `proxy/core/json_limits.py`


UNKNOWN = MessageFacts()
_TEXTS = MessageFacts(parts=False, replayed=False, large=False)
_check_parts = Decoder(list[AnyObject | str]).decode


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
