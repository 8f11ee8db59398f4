"""Media of messages (data URLs, base64) for translating dialects: normalized data, with the type of its bytes.

Clients declare wrong types (a PNG as `image/jpeg`, any file as `application/octet-stream`) and encode base64 in several
ways: with line breaks, percent-encoded, in the URL-safe alphabet, without padding. Providers reject all of these. The
type is detected from the bytes; the declared type is the fallback. Sources: RFC 2397, RFC 4648.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from proxy.core.errors import InvalidRequest

_LOOK = 1368  # characters of base64 that are decoded for detection: a PDF's header is in its first 1024 bytes
_CLEARLY = 16  # leading bytes of text after which a file is not a PDF
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_STANDARD = str.maketrans("-_", "+/")
_GENERIC = ("", "application/octet-stream", "binary/octet-stream", "application/x-octet-stream", "application/binary")
_GENERIC_ENDS = ("/*", "/unknown", "/octet-stream")
_SAME = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/x-png": "image/png",
    "image/apng": "image/png",
    "application/x-pdf": "application/pdf",
    "text/pdf": "application/pdf",
    "audio/mpeg": "audio/mp3",
    "audio/mpeg3": "audio/mp3",
    "audio/x-mp3": "audio/mp3",
    "audio/x-mpeg": "audio/mp3",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-pn-wav": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-aac": "audio/aac",
    "audio/x-aiff": "audio/aiff",
    "audio/x-m4a": "audio/m4a",
    "video/quicktime": "video/mov",
    "video/x-msvideo": "video/avi",
    "video/x-ms-wmv": "video/wmv",
}
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mp3"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"0&\xb2u\x8ef\xcf\x11", "video/wmv"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/avi"}
_BRANDS = {  # of ISO base media files
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"M4A ", b"M4B "), "audio/m4a"),
    b"qt  ": "video/mov",
    **dict.fromkeys((b"3gp4", b"3gp5", b"3gp6", b"3gpp", b"3g2a"), "video/3gpp"),
}
_CONTAINERS = ("audio/ogg", "video/webm", "video/mp4", "video/mov", "audio/m4a", "video/3gpp", "video/wmv")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_CHARSET = re.compile(r"charset=\"?([\w.:-]+)", re.I)
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Media:
    """One file: its type, in lower case, and its bytes as standard base64. `charset` is that of a text's URL."""

    kind: str
    data: str
    charset: str | None = None

    def text(self) -> str:
        """Return the bytes as text; invalid bytes are replaced."""
        raw = base64.b64decode(self.data)
        for mark, name in _BYTE_ORDER_MARKS:
            if raw.startswith(mark):
                return raw.decode(name, "replace")
        try:
            return raw.decode(self.charset or "utf-8", "replace")
        except LookupError:  # an unknown charset
            return raw.decode("utf-8", "replace")


def is_data_url(text: str) -> bool:
    """Whether `text` is a `data:` URL."""
    return text[:16].lstrip()[:5].lower() == "data:"


def read_data_url(url: str, where: str, fallback: str = "") -> Media:
    """Return the file in a data URL; `fallback` is its type if neither the URL nor the bytes have one.

    `where` is the position in the request for errors. Raises `InvalidRequest`.
    """
    head, comma, content = url.strip()[len("data:") :].partition(",")
    if not comma:
        raise InvalidRequest(f"`{where}`: the data URL has no comma and therefore no data.", param=where)
    declared, *options = head.split(";")
    kind = _declared(declared)
    match = _CHARSET.search(head)
    charset = match[1] if match else None
    if any(option.strip().lower() == "base64" for option in options):
        return _media(kind, _standard(content, where), fallback, charset)
    raw = unquote_to_bytes(content)
    if not raw:
        raise InvalidRequest(f"`{where}` has no data.", param=where)
    data = base64.b64encode(raw).decode("ascii")
    if not kind.startswith("text/") and sniffed(raw[:1024]) is None:  # base64 without the marker
        try:
            inner = _standard(content, where)
        except InvalidRequest:
            inner = ""
        if sniffed(_look(inner)) is not None:
            data = inner
    return _media(kind, data, fallback, charset)


def read_base64(text: str, where: str, declared: str = "") -> Media:
    """Return the file in plain base64 or in a data URL. Raises `InvalidRequest` that names `where`."""
    if is_data_url(text):
        return read_data_url(text, where, declared)
    return _media(_declared(declared), _standard(text, where), "", None)


def shown_in_base64(text: str) -> str | None:
    """Return the type of a file if `text` is its base64 instead of a URL, else None."""
    try:
        return sniffed(_look(_standard(text[:_LOOK], "")))
    except InvalidRequest:
        return None


def sniffed(head: bytes) -> str | None:
    """Return the type detected from a file's first bytes, or `None`."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return _mpeg_audio(head)
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if b"%PDF-" in head:
        return "application/pdf"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg")) and b"<svg" in head):
        return "image/svg+xml"
    return None


def _mpeg_audio(head: bytes) -> str | None:
    """Detect a frame of AAC (layer 0) or MP3; layer 3 and reserved values are not audio (`FF FE` begins UTF-16)."""
    layer = head[1] >> 1 & 3
    if layer == 0:
        return "audio/aac" if head[1] & 0xF0 == 0xF0 else None
    sound = layer != 3 and head[1] >> 3 & 3 != 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
    return "audio/mp3" if sound else None


def is_text(head: bytes) -> bool:
    """Whether a file's first bytes are text in UTF-8, or in UTF-16 with a byte order mark."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    if not head or _CONTROL.search(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be incomplete
    except UnicodeDecodeError:
        return False
    return True


def _media(kind: str, data: str, fallback: str, charset: str | None) -> Media:
    head = _look(data)
    shown = sniffed(head)
    if shown in _CONTAINERS and kind.partition("/")[0] in ("audio", "video"):
        shown = kind  # a container for audio and video: use the declared type
    if shown == "image/svg+xml" and kind.startswith("text/"):
        shown = kind
    unclear = not kind or (kind == "application/pdf" and len(head) >= _CLEARLY)
    if shown is None and unclear and is_text(head):
        shown = "text/plain" if kind or not fallback or fallback == "application/pdf" else fallback
    return Media(shown or kind or fallback, data, charset)


def _declared(kind: str) -> str:
    """Return the declared type in its usual spelling; empty for generic types."""
    kind = kind.partition(";")[0].strip().strip('"').lower()
    if kind in _GENERIC or kind.endswith(_GENERIC_ENDS):
        return ""
    return _SAME.get(kind, kind)


def _standard(text: str, where: str) -> str:
    """Return base64 in the standard alphabet with padding. Raises `InvalidRequest`."""
    try:
        rest = text.encode("ascii").translate(None, _ALPHABET)
        if rest.strip(b"="):
            text = "".join(unquote(text).split()).translate(_TO_STANDARD)
            rest = text.encode("ascii").translate(None, _ALPHABET)
    except UnicodeEncodeError:
        rest = b"?"
    bare = text.rstrip("=")
    if not bare:
        raise InvalidRequest(f"`{where}` has no data.", param=where)
    if rest.strip(b"=") or len(text) - len(bare) != len(rest) or len(bare) % 4 == 1:
        raise InvalidRequest(f"`{where}` is not valid base64.", param=where)
    return bare + "=" * (-len(bare) % 4) if rest or len(bare) % 4 else bare


def _look(data: str) -> bytes:
    """Decode the first bytes of standard base64."""
    try:
        return base64.b64decode(data[:_LOOK])
    except (binascii.Error, ValueError):
        return b""
