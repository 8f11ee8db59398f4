"""Parts of a chat completion as members of a response: log probabilities, citations, and web searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; nothing for any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def token_of(token: Mapping[str, Any]) -> dict[str, Any]:
    """Return the log probability of a token, with every member that a response must have."""
    return {**_plain(token), "top_logprobs": [_plain(other) for other in objects(token.get("top_logprobs"))]}


def _plain(token: Mapping[str, Any]) -> dict[str, Any]:
    text, number, octets = token.get("token"), token.get("logprob"), token.get("bytes")
    text = text if isinstance(text, str) else ""
    return {
        "token": text,
        "logprob": number if isinstance(number, (int, float)) else 0.0,
        "bytes": octets if isinstance(octets, list) else list(text.encode("utf-8", "replace")),
    }


def annotation_of(note: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the citation of a web page; other annotations have no counterpart."""
    cited = note.get("url_citation")
    if not isinstance(cited, dict) or not isinstance(cited.get("url"), str):
        return None
    start, end, title = cited.get("start_index"), cited.get("end_index"), cited.get("title")
    return {
        "type": "url_citation",
        "start_index": start if type(start) is int else 0,
        "end_index": end if type(end) is int else 0,
        "title": title if isinstance(title, str) else "",
        "url": cited["url"],
    }


def search_action(search: Mapping[str, Any], *, sources: bool) -> dict[str, Any]:
    """Return the action of a web search: what was searched for, and with `sources` the pages that were found."""
    queries, pages = _texts(search.get("queries")), _texts(search.get("pages"))
    action: dict[str, Any] = {"type": "search", "query": queries[0] if queries else "", "queries": queries}
    if sources:
        action["sources"] = [{"type": "url", "url": url} for url in pages]
    return action


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
