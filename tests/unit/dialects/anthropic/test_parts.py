"""Content parts as Anthropic's blocks."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.anthropic.parts import content_blocks

PNG = "data:image/png;base64,iVBORw0="
CACHE = {"type": "ephemeral"}


def only(part: Any) -> dict[str, Any]:
    [block] = content_blocks([part], "messages[0].content")
    return block


def file(data: str, **members: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, **members}}


@pytest.mark.parametrize("content", [None, "", " \n", [], [{"type": "text", "text": ""}]])
def test_content_without_a_visible_character_is_left_out(content: Any) -> None:
    assert content_blocks(content, "x") == []


@pytest.mark.parametrize(
    "content", ["Hi", ["Hi"], [{"type": "text", "text": "Hi"}], [{"type": "refusal", "refusal": "Hi"}]]
)
def test_text_is_text_in_any_form(content: Any) -> None:
    assert content_blocks(content, "x") == [{"type": "text", "text": "Hi"}]


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (PNG, {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}),
        ("data:image/jpg;base64,/9j/", {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}),
        ("data:image/gif,GIF%3B", {"type": "base64", "media_type": "image/gif", "data": "R0lGOw=="}),
        ("https://x.test/a.png", {"type": "url", "url": "https://x.test/a.png"}),
    ],
)
def test_an_image_comes_as_data_or_by_url(url: str, source: dict[str, str]) -> None:
    assert only({"type": "image_url", "image_url": {"url": url}}) == {"type": "image", "source": source}
    assert only({"type": "image_url", "image_url": url}) == {"type": "image", "source": source}


@pytest.mark.parametrize(("data", "name"), [("data:application/pdf;base64,JVBERi0=", "a.pdf"), ("JVBERi0=", "a.pdf")])
def test_a_pdf_is_a_document_with_its_name(data: str, name: str) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}

    assert only(file(data, filename=name)) == {"type": "document", "source": source, "title": name}


def test_a_text_file_is_a_document_of_text() -> None:
    data = base64.b64encode("Grüße".encode()).decode()
    source = {"type": "text", "media_type": "text/plain", "data": "Grüße"}

    assert only(file(f"data:text/csv;base64,{data}")) == {"type": "document", "source": source}
    assert only(file(data, filename="a.md")) == {"type": "document", "source": source, "title": "a.md"}


def test_an_image_as_a_file_is_an_image_and_a_url_a_document() -> None:
    assert only(file(PNG))["type"] == "image"
    assert only(file("https://x.test/a.pdf"))["source"] == {"type": "url", "url": "https://x.test/a.pdf"}


def test_a_mark_for_caching_stays_on_its_part() -> None:
    found = content_blocks(
        [
            {"type": "text", "text": "Hi", "cache_control": CACHE},
            {"type": "image_url", "image_url": PNG, "cache_control": CACHE},
            {**file("JVBERi0="), "cache_control": CACHE},
        ],
        "x",
    )

    assert [block["cache_control"] for block in found] == [CACHE] * 3


@pytest.mark.parametrize(
    "part",
    [
        7,
        {"type": "text"},
        {"type": "text", "text": 7},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,xx"}},
        {"type": "image_url", "image_url": {"url": "data:image/png"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file"},
        file("data:text/plain;base64,A"),
        file("data:application/zip;base64,AAAA"),
        file("AAAA", filename="x.bin"),
        {},
    ],
)
def test_what_no_block_can_carry_is_refused_by_name(part: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        content_blocks([part], "messages[3].content")

    assert caught.value.param == "messages[3].content[0]"


def test_only_text_may_stand_where_only_text_can() -> None:
    with pytest.raises(InvalidRequest):
        content_blocks([{"type": "image_url", "image_url": PNG}], "x", only_text=True)
    with pytest.raises(InvalidRequest):
        content_blocks({"type": "text"}, "x")


def test_a_text_file_without_a_visible_character_says_so() -> None:
    block = only(file("data:text/plain;base64," + base64.b64encode(b" \n").decode(), filename="a.txt"))

    assert block["source"]["data"] == "(no content)"
