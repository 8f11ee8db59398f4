from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.responses.content import content_of, output_of


def read(*parts: Any) -> Any:
    return content_of(list(parts), "input[0].content", _fail)


def _fail(error: InvalidRequest) -> None:
    raise error


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        ),
        (
            {"type": "input_image", "image_url": {"url": "https://a.test/b.png"}, "detail": "original"},
            {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
        ),
        (
            {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
        ),
        (
            {"type": "input_file", "file_url": "https://a.test/b.pdf"},
            {"type": "file", "file": {"file_data": "https://a.test/b.pdf"}},
        ),
        ({"type": "input_file", "file_id": "file-1"}, {"type": "file", "file": {"file_id": "file-1"}}),
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        ),
    ],
)
def test_part_of_a_message(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(part) == [expected]


def test_single_text_is_a_string() -> None:
    assert read({"type": "input_text", "text": "a"}) == "a"
    assert read({"type": "refusal", "refusal": "no"}) == "no"
    assert read() == ""


def test_texts_of_an_output_are_lines() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}]

    assert output_of(parts, "input[0].output", _fail) == "a\nb"
    assert output_of(None, "input[0].output", _fail) == ""


def test_image_of_an_output_stays_a_part() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://a.test/b.png"}]

    assert output_of(parts, "input[0].output", _fail) == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_image"}, "input[0].content[0].image_url"),
        ({"type": "input_image", "file_id": "file-1"}, "input[0].content[0].file_id"),
        ({"type": "input_file", "filename": "a.pdf"}, "input[0].content[0]"),
        ({"type": "input_file", "file_data": 5}, "input[0].content[0]"),
        ({"type": ["input_text"]}, "input[0].content[0].type"),
    ],
)
def test_malformed_part_is_named(part: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="input") as caught:
        read(part)

    assert caught.value.param == param
