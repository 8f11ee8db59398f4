"""Translation of OpenAI content parts to Anthropic content blocks: text, images, documents, with `cache_control`.

Sources: Anthropic's API reference, "Messages" (content blocks), "Vision" (JPEG, PNG, GIF, WebP; base64 or URL) and
"PDF support" (base64 or URL). Other content (audio, video, ids of OpenAI files) is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.dialects.media import Media, is_data_url, read_base64, read_data_url, shown_in_base64
from proxy.dialects.turns import PLACEHOLDER

Block = dict[str, Any]

_IMAGES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
_TEXTS = {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript"}
_PDF = "application/pdf"
_BY_ENDING = {"pdf": _PDF, "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "json": "application/json"}


def text_block(text: str) -> Block:
    """Return a text block."""
    return {"type": "text", "text": text}


def marked(block: Block, source: Mapping[str, Any]) -> Block:
    """Return the block with the `cache_control` of its source, a part, message or tool."""
    control = source.get("cache_control")
    return {**block, "cache_control": control} if isinstance(control, dict) and control else block


def content_blocks(content: Any, where: str, *, only_text: bool = False) -> list[Block]:
    """Return a message's `content` as blocks. Raises `InvalidRequest` that names the part.

    Blank texts are omitted, because Anthropic rejects them.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [text_block(content)] if content.strip() else []
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}` must be a string or a list of parts.", param=where)
    blocks = [_part(part, f"{where}[{place}]", only_text) for place, part in enumerate(content)]
    return [block for block in blocks if block is not None]


def _part(part: Any, where: str, only_text: bool) -> Block | None:
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if not isinstance(part, dict):
        raise InvalidRequest(f"`{where}` must be an object.", param=where)
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if not isinstance(text, str):
            raise InvalidRequest(f"`{where}.{kind}` must be a string.", param=where)
        return marked(text_block(text), part) if text.strip() else None
    if only_text:
        raise InvalidRequest(f"`{where}`: messages of this role may contain only text.", param=where)
    if kind == "image_url":
        return marked(_image(part.get("image_url"), where), part)
    if kind == "file":
        return marked(_file(part.get("file"), where), part)
    raise InvalidRequest(
        f"`{where}`: this model supports text, images and documents, not `{_short(kind)}`.", param=where
    )


def _image(value: Any, where: str) -> Block:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise InvalidRequest(f"`{where}.image_url.url` must be a URL or a data URL.", param=where)
    if is_data_url(url):
        media = read_data_url(url, where)
    elif shown_in_base64(url):
        media = read_base64(url, where)
    else:
        return {"type": "image", "source": _at_url(url, where)}
    if media.kind not in _IMAGES and media.kind != _PDF:
        raise InvalidRequest(
            f"`{where}`: the image must be JPEG, PNG, GIF or WebP, not `{_short(media.kind)}`.", param=where
        )
    return _block_of(media)


def _file(value: Any, where: str) -> Block:
    value = value if isinstance(value, dict) else {}
    data, name = value.get("file_data"), value.get("filename")
    if not isinstance(data, str) or not data:
        raise InvalidRequest(
            f"`{where}.file` must have `file_data`; file ids are not supported for this model.", param=where
        )
    title = {"title": name} if isinstance(name, str) and name else {}
    if _is_address(data):
        return {"type": "document", "source": _at_url(data, where), **title}
    media = read_base64(data, where, _BY_ENDING.get(str(name).rpartition(".")[2].lower(), ""))
    if media.kind in _IMAGES:
        return _block_of(media)
    if media.kind == _PDF:
        return {**_block_of(media), **title}
    if media.kind.startswith("text/") or media.kind in _TEXTS:
        text = media.text()
        source = {"type": "text", "media_type": "text/plain", "data": text if text.strip() else PLACEHOLDER}
        return {"type": "document", "source": source, **title}
    raise InvalidRequest(f"`{where}`: files must be PDF, text or images, not `{_short(media.kind)}`.", param=where)


def _block_of(media: Media) -> Block:
    kind = "document" if media.kind == _PDF else "image"
    return {"type": kind, "source": {"type": "base64", "media_type": media.kind, "data": media.data}}


def _is_address(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def _at_url(url: str, where: str) -> Block:
    if not _is_address(url):
        raise InvalidRequest(f"`{where}` must be an `https` URL or a data URL.", param=where)
    return {"type": "url", "url": url}


def _short(value: Any) -> str:
    return str(value)[:60]
