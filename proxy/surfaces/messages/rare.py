"""Web searches, sources and images of a chat's answer in Anthropic's form.

Anthropic's own answers have no images; a block has the form of an image in a request. Anthropic signs what its searches
find (`encrypted_content`, `encrypted_index`); both are empty here, and the ids of searches have a prefix of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.surfaces.sources import citations_of, image_data

Block = dict[str, Any]

SEARCH = "srvtoolu_sbx"  # how the ids of searches begin, which Anthropic has not made
_IDS = {"server_tool_use": "id", "web_search_tool_result": "tool_use_id"}
_BETWEEN = "; "  # the queries of one search
_LONGEST = 150  # characters of a cited text, as Anthropic cites


def citation_blocks(annotations: Any, text: str) -> list[Block]:
    """Return OpenAI's `annotations` of a whole `text` as the citations of a text block."""
    return [
        {
            "type": "web_search_result_location",
            "cited_text": citation.cited[:_LONGEST],
            "url": citation.url,
            "title": citation.title,
            "encrypted_index": "",
        }
        for citation in citations_of(annotations, text)
    ]


def search_blocks(searches: Any, annotations: Any, seed: str) -> list[Block]:
    """Return the web searches that a provider has made: the step and its results, whose titles `annotations` have.

    Ids are derived from `seed`, letters and digits, and the place in `searches`.
    """
    titles = {citation.url: citation.title for citation in citations_of(annotations, "")}
    blocks: list[Block] = []
    for place, search in enumerate(searches if isinstance(searches, list) else ()):
        if not isinstance(search, dict):
            continue
        queries = search.get("queries")
        query = _BETWEEN.join(map(str, queries)) if isinstance(queries, list) else ""
        id = f"{SEARCH}{seed}{place}"
        blocks += [
            {"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": query}},
            {"type": "web_search_tool_result", "tool_use_id": id, "content": _results(search.get("pages"), titles)},
        ]
    return blocks


def search_usage(blocks: list[Block]) -> dict[str, Any]:
    """Return the member of the usage that counts searches; nothing without any."""
    count = sum(block["type"] == "server_tool_use" for block in blocks)
    return {"server_tool_use": {"web_search_requests": count, "web_fetch_requests": 0}} if count else {}


def _results(pages: Any, titles: Mapping[str, str]) -> Any:
    if not isinstance(pages, list):
        return {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    result = {"type": "web_search_result", "encrypted_content": "", "page_age": None}
    return [{**result, "url": url, "title": titles.get(url, url)} for url in pages if isinstance(url, str)]


def image_blocks(images: Any) -> list[Block]:
    """Return the images of a message that have their data with them."""
    found = [image_data(image) for image in (images if isinstance(images, list) else ()) if isinstance(image, dict)]
    return [
        {"type": "image", "source": {"type": "base64", "media_type": inline[0], "data": inline[1]}}
        for inline in found
        if inline is not None
    ]


def is_foreign(block: Any) -> bool:
    """Return whether a block of an earlier answer is an image, or a search that Anthropic has not made."""
    kind = block.get("type") if isinstance(block, dict) else None
    id = block.get(_IDS[kind]) if isinstance(kind, str) and kind in _IDS else None
    return kind == "image" or (isinstance(id, str) and id.startswith(SEARCH))


def without_sources(block: Any) -> Any:
    """Return a block of an earlier answer without the sources that Anthropic has not signed."""
    citations = block.get("citations") if isinstance(block, dict) else None
    if not isinstance(citations, list):
        return block
    kept = [each for each in citations if not isinstance(each, dict) or each.get("encrypted_index") != ""]
    if len(kept) == len(citations):
        return block
    return {**block, "citations": kept} if kept else {name: block[name] for name in block if name != "citations"}
