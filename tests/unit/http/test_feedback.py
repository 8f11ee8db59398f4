"""The body of `POST /v1/feedback`."""

from __future__ import annotations

import pytest

from proxy.core.errors import InvalidRequest
from proxy.http.feedback import read_feedback


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ('{"id": "req_1", "score": 0}', 0.0),
        ('{"id": "req_1", "score": 0.25}', 0.25),
        ('{"id": "req_1", "score": 1, "thumbs": null}', 1.0),
        ('{"id": "req_1", "thumbs": "up"}', 1.0),
        ('{"id": "req_1", "thumbs": "down"}', 0.0),
    ],
)
def test_a_score_or_thumbs_are_read(body: str, score: float) -> None:
    assert read_feedback(body.encode()) == ("req_1", score, None, None)


def test_a_model_is_read() -> None:
    assert read_feedback(b'{"id": "req_1", "score": 1, "model": "a/b"}') == ("req_1", 1.0, "a/b", None)


def test_a_comment_of_several_lines_is_read() -> None:
    raw = '{"id": "req_1", "score": 1, "comment": "Schön,\\n aber kurz 😀"}'

    assert read_feedback(raw.encode())[3] == "Schön,\n aber kurz 😀"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"score": 1}', "`id` must be"),
        ('{"id": 7, "score": 1}', "`id` must be"),
        ('{"id": "\\u0000", "score": 1}', "`id` must be"),
        ('{"id": "\\ud800", "score": 1}', "`id` must be"),
        ('{"id": "req_1"}', "either `score`"),
        ('{"id": "req_1", "score": 1, "thumbs": "up"}', "either `score`"),
        ('{"id": "req_1", "score": 1.1}', "from 0 to 1"),
        ('{"id": "req_1", "score": -1}', "from 0 to 1"),
        ('{"id": "req_1", "score": true}', "from 0 to 1"),
        ('{"id": "req_1", "score": "1"}', "from 0 to 1"),
        ('{"id": "req_1", "score": NaN}', "not valid JSON"),
        ('{"id": "req_1", "score": 1e400}', "from 0 to 1"),
        ('{"id": "req_1", "thumbs": "sideways"}', "`up` or `down`"),
        ('{"id": "req_1", "thumbs": ["up"]}', "`up` or `down`"),
        ('{"id": "req_1", "score": 1, "model": ""}', "`model` must be"),
        ('{"id": "req_1", "score": 1, "note": "fine"}', "`note`: there is no such field"),
        ('{"id": "req_1", "score": 1, "comment": ""}', "`comment` must be"),
        ('{"id": "req_1", "score": 1, "comment": ["fine"]}', "`comment` must be"),
        ('{"id": "req_1", "score": 1, "comment": "\\u0000"}', "`comment` must be"),
        ('{"id": "req_1", "score": 1, "comment": "\\ud800"}', "`comment` must be"),
        (f'{{"id": "req_1", "score": 1, "comment": "{"x" * 2001}"}}', "`comment` must be"),
    ],
)
def test_a_wrong_body_is_rejected_with_the_field(body: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_feedback(body.encode())
