"""The content of Responses items as the content of chat messages: texts, images, files.

    input_text, output_text    text
    input_image                image_url; one with a file id needs a provider with a Responses API of its own
    input_file                 file, with the data, the URL or the id in the members that dialects read
    input_audio                the same in a chat

A content of one text is a string, because not all servers accept a list there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.errors import InvalidRequest

TEXTS = ("input_text", "output_text", "text")
_DETAILS = ("auto", "low", "high")

Part = dict[str, Any]


def content_of(content: Any, where: str, refuse: Callable[[InvalidRequest], None]) -> str | list[Part]:
    """Return a content for a chat. Raises `InvalidRequest` that names the part.

    `refuse` gets the error for a part that only a provider's own Responses API can read.
    """
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_part(part, at, refuse) for part, at in parts_of(content, where)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or ""


def output_of(output: Any, where: str, refuse: Callable[[InvalidRequest], None]) -> str | list[Part]:
    """Return the output of a tool as the content of a `tool` message; several texts are lines of one."""
    content = content_of(output, where, refuse)
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    return content


def parts_of(content: Any, where: str) -> list[tuple[Mapping[str, Any], str]]:
    """Return the parts of a content, each with its place. Raises `InvalidRequest` if it is not a list of objects."""
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}` must be a string or a list of parts.", param=where)
    for place, part in enumerate(content):
        if not isinstance(part, dict):
            raise InvalidRequest(f"`{where}[{place}]` must be an object.", param=f"{where}[{place}]")
    return [(part, f"{where}[{place}]") for place, part in enumerate(content)]


def text_of(part: Mapping[str, Any], where: str, name: str = "text") -> str:
    """Return the text of a part. Raises `InvalidRequest` if it is not a string."""
    text = part.get(name)
    if not isinstance(text, str):
        raise InvalidRequest(f"`{where}.{name}` must be a string.", param=f"{where}.{name}")
    return text


def _part(part: Mapping[str, Any], where: str, refuse: Callable[[InvalidRequest], None]) -> Part:
    kind = part.get("type")
    if kind in TEXTS:
        return {"type": "text", "text": text_of(part, where)}
    if kind == "refusal":
        return {"type": "text", "text": text_of(part, where, "refusal")}
    if kind in ("input_image", "computer_screenshot"):
        return _image(part, where, refuse)
    if kind == "input_file":
        return _file(part, where)
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    message = f"`{where}.type` must be `input_text`, `input_image`, `input_file`, `output_text` or `refusal`."
    raise InvalidRequest(message, param=f"{where}.type")


def _image(part: Mapping[str, Any], where: str, refuse: Callable[[InvalidRequest], None]) -> Part:
    url: Any = part.get("image_url")
    detail = part.get("detail")
    if isinstance(url, dict):  # as in a chat
        url, detail = url.get("url"), url.get("detail", detail)
    if isinstance(url, str) and url:
        image = {"url": url, "detail": detail} if detail in _DETAILS else {"url": url}
        return {"type": "image_url", "image_url": image}
    if not isinstance(part.get("file_id"), str):
        raise InvalidRequest(f"`{where}.image_url` must be a URL or a data URL.", param=f"{where}.image_url")
    message = (
        f"`{where}.file_id`: only the provider that issued a file id can read it, by its own Responses API; "
        "send the image as `image_url`, or choose a model of a provider with `responses: native`."
    )
    refuse(InvalidRequest(message, param=f"{where}.file_id"))
    return {"type": "text", "text": ""}


def _file(part: Mapping[str, Any], where: str) -> Part:
    file: Part = {name: part[name] for name in ("file_data", "file_id", "filename") if isinstance(part.get(name), str)}
    if "file_data" not in file and isinstance(part.get("file_url"), str):
        file["file_data"] = part["file_url"]
    if "file_data" not in file and "file_id" not in file:
        message = f"`{where}` must have `file_data`, `file_url` or `file_id`."
        raise InvalidRequest(message, param=where)
    return {"type": "file", "file": file}
