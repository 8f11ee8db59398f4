"""Reads the sources and the images of a chat's answer, for surfaces that write them in another form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Citation(NamedTuple):
    """A web page that an answer cites, and the part of the answer's text that it supports; empty if unknown."""

    url: str
    title: str  # the URL without one
    start: int  # in characters
    cited: str


def citations_of(annotations: Any, text: str) -> Iterator[Citation]:
    """Yield the pages in OpenAI's `annotations` of a whole `text`."""
    for annotation in annotations if isinstance(annotations, list) else ():
        citation = annotation.get("url_citation") if isinstance(annotation, dict) else None
        url = citation.get("url") if isinstance(citation, dict) else None
        if not isinstance(citation, dict) or not isinstance(url, str) or not url:
            continue
        title, start, end = citation.get("title"), citation.get("start_index"), citation.get("end_index")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
            start = end = 0
        yield Citation(url, title if isinstance(title, str) and title else url, start, text[start:end])


def image_data(image: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the type and the base64 data of an image of an answer; `None` for an address."""
    source = image.get("image_url")
    url = source.get("url") if isinstance(source, dict) else None
    if not isinstance(url, str) or not url.startswith("data:"):
        return None
    kind, separator, data = url.removeprefix("data:").partition(";base64,")
    return (kind, data) if separator else None
