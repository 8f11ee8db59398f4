"""Media: data goes inline, addresses as references."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.gemini.media import media_part

FILES = "https://generativelanguage.googleapis.com/v1beta/files/abc"


def inline(kind: str, data: str = "aWJt") -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": data}}


def reference(uri: str, kind: str | None) -> dict[str, Any]:
    return {"fileData": {"fileUri": uri, **({"mimeType": kind} if kind else {})}}


def part(kind: str, value: Any) -> Any:
    return media_part({"type": kind, kind: value}, "messages[0].content[0]")


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        ("image_url", {"url": "data:image/png;base64,aWJt", "detail": "low"}, inline("image/png")),
        ("image_url", {"url": "data:;base64,aWJt"}, inline("image/jpeg")),
        ("image_url", {"url": "data:image/png;base64,a-_v"}, inline("image/png", "a+/v")),
        ("image_url", {"url": "data:image/png;base64,aWJtYQ"}, inline("image/png", "aWJtYQ==")),
        ("image_url", {"url": "data:image/svg+xml,%3Csvg/%3E"}, inline("image/svg+xml", "PHN2Zy8+")),
        ("image_url", {"url": "https://x/a.PNG?size=2"}, reference("https://x/a.PNG?size=2", "image/png")),
        ("image_url", "https://x/a", reference("https://x/a", "image/jpeg")),
        ("video_url", {"url": "gs://b/v.webm"}, reference("gs://b/v.webm", "video/webm")),
        ("video_url", {"url": "https://youtu.be/abc"}, reference("https://youtu.be/abc", "video/mp4")),
        ("input_audio", {"data": "aWJt", "format": "wav"}, inline("audio/wav")),
        ("input_audio", {"data": "aWJt", "format": "MP3"}, inline("audio/mp3")),
        ("input_audio", {"data": "aWJt", "format": "x-odd"}, inline("audio/x-odd")),
        (
            "file",
            {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0x"},
            inline("application/pdf", "JVBERi0x"),
        ),
        ("file", {"filename": "a.csv", "file_data": "aWJt"}, inline("text/csv")),
        ("file", {"file_id": FILES}, reference(FILES, None)),
        ("file", {"file_id": FILES, "format": "video/mp4"}, reference(FILES, "video/mp4")),
    ],
)
def test_a_part_with_media_is_translated(kind: str, value: Any, made: dict[str, Any]) -> None:
    assert part(kind, value) == made


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("image_url", {}),
        ("image_url", {"url": "ftp://x/a.png"}),
        ("image_url", {"url": "http://[half"}),
        ("image_url", {"url": "data:image/png;base64"}),
        ("image_url", {"url": "data:image/png;base64,@@@@"}),
        ("image_url", {"url": "data:image/png;base64,é"}),
        ("input_audio", {"data": "aWJt"}),
        ("input_audio", None),
        ("file", {"file_id": "file-123"}),
        ("file", {}),
    ],
)
def test_media_that_cannot_be_read_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        part(kind, value)

    assert caught.value.param == f"messages[0].content[0].{kind}"


def test_an_unknown_type_is_left_to_the_caller() -> None:
    assert media_part({"type": "smell"}, "x") is None
