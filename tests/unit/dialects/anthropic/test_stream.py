"""How an Anthropic answer begins, breaks and ends."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.dialects.anthropic import stream as anthropic_stream
from proxy.dialects.base import Decoder
from tests.support.breaks import last_event
from tests.unit.dialects.anthropic.build import (
    END,
    block,
    call,
    dialect,
    event,
    facts,
    message,
    start,
    stop,
    target,
    text,
)

OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
WHOLE = message({"type": "text", "text": "Hi"})


def opened(*, stream: bool = True) -> Decoder:
    return dialect().decoder(call(stream=stream), target(), {})


def finishes(raw: bytes) -> list[str]:
    """The finish words of a stream that ends with `[DONE]`."""
    assert raw.endswith(b"data: [DONE]\n\n")
    return [word.decode() for word in re.findall(rb'"finish_reason":"(\w+)"', raw)]


def failed(decoder: Decoder, *chunks: bytes) -> UpstreamFailure:
    def read_all() -> None:
        for chunk in chunks:
            decoder.feed(chunk)
        decoder.finish()

    with pytest.raises(UpstreamFailure) as caught:
        read_all()
    return caught.value


@pytest.mark.parametrize(
    ("piece", "commits"),
    [
        (start(), False),
        (event("ping"), False),
        (event("content_block_start", index=0, content_block={"type": "text", "text": ""}), False),
        (block(0, {"type": "redacted_thinking", "data": "x"}), False),
        (text(0, "a"), True),
        (block(0, {"type": "thinking", "thinking": "a"}), True),
        (event("content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f"}), True),
        (stop("end_turn"), False),
        (stop("end_turn") + END, True),
        (stop(None), False),
    ],
)
def test_the_commit_point_is_the_first_content_or_the_end(piece: bytes, commits: bool) -> None:
    decoder = opened()

    decoder.feed(piece)

    assert decoder.committed is commits


def test_a_stop_reason_completes_and_the_last_event_closes() -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a"))
    assert (decoder.complete, decoder.closed) == (False, False)

    decoder.feed(stop())
    assert (decoder.complete, decoder.closed) == (True, False)

    assert decoder.feed(END).endswith(b"data: [DONE]\n\n")
    assert decoder.closed
    assert decoder.finish() == b""


def test_an_end_after_the_stop_reason_is_an_end() -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a") + stop())

    assert finishes(decoder.finish()) == ["stop"]


@pytest.mark.parametrize("end", [END, b""])
@pytest.mark.parametrize(
    ("pieces", "content", "finish"),
    [
        ([stop(), text(1, "b")], "ab", "stop"),
        ([stop(), text(1, "b"), stop("max_tokens")], "ab", "length"),
        ([stop(), block(1, {"type": "tool_use", "id": "t", "name": "f", "input": {}})], "a", "tool_calls"),
        ([stop(), stop(None)], "a", "stop"),
        ([stop("pause_turn"), text(1, "b"), stop("end_turn")], "ab", "stop"),
        ([stop(), event("message_delta", delta={}, usage={"output_tokens": 70})], "a", "stop"),
    ],
)
def test_content_after_a_finish_is_delivered(pieces: list[bytes], content: str, finish: str, end: bytes) -> None:
    decoder = opened()

    out = b"".join(decoder.feed(piece) for piece in [start(), text(0, "a"), *pieces, end]) + decoder.finish()

    chunks = [json.loads(line) for line in re.findall(rb"data: ({.*})", out)]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == content
    assert finishes(out) == [finish]
    assert out.endswith(b"data: [DONE]\n\n")


def test_content_after_a_finish_makes_a_cut_a_fault() -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a") + stop())
    whole = decoder.complete

    decoder.feed(text(1, "b"))
    reopened = decoder.complete
    decoder.feed(stop())

    assert (whole, reopened, decoder.complete) == (True, False, True)


def test_a_last_event_without_its_empty_line_counts() -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a"))
    decoder.feed(stop().rstrip())

    rest = decoder.finish()

    assert b'"finish_reason":"stop"' in rest
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("end", [b"", stop()[:-20], stop(None), stop(None) + END])
def test_a_finish_is_never_made_up(end: bytes) -> None:
    before, after = opened(), opened()

    assert failed(before, start(), end).kind is FailureKind.MALFORMED
    assert failed(after, start(), text(0, "a"), end).kind is FailureKind.BROKEN_STREAM
    assert not after.complete


def test_an_error_before_the_commit_point_fails_the_attempt() -> None:
    failure = failed(opened(), start(), OVERLOADED)

    assert (failure.kind, str(failure), failure.status) == (FailureKind.OVERLOADED, "Overloaded", 529)


@pytest.mark.parametrize(
    ("kind", "type", "code"),
    [
        ("overloaded_error", "server_error", "overloaded"),
        ("rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
        ("api_error", "server_error", "upstream_error"),
    ],
)
def test_an_error_after_the_commit_point_is_one_openai_event(kind: str, type: str, code: str) -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a"))

    out = decoder.feed(event("error", error={"type": kind, "message": "Sorry"}) + text(1, "b"))
    out += decoder.feed(stop() + END) + decoder.finish()

    assert out == b""
    assert json.loads(last_event(decoder.fault).removeprefix(b"data: ")) == {
        "error": {"message": "Sorry", "type": type, "param": None, "code": code}
    }
    assert (str(decoder.fault), decoder.closed, decoder.complete) == ("Sorry", True, False)


def test_an_error_as_the_last_half_event_is_told_too() -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a") + OVERLOADED.rstrip())

    assert decoder.finish() == b""
    assert str(decoder.fault) == "Overloaded"


def test_an_error_after_the_finish_changes_nothing() -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a") + stop())

    assert decoder.feed(OVERLOADED) == b""
    assert (finishes(decoder.finish()), decoder.fault) == (["stop"], None)


def test_content_before_a_broken_event_is_relayed() -> None:
    decoder = opened()
    decoder.feed(start() + text(0, "a"))

    failure = failed(decoder, text(1, "b") + b"data: {broken\n\n")

    assert failure.kind is FailureKind.BROKEN_STREAM
    assert facts(failure.partial)["content"] == "b"


@pytest.mark.parametrize(
    "garbage", [b"data: {broken\n\n", b"data: [1]\n\n", b"data: 7\n\n", b"data: " + b"[" * 9999 + b"\n\n"]
)
def test_an_event_that_is_no_object_is_malformed(garbage: bytes) -> None:
    failure = failed(opened(), start(), garbage)

    assert (failure.kind, failure.partial) == (FailureKind.MALFORMED, b"")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("body", [b"", b" \n", b"<html>", b"{", b"hello", b"[]", b"{}", b'{"content": 7}', b"\xff\xfe"])
def test_what_is_no_answer_is_malformed(body: bytes, stream: bool) -> None:
    assert failed(opened(stream=stream), body).kind is FailureKind.MALFORMED


def test_a_streamed_call_that_gets_a_whole_message_is_malformed() -> None:
    assert failed(opened(), WHOLE).kind is FailureKind.MALFORMED


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_as_the_whole_answer_is_that_error(stream: bool) -> None:
    body = b'{"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}'

    assert failed(opened(stream=stream), body).kind is FailureKind.RATE_LIMITED


def test_a_whole_message_without_a_stop_reason_is_not_whole() -> None:
    assert failed(opened(stream=False), message(reason=None)).kind is FailureKind.MALFORMED


def test_a_plain_call_commits_with_the_whole_answer() -> None:
    decoder = opened(stream=False)
    assert decoder.feed(WHOLE) == b""
    assert not decoder.committed

    answer = json.loads(decoder.finish())

    assert (decoder.committed, decoder.complete, decoder.closed) == (True, True, True)
    assert answer["choices"][0]["message"]["content"] == "Hi"


def test_a_stream_for_a_call_that_is_not_streamed_is_collected() -> None:
    decoder = opened(stream=False)
    assert decoder.feed(start() + text(0, "Hi") + stop() + END) == b""
    assert not decoder.committed

    assert json.loads(decoder.finish())["choices"][0]["message"]["content"] == "Hi"


def test_a_byte_order_mark_is_no_matter() -> None:
    decoder = opened()
    for byte in b"\xef\xbb\xbf\n" + start() + text(0, "a"):
        decoder.feed(bytes([byte]))

    assert decoder.committed


@pytest.mark.parametrize(
    ("stream", "piece"), [(True, event("ping")), (True, b"{" * 40), (False, b" " * 40), (True, b"x" * 40)]
)
def test_what_never_begins_has_a_limit(monkeypatch: pytest.MonkeyPatch, stream: bool, piece: bytes) -> None:
    monkeypatch.setattr(anthropic_stream, "HELD_LIMIT", 200)
    monkeypatch.setattr(anthropic_stream, "BODY_LIMIT", 200)

    assert failed(opened(stream=stream), *[piece] * 20).kind is FailureKind.MALFORMED


def test_usage_and_the_native_finish_can_be_read() -> None:
    decoder: Any = opened()
    decoder.feed(start() + text(0, "a") + stop("pause_turn") + END)

    assert (decoder.usage.input, decoder.usage.output, decoder.native_finish) == (10, 7, "pause_turn")
