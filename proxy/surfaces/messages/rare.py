"""Sources and images of a chat's answer in Anthropic's form.

Anthropic's own answers have no images; a block has the form of an image in a request. Anthropic signs the places of
its sources in `encrypted_index`, which is empty here.
"""

from __future__ import annotations

from typing import Any

from proxy.surfaces.sources import citations_of, image_data

Block = dict[str, Any]

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


def image_blocks(images: Any) -> list[Block]:
    """Return the images of a message that have their data with them."""
    found = [image_data(image) for image in (images if isinstance(images, list) else ()) if isinstance(image, dict)]
    return [
        {"type": "image", "source": {"type": "base64", "media_type": inline[0], "data": inline[1]}}
        for inline in found
        if inline is not None
    ]


def without_foreign(block: Any) -> Any:
    """Return a block of an earlier answer without what Anthropic's do not have; `None` if nothing is left."""
    if not isinstance(block, dict):
        return block
    if block.get("type") == "image":
        return None
    citations = block.get("citations")
    if not isinstance(citations, list):
        return block
    kept = [each for each in citations if not isinstance(each, dict) or each.get("encrypted_index") != ""]
    if len(kept) == len(citations):
        return block
    return {**block, "citations": kept} if kept else {name: block[name] for name in block if name != "citations"}
