"""Citations: bytes of Google become characters of OpenAI."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.gemini.citations import found_pages, search_queries, url_citations

TEXT = "Köln liegt am Rhein."


def found(url: str, start: int, end: int, title: str = "") -> dict[str, Any]:
    citation = {"start_index": start, "end_index": end, "title": title, "url": url}
    return {"type": "url_citation", "url_citation": citation}


def test_grounding_is_cited_with_its_segment_in_characters() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}],
        "groundingSupports": [{"segment": {"endIndex": 5}, "groundingChunkIndices": [0, 1, 7]}],
    }

    assert url_citations(grounding, None, TEXT) == [found("https://a", 0, 4, "A"), found("https://b", 0, 4)]


def test_a_quotation_is_cited_once() -> None:
    source = {"startIndex": 6, "endIndex": 11, "uri": "https://c", "license": "mit"}

    cited = url_citations(None, {"citations": [source, source, {"startIndex": 0, "endIndex": 5}]}, TEXT)

    assert cited == [found("https://c", 5, 10)]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        3,
        {"groundingChunks": 3, "groundingSupports": [3]},
        {"groundingSupports": [{"groundingChunkIndices": ["x"]}]},
        {"citations": [None, {"uri": 3}]},
    ],
)
def test_odd_metadata_does_no_harm(odd: Any) -> None:
    assert url_citations(odd, odd, TEXT) == []


def test_searches_are_their_queries_and_the_pages() -> None:
    grounding = {"webSearchQueries": ["rain", 3], "groundingChunks": [{"web": {"uri": "https://a"}}, {"web": 5}, 7]}

    assert (search_queries(grounding), found_pages(grounding)) == (["rain"], ["https://a"])
    assert (search_queries("odd"), found_pages(None)) == ([], [])
