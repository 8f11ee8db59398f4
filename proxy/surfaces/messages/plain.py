"""Reads the most common events of a chat stream, those that add only text or thinking, without building objects."""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder

from proxy.core.json_text import DECODE_ERRORS
from proxy.core.sse import data_line


class PlainDelta(Struct, gc=False, forbid_unknown_fields=True):
    """A delta without calls, signatures and the like."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _Choice(Struct, gc=False):
    delta: PlainDelta
    finish_reason: None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice]
    usage: None = None


_decode = Decoder(_Chunk).decode


def plain_delta(event: bytes) -> PlainDelta | None:
    """Return the delta of an event that has nothing else; `None` for other events, which `loads` has to read."""
    line = data_line(event)
    if line is None:
        return None
    try:
        choices = _decode(line).choices
    except DECODE_ERRORS:
        return None
    return choices[0].delta if len(choices) == 1 else None
