"""A non-streamed answer: whole, or none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import Usage
from proxy.dialects.openai.plain import JsonDecoder, NotAStream

ANSWER = b' {"id":"1","choices":[{"index":0,"message":{"content":"\\u00e9"}}],\n"usage":{"prompt_tokens":2}} '


def test_an_answer_comes_out_to_the_byte_at_its_end() -> None:
    decoder = JsonDecoder()

    held = [decoder.feed(ANSWER[:20]), decoder.feed(ANSWER[20:])]
    assert not decoder.committed
    out = decoder.finish()

    assert (held, out) == ([b"", b""], ANSWER)
    assert decoder.committed
    assert decoder.complete
    assert decoder.closed
    assert decoder.usage == Usage(2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<html>502</html>", "not JSON"),
        (ANSWER[:-5], "not JSON"),
        (b"\xff\xff\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"null", "not a chat completion"),
        (b"[]", "not a chat completion"),
        (b"{}", "not a chat completion"),
        (b'{"choices":[]}', "not a chat completion"),
        (b'{"choices":{}}', "not a chat completion"),
        (b'{"choices":[{}]}', "not a chat completion"),
        (b'{"choices":[{"message":null}]}', "not a chat completion"),
        (b'{"choices":[{"message":{}},1]}', "not a chat completion"),
        (b'{"choices":[{"text":"Hi","finish_reason":"stop"}]}', "not a chat completion"),
        (b'{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}', "not a chat completion"),
        (b'{"choices":[{"message":"Hi","finish_reason":"stop"}]}', "not a chat completion"),
        (b'{"object":"chat.completion","error":null}', "not a chat completion"),
    ],
)
def test_a_body_that_is_no_answer_is_malformed(body: bytes, words: str) -> None:
    decoder = JsonDecoder()
    decoder.feed(body)

    with pytest.raises(UpstreamFailure, match=words) as failed:
        decoder.finish()

    assert failed.value.kind == FailureKind.MALFORMED
    assert not decoder.committed


def test_an_error_with_status_200_is_that_error() -> None:
    decoder = JsonDecoder()
    decoder.feed(b'{"error":{"message":"slow down","code":429}}')

    with pytest.raises(UpstreamFailure, match="slow down") as failed:
        decoder.finish()

    assert failed.value.kind == FailureKind.RATE_LIMITED


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "partly"}, "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": ""}, "error": {"message": "partly", "code": 502}}]},
        {"choices": [{"message": {"content": ""}, "error": "partly", "finish_reason": "error"}]},
        {"object": "error", "message": "partly", "code": 500},
        {"detail": "partly"},
        {"message": "partly", "code": "x"},
        {"error": "partly"},
    ],
)
def test_an_error_in_any_shape_is_no_answer(value: dict[str, Any]) -> None:
    decoder = JsonDecoder()
    decoder.feed(json.dumps(value).encode())

    with pytest.raises(UpstreamFailure, match="partly"):
        decoder.finish()
    assert not decoder.committed


@pytest.mark.parametrize("error", [None, {}, "", {"message": None, "code": None}])
def test_an_answer_without_an_error_in_its_error_member_passes(error: Any) -> None:
    decoder = JsonDecoder()
    body = json.dumps({"choices": [{"message": {"content": "Hi"}, "error": None}], "error": error}).encode()
    decoder.feed(body)

    assert decoder.finish() == body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (ANSWER, "without a stream"),
        (b"<html>", "not JSON"),
        (b"", "empty"),
        (b'{"error":{"message":"no room","code":503}}', "no room"),
    ],
)
def test_what_is_no_stream_is_never_an_answer_to_a_streamed_call(body: bytes, words: str) -> None:
    decoder = NotAStream()
    decoder.feed(body)

    with pytest.raises(UpstreamFailure, match=words):
        decoder.finish()

    assert not decoder.committed
    assert not decoder.complete
