"""Files of Google's parts as content parts of a chat: `inlineData` and `fileData`.

A file in Google's own storage (`gs:`, the Files API) keeps its address as a file id, which only Google's models read.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from proxy.core.errors import InvalidRequest
from proxy.surfaces.generate.fields import Members, needed_text, object_of, text_of

_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_TO_STANDARD = str.maketrans("-_", "+/")
_GOOGLE = "googleapis.com"
_BY_URL = {"image": "image_url", "video": "video_url", "audio": "audio_url"}


def inline_part(part: Members, where: str) -> dict[str, Any]:
    """Return a part with a file's data. Raises `InvalidRequest` if it has no type or no data."""
    where = f"{where}.inlineData"
    blob = object_of(part, "inlineData")
    kind, data = needed_text(blob, "mimeType", where).lower(), needed_text(blob, "data", where)
    data = data.translate(_TO_STANDARD)
    if kind in _AUDIO:
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO[kind]}}
    url = f"data:{kind};base64,{data}"
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if kind.startswith("audio/"):
        return {"type": "input_audio", "input_audio": {"data": data, "format": kind.removeprefix("audio/")}}
    if kind.startswith("video/"):
        return {"type": "video_url", "video_url": {"url": url}}
    name = text_of(blob, "displayName", where) or f"document.{_ending(kind)}"
    return {"type": "file", "file": {"filename": name, "file_data": url}}


def file_part(part: Members, where: str) -> dict[str, Any]:
    """Return a part with the address of a file. Raises `InvalidRequest` if it has none."""
    where = f"{where}.fileData"
    data = object_of(part, "fileData")
    uri, kind = needed_text(data, "fileUri", where), (text_of(data, "mimeType", where) or "").lower()
    try:
        address = urlsplit(uri)
    except ValueError:
        raise InvalidRequest(f"`{where}.fileUri` is not a URI.", param=f"{where}.fileUri") from None
    if address.scheme not in ("http", "https") or (address.hostname or "").endswith(_GOOGLE):
        return {"type": "file", "file": {"file_id": uri, **({"format": kind} if kind else {})}}
    name = _BY_URL.get(kind.partition("/")[0])
    if name is not None:
        return {"type": name, name: {"url": uri}}
    return {"type": "file", "file": {"filename": address.path.rpartition("/")[2] or "file", "file_data": uri}}


def _ending(kind: str) -> str:
    """Return the ending of a file's name, by which some providers determine its type."""
    plain = {"text/plain": "txt", "text/markdown": "md", "text/md": "md"}
    return plain.get(kind) or kind.rpartition("/")[2][:20]
