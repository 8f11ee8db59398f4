"""Translation of Gemini's sources to OpenAI's `annotations`, and the searches that found them.

Google Search grounding links segments of the text to web pages (`groundingSupports` and `groundingChunks`);
recitation checks mark quotations (`citationMetadata`). Google's offsets are bytes of UTF-8, OpenAI's are characters.
Source: ai.google.dev/api/generate-content, GroundingMetadata and CitationMetadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def url_citations(grounding: Any, citations: Any, text: str) -> list[dict[str, Any]]:
    """Return OpenAI's `url_citation` annotations for the whole `text`; sources without a URL are omitted."""
    raw = text.encode("utf-8", "replace")
    found = [*_grounded(_dict(grounding), raw), *_cited(_dict(citations), raw)]
    unique: list[dict[str, Any]] = []
    for item in found:
        if item not in unique:
            unique.append(item)
    return unique


def search_queries(grounding: Any) -> list[str]:
    """Return what Google has searched for."""
    return [query for query in _list(_dict(grounding).get("webSearchQueries")) if isinstance(query, str)]


def found_pages(grounding: Any) -> list[str]:
    """Return the URLs that Google's search has found."""
    return [url for page in _pages(_dict(grounding)) if isinstance(url := page.get("uri"), str)]


def _pages(grounding: dict[str, Any]) -> list[dict[str, Any]]:
    return [_dict(_dict(chunk).get("web")) for chunk in _list(grounding.get("groundingChunks"))]


def _grounded(grounding: dict[str, Any], raw: bytes) -> Iterator[dict[str, Any]]:
    chunks = _pages(grounding)
    for support in map(_dict, _list(grounding.get("groundingSupports"))):
        segment = _dict(support.get("segment"))
        for place in _list(support.get("groundingChunkIndices")):
            if isinstance(place, int) and 0 <= place < len(chunks):
                yield from _annotation(chunks[place], segment, raw)


def _cited(citations: dict[str, Any], raw: bytes) -> Iterator[dict[str, Any]]:
    for source in map(_dict, _list(citations.get("citations"))):
        yield from _annotation(source, source, raw)


def _annotation(source: dict[str, Any], segment: dict[str, Any], raw: bytes) -> Iterator[dict[str, Any]]:
    url, title = source.get("uri"), source.get("title")
    if isinstance(url, str) and url:
        citation = {
            "start_index": _characters(raw, segment.get("startIndex")),
            "end_index": _characters(raw, segment.get("endIndex")),
            "title": title if isinstance(title, str) else "",
            "url": url,
        }
        yield {"type": "url_citation", "url_citation": citation}


def _characters(raw: bytes, place: Any) -> int:
    """Convert an offset in bytes to one in characters."""
    return len(raw[: max(0, place)].decode("utf-8", "ignore")) if isinstance(place, int) else 0


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
