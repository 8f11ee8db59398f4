"""Translation of images, audio, video and documents to Gemini's parts: inline data, or file references for URLs.

Source: ai.google.dev/gemini-api/docs/vision, /audio, /document-processing (`inlineData`, `fileData`). URLs are
not fetched here: Google fetches `https` and `gs` URLs, YouTube's and those of its Files API.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

from proxy.core.errors import InvalidRequest
from proxy.dialects.media import Media, is_data_url, read_base64, read_data_url, shown_in_base64

_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "json": "application/json",
    "txt": "text/plain",
    "md": "text/md",
    "csv": "text/csv",
    "html": "text/html",
    "xml": "text/xml",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "m4a": "audio/m4a",
    "opus": "audio/opus",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpg",
    "mov": "video/mov",
    "avi": "video/avi",
    "webm": "video/webm",
    "wmv": "video/wmv",
    "flv": "video/x-flv",
    "3gp": "video/3gpp",
}
_UTF16 = ("//4", "//5", "//6", "//7", "/v8", "/v9", "/v+", "/v/")  # the byte order marks, in base64
_VIDEO_HOSTS = ("youtube.com", "youtu.be")


def media_part(part: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Return Gemini's part for a content part other than text; None if its type is unknown. `where` is for errors."""
    kind = part.get("type")
    if kind in ("image_url", "video_url", "audio_url"):
        value = part.get(kind)
        url = value.get("url") if isinstance(value, dict) else value
        fallback = {"image_url": "image/jpeg", "video_url": "video/mp4", "audio_url": "audio/mp3"}[kind]
        return _from_url(url, fallback, f"{where}.{kind}")
    if kind == "input_audio":
        return _audio(part.get("input_audio"), f"{where}.input_audio")
    if kind == "file":
        return _file(part.get("file"), f"{where}.file")
    return None


def _audio(audio: Any, where: str) -> dict[str, Any]:
    data = audio.get("data") if isinstance(audio, dict) else None
    form = audio.get("format") if isinstance(audio, dict) else None
    form = form.lower() if isinstance(form, str) else ""
    declared = _TYPES.get(form, f"audio/{form}") if form else ""
    media = read_base64(data, where, declared) if isinstance(data, str) and data else None
    if media is None or not (form or media.kind.startswith("audio/")):
        raise InvalidRequest(f"`{where}` must have `data` (base64) and `format`.", param=where)
    return _inline(media)


def _file(file: Any, where: str) -> dict[str, Any]:
    file = file if isinstance(file, dict) else {}
    name, data, id = file.get("filename"), file.get("file_data"), file.get("file_id")
    kind = _kind_of(name if isinstance(name, str) else "") or "application/pdf"
    if isinstance(data, str) and data:
        is_url = ":" in data[:10] and not is_data_url(data)
        return _from_url(data, kind, where) if is_url else _inline(read_base64(data, where, kind))
    if isinstance(id, str) and "://" in id:
        media_type = file.get("format")
        return _reference(id, media_type if isinstance(media_type, str) else _kind_of(id) or (kind if name else None))
    message = f"`{where}` must have `file_data`, or a `file_id` that is a URI of Google's Files API."
    raise InvalidRequest(message, param=where)


def _from_url(url: Any, fallback: str, where: str) -> dict[str, Any]:
    if not isinstance(url, str) or not url:
        raise InvalidRequest(f"`{where}.url` must be a URL.", param=where)
    if is_data_url(url):
        return _inline(read_data_url(url, where, fallback))
    if shown_in_base64(url):
        return _inline(read_base64(url, where))
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise InvalidRequest(f"`{where}.url` is not a URL.", param=where) from exc
    if parts.scheme not in ("http", "https", "gs"):
        raise InvalidRequest(f"`{where}.url` must be a `data:`, `https:` or `gs:` URL.", param=where)
    host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    return _reference(url, "video/mp4" if host in _VIDEO_HOSTS else _kind_of(parts.path) or fallback)


def _inline(media: Media) -> dict[str, Any]:
    """Return the file as inline data; texts are converted to UTF-8."""
    data = media.data
    other = media.charset is not None and media.charset.lower() not in ("utf-8", "utf8", "us-ascii")
    if media.kind.startswith("text/") and (other or data.startswith(_UTF16)):
        data = base64.b64encode(media.text().encode()).decode("ascii")
    return {"inlineData": {"mimeType": media.kind, "data": data}}


def _reference(uri: str, kind: str | None) -> dict[str, Any]:
    return {"fileData": {"fileUri": uri, **({"mimeType": kind} if kind else {})}}


def _kind_of(path: str) -> str | None:
    return _TYPES.get(path.rpartition(".")[2].lower())
