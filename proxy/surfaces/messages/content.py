"""Content blocks of Anthropic's requests as parts of a chat message.

Texts, images and documents have counterparts. Other blocks (the steps of server tools, uploads into a container) are
dropped and noted. Source: Anthropic's API reference, "Messages" (content blocks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.surfaces.messages.notes import Notes, invalid

Part = dict[str, Any]

_BETWEEN = "\n\n"  # two texts that become one string
_FILE_ID = "a file id is known to the provider that issued it; send the data, or choose an Anthropic model"


def text_part(text: str) -> Part:
    """Return a part with a text."""
    return {"type": "text", "text": text}


def blocks_of(content: Any, where: str) -> list[Mapping[str, Any]]:
    """Return a list of content blocks; a string is one text block. Raises `InvalidRequest` for anything else."""
    if isinstance(content, str):
        return [text_part(content)]
    if not isinstance(content, list):
        raise invalid(where, "a string or a list of content blocks")
    for place, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise invalid(f"{where}[{place}]", "an object with a `type`")
    return content


def plain(parts: Sequence[Part]) -> str | list[Part]:
    """Return parts as the content of a message: a string if all are texts, because every provider accepts one."""
    if all(part["type"] == "text" for part in parts):
        return _BETWEEN.join(part["text"] for part in parts)
    return list(parts)


def texts_of(content: Any, where: str, notes: Notes) -> list[str]:
    """Return the texts of instructions; other blocks are dropped."""
    texts = []
    for place, block in enumerate(blocks_of(content, where)):
        note_cache(block, notes)
        if block["type"] == "text":
            texts.append(string(block, "text", f"{where}[{place}]"))
        else:
            drop_block(block, notes)
    return texts


def joined(texts: Sequence[str]) -> str:
    """Return texts as one."""
    return _BETWEEN.join(texts)


def parts_of(block: Mapping[str, Any], where: str, notes: Notes) -> list[Part]:
    """Return the parts of a user's block. Raises `InvalidRequest` that names a wrong member."""
    note_cache(block, notes)
    match block["type"]:
        case "text":
            return [text_part(string(block, "text", where))]
        case "image":
            return _image(block, where, notes)
        case "document":
            return _document(block, where, notes)
        case "search_result":
            return [text_part(_search_result(block, where, notes))]
        case _:
            drop_block(block, notes)
            return []


def note_cache(block: Mapping[str, Any], notes: Notes) -> None:
    """Note the cache mark of a block: other providers cache without one."""
    if block.get("cache_control") is not None:
        notes.drop("cache_control")


def drop_block(block: Mapping[str, Any], notes: Notes) -> None:
    """Note a block that has no counterpart."""
    notes.drop(f"messages.content.{block['type']}")


def string(holder: Mapping[str, Any], name: str, where: str) -> str:
    """Return a member that must be a string."""
    value = holder.get(name)
    if not isinstance(value, str):
        raise invalid(f"{where}.{name}", "a string")
    return value


def _source(block: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise invalid(f"{where}.source", "an object")
    return source


def _image(block: Mapping[str, Any], where: str, notes: Notes) -> list[Part]:
    source, at = _source(block, where), f"{where}.source"
    match source.get("type"):
        case "base64":
            url = _data_url(source, at)
        case "url":
            url = string(source, "url", at)
        case "file":
            notes.refuse(f"`{at}`: {_FILE_ID}.", at)
            return []
        case _:
            raise invalid(f"{at}.type", "`base64`, `url` or `file`")
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: Mapping[str, Any], where: str, notes: Notes) -> list[Part]:
    source, at = _source(block, where), f"{where}.source"
    title = block.get("title") if isinstance(block.get("title"), str) else None
    context = block.get("context") if isinstance(block.get("context"), str) else None
    head = [text_part(context)] if context else []
    match source.get("type"):
        case "base64":
            return [*head, _file(_data_url(source, at), title or "document.pdf")]
        case "url":
            return [*head, _file(string(source, "url", at), title or "document.pdf")]
        case "text":
            data = string(source, "data", at)
            return [*head, text_part(f"{title}\n{data}" if title else data)]
        case "content":
            inner = blocks_of(source.get("content"), f"{at}.content")
            parts = [parts_of(each, f"{at}.content[{place}]", notes) for place, each in enumerate(inner)]
            return [*head, *([text_part(title)] if title else []), *(part for each in parts for part in each)]
        case "file":
            notes.refuse(f"`{at}`: {_FILE_ID}.", at)
            return []
        case _:
            raise invalid(f"{at}.type", "`base64`, `url`, `text`, `content` or `file`")


def _file(data: str, name: str) -> Part:
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def _data_url(source: Mapping[str, Any], where: str) -> str:
    return f"data:{string(source, 'media_type', where)};base64,{string(source, 'data', where)}"


def _search_result(block: Mapping[str, Any], where: str, notes: Notes) -> str:
    """Return a search result as text: its title, its address, and its texts."""
    head = [value for name in ("title", "source") if isinstance(value := block.get(name), str) and value]
    return "\n".join([*head, *texts_of(block.get("content"), f"{where}.content", notes)])
