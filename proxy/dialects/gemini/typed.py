"""The typed view of Gemini's most frequent chunk, a piece of one candidate's text or thoughts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from proxy.core.json_text import SMALL, typed
from proxy.dialects.gemini.usage import Counts


class TextPart(Struct, forbid_unknown_fields=True, gc=False):
    """A piece of text, or of thoughts."""

    text: str
    thought: bool | None = None


class Content(Struct, gc=False):
    """Parts that are all text."""

    parts: list[TextPart]


class TextCandidate(Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A candidate that gains text and is not finished; the members with any value are ignored."""

    content: Content
    index: int = 0
    safety_ratings: Raw = Raw(b"null")
    avg_logprobs: Raw = Raw(b"null")
    token_count: Raw = Raw(b"null")


class TextChunk(Struct, rename="camel", gc=False):
    """One object of a stream that has a piece of text and no error."""

    candidates: Annotated[list[TextCandidate], Meta(min_length=1, max_length=1)]
    usage_metadata: Counts | None = None
    prompt_feedback: None = None
    object: None = None
    type: None = None
    error: None = None


_decode = Decoder(TextChunk).decode


def text_chunk_of(text: bytes) -> TextChunk | None:
    """The chunk that a JSON text is; `None` if it does not fit."""
    return typed(_decode, text) if len(text) <= SMALL else None
