"""The typed view of Anthropic's most frequent event, a piece of a content block."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.json import Decoder

from proxy.core.json_text import SMALL, typed
from proxy.core.sse import data_line

START = b"event: content_block_delta\ndata: "


class Delta(Struct, forbid_unknown_fields=True, gc=False):
    """A piece of text, of thinking, or of a tool call's arguments."""

    type: Literal["text_delta", "thinking_delta", "input_json_delta"]
    text: str = ""
    thinking: str = ""
    partial_json: str = ""


class BlockDelta(Struct, gc=False):
    """A `content_block_delta` event without an error."""

    type: Literal["content_block_delta"]
    index: int
    delta: Delta
    error: None = None


decode_delta = Decoder(BlockDelta).decode


def block_delta_of(event: bytes) -> BlockDelta | None:
    """The piece of a block in an event; `None` if it does not fit."""
    data = data_line(event, START)
    return None if data is None or len(data) > SMALL else typed(decode_delta, data)
