"""The sources of an answer, OpenAI's `annotations`, and its web searches as Google's `groundingMetadata`.

OpenAI's offsets are characters, Google's are bytes of UTF-8. Source: ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.surfaces.sources import Citation, citations_of

Members = dict[str, Any]


def grounding(annotations: Any, searches: Sequence[Members], text: str) -> Members | None:
    """Return the sources in `annotations` of a whole `text`, and what was searched for; `None` without either."""
    chunks: dict[str, Members] = {}
    supports: list[Members] = []
    for citation in citations_of(annotations, text):
        chunks.setdefault(citation.url, {"web": {"uri": citation.url, "title": citation.title}})
        if citation.cited:
            place = list(chunks).index(citation.url)
            supports.append({"segment": _segment(text, citation), "groundingChunkIndices": [place]})
    asked = [search["queries"] for search in searches if isinstance(search.get("queries"), list)]
    queries = [query for each in asked for query in each if isinstance(query, str)]
    members = {
        "webSearchQueries": queries,
        "groundingChunks": list(chunks.values()),
        "groundingSupports": supports,
    }
    return {name: value for name, value in members.items() if value} or None


def _segment(text: str, citation: Citation) -> Members:
    """Return the part of the text that a source supports."""
    start = len(text[: citation.start].encode("utf-8", "replace"))
    end = start + len(citation.cited.encode("utf-8", "replace"))
    return {"startIndex": start, "endIndex": end, "text": citation.cited}
