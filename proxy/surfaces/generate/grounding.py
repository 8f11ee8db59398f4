"""The sources of an answer, OpenAI's `annotations`, as Google's `groundingMetadata`.

OpenAI's offsets are characters, Google's are bytes of UTF-8. Source: ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Members = dict[str, Any]


def grounding(annotations: Sequence[Members], text: str) -> Members | None:
    """Return the sources in `annotations` of a whole `text`; `None` without any."""
    chunks: dict[str, Members] = {}
    supports: list[Members] = []
    for annotation in annotations:
        citation = annotation.get("url_citation")
        if not isinstance(citation, dict):
            continue
        url = citation.get("url")
        if not isinstance(url, str) or not url:
            continue
        title = citation.get("title")
        chunks.setdefault(url, {"web": {"uri": url, "title": title if isinstance(title, str) and title else url}})
        segment = _segment(text, citation.get("start_index"), citation.get("end_index"))
        if segment is not None:
            supports.append({"segment": segment, "groundingChunkIndices": [list(chunks).index(url)]})
    if not chunks:
        return None
    return {"groundingChunks": list(chunks.values()), **({"groundingSupports": supports} if supports else {})}


def _segment(text: str, start: Any, end: Any) -> Members | None:
    """Return the part of the text that a source supports; `None` without a position."""
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        return None
    before, cited = text[:start].encode("utf-8", "replace"), text[start:end]
    return {
        "startIndex": len(before),
        "endIndex": len(before) + len(cited.encode("utf-8", "replace")),
        "text": cited,
    }
