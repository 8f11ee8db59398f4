"""Typed views of ordinary chunks and lists of vectors in the OpenAI dialect, decoded and validated by `msgspec`.

A view declares the members that a decoder looks at, each with its ordinary values. JSON that fits means the same to
`core/json_text.py`. Everything else (an error, no choices, an unusual type or finish reason, half a surrogate pair,
text that is not JSON) does not fit and is left to the code that knows all cases.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from proxy.core.json_text import SMALL, is_expensive, typed
from proxy.core.sse import data_line

_NUMBERS = tuple(bytes([byte]) for byte in b"-0123456789")  # how numbers begin
Kind = Literal["chat.completion.chunk", "chat.completion", "text_completion", ""]
Finish = Literal["stop", "length", "tool_calls", "content_filter", "function_call", ""]


class Delta(Struct, gc=False):
    """What a choice gains: members with content, of any other type than these they do not fit."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Raw] | None = None
    tool_calls: list[Raw] | None = None
    function_call: dict[str, Raw] | None = None
    refusal: str | None = None
    audio: dict[str, Raw] | None = None
    images: list[Raw] | None = None


class ChunkChoice(Struct, gc=False):
    """A choice of a chunk, of a chat (`delta`) or of a text completion (`text`)."""

    index: int | None = 0
    finish_reason: Finish | None = None
    delta: Delta | None = None
    text: str | None = None
    error: None = None


class Chunk(Struct, gc=False):
    """One event of a stream that holds choices and no error."""

    choices: Annotated[list[ChunkChoice], Meta(min_length=1)]
    usage: dict[str, Any] | None = None
    object: Kind | None = None
    type: None = None
    error: None = None


class _Vector(Struct, gc=False):
    embedding: Raw
    finish_reason: None = None
    error: None = None


class Vectors(Struct, gc=False):
    """A whole list of embeddings without an error."""

    data: Annotated[list[_Vector], Meta(min_length=1)]
    usage: dict[str, Any] | None = None
    service_tier: str | None = None
    object: Literal["list", "embeddings", ""] | None = None
    type: None = None
    error: None = None


decode_chunk = Decoder(Chunk).decode
_decode_vectors = Decoder(Vectors).decode


def has_content(choice: ChunkChoice) -> bool:
    """Whether a choice of a chunk gains any content."""
    delta = choice.delta
    if choice.text or delta is None:
        return bool(choice.text)
    words = delta.content or delta.reasoning or delta.reasoning_content or delta.refusal
    calls = delta.tool_calls or delta.function_call
    return bool(words or calls or delta.reasoning_details or delta.audio or delta.images)


def chunk_of(event: bytes) -> Chunk | None:
    """The chunk in an event that is a single `data` line; `None` if it does not fit."""
    data = data_line(event)
    return None if data is None or len(data) > SMALL else typed(decode_chunk, data)


def vectors_of(body: bytes, least: int) -> Vectors | None:
    """The embeddings that `body` is, `least` or more of them; `None` if they do not fit."""
    vectors = None if len(body) > SMALL and is_expensive(body) else typed(_decode_vectors, body)
    if vectors is None or len(vectors.data) < least:
        return None
    return vectors if all(_is_vector(bytes(vector.embedding)[:2]) for vector in vectors.data) else None


def _is_vector(head: bytes) -> bool:
    """Whether an embedding that begins with these two bytes is a list of numbers, or text."""
    if head[:1] == b'"':
        return head != b'""'
    return head[:1] == b"[" and head[1:] in _NUMBERS
