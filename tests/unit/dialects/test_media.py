"""Media of messages: the bytes decide the type, and base64 comes out clean however it came in."""

from __future__ import annotations

import base64
import textwrap
from typing import Any
from urllib.parse import quote

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.anthropic.parts import content_blocks
from proxy.dialects.gemini.media import media_part
from proxy.dialects.media import is_data_url, read_base64, read_data_url, shown_in_base64, sniffed

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(200, 256)) * 3
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(180, 256)) * 2
GIF = b"GIF89a\1\0\1\0\x80\0\0" + bytes(20)
WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + bytes(20)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(20)
MP3 = b"ID3\4\0\0\0\0\0\0" + bytes(20)
FRAME = b"\xff\xfb\x90\x64" + bytes(20)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0"
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0"
OGG = b"OggS\0\2" + bytes(20)
TEXT = "Größe: 3 m, and a few more words.".encode()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (GIF, "image/gif"),
        (b"GIF87a" + GIF, "image/gif"),
        (WEBP, "image/webp"),
        (HEIC, "image/heic"),
        (b"\0\0\0\x18ftypmif1", "image/heif"),
        (b"\0\0\0\x18ftypavif", "image/avif"),
        (b"BM\x46\0\0\0\0\0\0\0\x36", "image/bmp"),
        (b"BM is a brand of text", None),
        (b"II*\0\x08\0\0\0", "image/tiff"),
        (b"MM\0*\0\0\0\x08", "image/tiff"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg/>', "image/svg+xml"),
        (b'<?xml version="1.0"?><html/>', None),
        (PDF, "application/pdf"),
        (b"\0junk before it\n" + PDF, "application/pdf"),
        (WAV, "audio/wav"),
        (MP3, "audio/mp3"),
        (FRAME, "audio/mp3"),
        (b"\xff\xf1\x50\x80" + bytes(9), "audio/aac"),
        (b"\xff\xfe" + "UTF-16".encode("utf-16-le"), None),
        (OGG, "audio/ogg"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"FORM\0\0\0\0AIFF", "audio/aiff"),
        (b"\0\0\0\x18ftypM4A ", "audio/m4a"),
        (MP4, "video/mp4"),
        (b"\0\0\0\x14ftypqt  ", "video/mov"),
        (b"\x1aE\xdf\xa3\x9fB\x86", "video/webm"),
        (b"RIFF\0\0\0\0AVI LIST", "video/avi"),
        (TEXT, None),
        (b"", None),
    ],
)
def test_the_first_bytes_show_the_type(raw: bytes, kind: str | None) -> None:
    assert sniffed(raw) == kind


FORMS: dict[str, Any] = {
    "as it should be": lambda raw: b64(raw),
    "line breaks": lambda raw: "\r\n".join(textwrap.wrap(b64(raw), 76)) + "\n",
    "spaces and tabs": lambda raw: " \t".join(textwrap.wrap(b64(raw), 40)),
    "URL-safe alphabet": lambda raw: base64.urlsafe_b64encode(raw).decode(),
    "no padding": lambda raw: b64(raw).rstrip("="),
    "URL-safe without padding": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
    "percent-encoded": lambda raw: quote(b64(raw), safe=""),
    "percent-encoded line breaks": lambda raw: "%0D%0A".join(textwrap.wrap(b64(raw), 76)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("raw", [PNG, PNG + b"a", PNG + b"ab", JPEG, PDF])
def test_base64_comes_out_clean(form: str, raw: bytes) -> None:
    written = FORMS[form](raw)

    assert read_base64(written, "x").data == b64(raw)
    assert read_data_url(f"data:;base64,{written}", "x").data == b64(raw)


@pytest.mark.parametrize(
    "text", ["", "=", "A", "AAAAA", "AA=A", "A===", "@@@@", "é", "AAA%", "AAAA;AAAA", "data:image/png", "🙂"]
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_base64(text, "messages[0]")

    assert caught.value.param == "messages[0]"


@pytest.mark.parametrize(
    "head",
    [
        "image/png;base64",
        "image/jpeg;base64",
        "IMAGE/PNG;BASE64",
        "image/png;charset=utf-8;base64",
        "image/png;base64;charset=utf-8",
        "image/png;name=a.png;base64",
        'image/png; name="a b.png" ; base64 ',
        "application/octet-stream;base64",
        "binary/octet-stream;base64",
        "image/*;base64",
        "text/plain;base64",
        "application/pdf;base64",
        "audio/wav;base64",
        ";base64",
        "image/png",  # base64 that does not say so
        "",
    ],
)
@pytest.mark.parametrize("scheme", ["data:", "DATA:", " data:"])
def test_the_bytes_beat_the_declared_type(scheme: str, head: str) -> None:
    url = f"{scheme}{head},{b64(PNG)}"

    assert is_data_url(url)
    media = read_data_url(url, "x")
    assert (media.kind, media.data) == ("image/png", b64(PNG))


@pytest.mark.parametrize(
    ("url", "kind", "raw"),
    [
        ("data:image/svg+xml,%3Csvg%20a%3D%22%2B%22/%3E", "image/svg+xml", b'<svg a="+"/>'),
        ("data:text/plain,Hi%20there", "text/plain", b"Hi there"),
        ("data:,Hi", "text/plain", b"Hi"),
        (f"data:application/octet-stream;base64,{b64(TEXT)}", "text/plain", TEXT),
        (f"data:application/pdf;base64,{b64(TEXT)}", "text/plain", TEXT),
        (f"data:text/markdown;base64,{b64(TEXT)}", "text/markdown", TEXT),
        (f"data:text/html;base64,{b64(b'<svg/>')}", "text/html", b"<svg/>"),
        (f"data:image/jpg;base64,{b64(b'odd')}", "image/jpeg", b"odd"),
        (f"data:audio/mpeg;base64,{b64(b'odd')}", "audio/mp3", b"odd"),
        (f"data:audio/ogg;base64,{b64(OGG)}", "audio/ogg", OGG),
        (f"data:audio/opus;base64,{b64(OGG)}", "audio/opus", OGG),
        (f"data:audio/mp4;base64,{b64(MP4)}", "audio/mp4", MP4),
        (f"data:image/png;base64,{b64(MP4)}", "video/mp4", MP4),
        (f"data:audio/wav;base64,{b64(MP3)}", "audio/mp3", MP3),
        (f"data:application/octet-stream;base64,{b64(bytes(9))}", "", bytes(9)),
    ],
)
def test_the_declared_type_counts_where_bytes_show_none(url: str, kind: str, raw: bytes) -> None:
    media = read_data_url(url, "x")

    assert (media.kind, base64.b64decode(media.data)) == (kind, raw)


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:", "data:text/plain,", "data:image/png;base64,"])
def test_a_data_url_without_data_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        read_data_url(url, "x")


@pytest.mark.parametrize(
    ("head", "raw"),
    [
        ("text/plain;charset=iso-8859-1", "Größe: 3 m, and more.".encode("latin-1")),
        ('text/csv; charset="windows-1252"', "Größe: 3 m, and more.".encode("cp1252")),
        ("text/plain", "Größe: 3 m, and more.".encode()),
        ("text/plain", "Größe: 3 m, and more.".encode("utf-8-sig")),
        ("application/octet-stream", "Größe: 3 m, and more.".encode("utf-16")),
        ("text/plain;charset=unheard-of", "Größe: 3 m, and more.".encode()),
    ],
)
def test_a_text_is_read_in_its_charset(head: str, raw: bytes) -> None:
    part = {"type": "file", "file": {"file_data": f"data:{head};base64,{b64(raw)}"}}

    assert read_data_url(f"data:{head};base64,{b64(raw)}", "x").text() == "Größe: 3 m, and more."
    assert content_blocks([part], "x")[0]["source"]["data"] == "Größe: 3 m, and more."
    made: Any = media_part(part, "x")
    assert "Größe: 3 m" in base64.b64decode(made["inlineData"]["data"]).decode()


@pytest.mark.parametrize(("raw", "kind"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (PDF, "application/pdf")])
def test_base64_in_place_of_a_url_is_seen(raw: bytes, kind: str) -> None:
    assert shown_in_base64(b64(raw)) == kind


@pytest.mark.parametrize("url", ["https://x.test/a.png", "gs://b/a", "file:///etc/passwd", "abcd", ""])
def test_an_address_is_no_base64(url: str) -> None:
    assert shown_in_base64(url) is None


def anthropic(part: dict[str, Any]) -> tuple[str, str, str]:
    [block] = content_blocks([part], "x")
    return block["type"], block["source"]["media_type"], block["source"]["data"]


def gemini(part: dict[str, Any]) -> tuple[str, str]:
    made: Any = media_part(part, "x")
    return made["inlineData"]["mimeType"], made["inlineData"]["data"]


IMAGE_PARTS = {
    "wrong label": lambda raw: {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{b64(raw)}"}},
    "image/jpg": lambda raw: {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{b64(raw)}"}},
    "no label": lambda raw: {"type": "image_url", "image_url": f"data:application/octet-stream;base64,{b64(raw)}"},
    "bare": lambda raw: {"type": "image_url", "image_url": {"url": b64(raw)}},
    "file": lambda raw: {"type": "file", "file": {"filename": "a.pdf", "file_data": b64(raw)}},
    "file as text": lambda raw: {"type": "file", "file": {"file_data": f"data:text/plain;base64,{b64(raw)}"}},
}


@pytest.mark.parametrize("form", IMAGE_PARTS)
@pytest.mark.parametrize(("raw", "kind"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp")])
def test_every_dialect_sends_an_image_as_what_it_is(form: str, raw: bytes, kind: str) -> None:
    part = IMAGE_PARTS[form](raw)

    assert anthropic(part) == ("image", kind, b64(raw))
    assert gemini(part) == (kind, b64(raw))


@pytest.mark.parametrize("head", ["data:text/plain;base64,", "data:application/octet-stream;base64,", ""])
@pytest.mark.parametrize("name", ["a.txt", "a.bin", None])
def test_every_dialect_sends_a_pdf_as_a_pdf(head: str, name: str | None) -> None:
    part = {"type": "file", "file": {"filename": name, "file_data": head + "\n".join(textwrap.wrap(b64(PDF), 20))}}

    assert anthropic(part) == ("document", "application/pdf", b64(PDF))
    assert gemini(part) == ("application/pdf", b64(PDF))


@pytest.mark.parametrize("kind", ["image/bmp", "image/heic", "audio/mp3"])
def test_what_anthropic_cannot_take_is_refused_by_its_bytes(kind: str) -> None:
    raw = {"image/bmp": b"BM\x46\0\0\0\0\0\0\0\x36", "image/heic": HEIC, "audio/mp3": MP3}[kind]

    with pytest.raises(InvalidRequest, match=kind):
        content_blocks([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(raw)}"}}], "x")


@pytest.mark.parametrize("form", ["wav", "mp3", "WAV", "flac", None])
@pytest.mark.parametrize("head", ["", "data:audio/wav;base64,"])
@pytest.mark.parametrize(("raw", "kind"), [(WAV, "audio/wav"), (MP3, "audio/mp3"), (FRAME, "audio/mp3")])
def test_sound_is_sent_as_what_it_is(form: str | None, head: str, raw: bytes, kind: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": head + b64(raw), "format": form}}

    assert gemini(part) == (kind, b64(raw))
