"""OpenAI content parts as Anthropic content blocks: text, images, documents, each with its `cache_control`.

Sources: Anthropic's API reference, "Messages" (content blocks), "Vision" (JPEG, PNG, GIF, WebP; base64 or URL) and
"PDF support" (base64 or URL). What no block can carry (audio, video, ids of files that are at OpenAI) is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from proxy.core.errors import InvalidRequest

Block = dict[str, Any]

_IMAGES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
_TEXTS = {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript"}
_PDF = "application/pdf"
_BY_ENDING = {"pdf": _PDF, "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "json": "application/json"}


def text_block(text: str) -> Block:
    """A text block."""
    return {"type": "text", "text": text}


def marked(block: Block, source: Mapping[str, Any]) -> Block:
    """The block, with the `cache_control` that stands on the part, message or tool that it came from."""
    control = source.get("cache_control")
    return {**block, "cache_control": control} if isinstance(control, dict) and control else block


def content_blocks(content: Any, where: str, *, only_text: bool = False) -> list[Block]:
    """A message's `content` as blocks. Raises `InvalidRequest` that names the part.

    Texts without any visible character are left out: Anthropic refuses them, and they say nothing.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [text_block(content)] if content.strip() else []
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}` must be a string or a list of parts.", param=where)
    found = [_part(part, f"{where}[{place}]", only_text) for place, part in enumerate(content)]
    return [block for block in found if block is not None]


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
        raise InvalidRequest(f"`{where}`: only text can stand in a message of this role.", param=where)
    if kind == "image_url":
        return marked(_image(part.get("image_url"), where), part)
    if kind == "file":
        return marked(_file(part.get("file"), where), part)
    raise InvalidRequest(f"`{where}`: this model takes text, images and documents, no `{_short(kind)}`.", param=where)


def _image(value: Any, where: str) -> Block:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise InvalidRequest(f"`{where}.image_url.url` must be a URL or a data URL.", param=where)
    if not url.startswith("data:"):
        return {"type": "image", "source": _at_url(url, where)}
    media, data = _data_url(url, where)
    if media not in _IMAGES:
        raise InvalidRequest(
            f"`{where}`: the image must be JPEG, PNG, GIF or WebP, not `{_short(media)}`.", param=where
        )
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def _file(value: Any, where: str) -> Block:
    value = value if isinstance(value, dict) else {}
    data, name = value.get("file_data"), value.get("filename")
    if not isinstance(data, str) or not data:
        raise InvalidRequest(f"`{where}.file` must have `file_data`; a file's id means nothing here.", param=where)
    title = {"title": name} if isinstance(name, str) and name else {}
    if data.startswith(("http://", "https://")):
        return {"type": "document", "source": _at_url(data, where), **title}
    media, data = _data_url(data, where) if data.startswith("data:") else (_guess(name, data), data)
    if media in _IMAGES:
        return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
    if media == _PDF:
        return {"type": "document", "source": {"type": "base64", "media_type": media, "data": data}, **title}
    if media.startswith("text/") or media in _TEXTS:
        text = _decode(data, where).decode("utf-8", "replace")
        return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **title}
    raise InvalidRequest(f"`{where}`: files may be PDF, text or images, not `{_short(media)}`.", param=where)


def _at_url(url: str, where: str) -> Block:
    if not url.startswith(("http://", "https://")):
        raise InvalidRequest(f"`{where}` must be an `https` URL or a data URL.", param=where)
    return {"type": "url", "url": url}


def _data_url(url: str, where: str) -> tuple[str, str]:
    """Media type and base64 data of a data URL (RFC 2397)."""
    head, comma, data = url[len("data:") :].partition(",")
    if not comma:
        raise InvalidRequest(f"`{where}` has a data URL without data.", param=where)
    media, *options = head.lower().split(";")
    media = {"image/jpg": "image/jpeg", "": "text/plain"}.get(media.strip(), media.strip())
    if "base64" in (option.strip() for option in options):
        return media, data
    return media, base64.b64encode(unquote_to_bytes(data)).decode("ascii")


def _decode(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequest(f"`{where}`: the file's data is not base64.", param=where) from exc


def _guess(name: Any, data: str) -> str:
    """The media type of bare base64 data: a PDF by its first bytes, else by the file's name."""
    if data.startswith("JVBERi"):
        return _PDF
    return _BY_ENDING.get(str(name).rpartition(".")[2].lower(), "application/octet-stream")


def _short(value: Any) -> str:
    return str(value)[:60]
