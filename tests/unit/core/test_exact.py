"""The exact reader of a body, which names the error."""

from __future__ import annotations

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.exact import SMALL, check_work, parse_exactly


def test_members_spans_and_repeated_names_are_returned() -> None:
    raw = '{"é": 1, "a": [2], "é": "\\ud800"}'.encode()

    members, spans, repeated = parse_exactly(raw)

    assert (members, repeated) == ({"é": "\ud800", "a": [2]}, {"é"})
    assert {name: raw[span.value : span.end] for name, span in spans.items()} == {"é": b'"\\ud800"', "a": b"[2]"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a":1 "b"}', "The body is not valid JSON: expected ',' or '}' at character 7."),
        (b'{"a":"\xff"}', "The body is not UTF-8: byte 6 cannot be decoded."),
        (b"[1]", "The body must be a JSON object."),
    ],
)
def test_error_says_what_is_wrong_where(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as rejected:
        parse_exactly(raw)

    assert str(rejected.value) == message


def test_body_with_too_many_values_is_expensive() -> None:
    numbers = b"1," * SMALL

    check_work(numbers)
    with pytest.raises(InvalidRequest, match="too many"):
        check_work(numbers * 2)
