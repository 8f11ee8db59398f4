"""The sources of an answer, OpenAI's `annotations`, as Google's `groundingMetadata`.

OpenAI's offsets are characters, Google's are bytes of UTF-8. Source: ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from typing import Any

from proxy.surfaces.sources import Citation, citations_of

Members = dict[str, Any]


def grounding(annotations: Any, text: str) -> Members | None:
    """Return the sources in `annotations` of a whole `text`; `None` without any."""
    chunks: dict[str, Members] = {}
    supports: list[Members] = []
    for citation in citations_of(annotations, text):
        chunks.setdefault(citation.url, {"web": {"uri": citation.url, "title": citation.title}})
        if citation.cited:
            place = list(chunks).index(citation.url)
            supports.append({"segment": _segment(text, citation), "groundingChunkIndices": [place]})
    if not chunks:
        return None
    return {"groundingChunks": list(chunks.values()), **({"groundingSupports": supports} if supports else {})}


def _segment(text: str, citation: Citation) -> Members:
    """Return the part of the text that a source supports."""
    start = len(text[: citation.start].encode("utf-8", "replace"))
    end = start + len(citation.cited.encode("utf-8", "replace"))
    return {"startIndex": start, "endIndex": end, "text": citation.cited}
