"""Answers with the decision record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import UpstreamError
from proxy.surfaces.openai.debug import DebugAnswer, DebugStream

WRITTEN = {"route": "é?"}  # half a surrogate pair is not valid in JSON


def decide() -> dict[str, Any]:
    return {"route": "é\ud800"}


def test_stream_has_one_more_chunk_before_done() -> None:
    stream = DebugStream(decide)
    first = b'data: {"id":"c1","created":5,"model":"m","choices":[{"delta":{}}]}\n\n'

    out = stream.feed(first) + stream.feed(b"data: [DO") + stream.feed(b"NE]\n\n")

    events = out.split(b"\n\n")
    assert [events[0] + b"\n\n", events[2]] == [first, b"data: [DONE]"]
    assert json.loads(events[1].removeprefix(b"data: ")) == {
        "id": "c1",
        "created": 5,
        "model": "m",
        "object": "chat.completion.chunk",
        "choices": [],
        "router": WRITTEN,
    }
    assert stream.finish() == b""


def test_stream_has_the_chunk_before_an_error_event() -> None:
    out = DebugStream(decide).feed(b': x\n\ndata: broken\n\ndata: {"error": {"message":"m"}}\n\n')

    assert out.index(b'"router"') < out.index(b'"error"')
    assert out.count(b'"router"') == 1


def test_broken_stream_has_the_chunk_and_then_the_error() -> None:
    stream = DebugStream(decide)
    stream.feed(b'data: {"id":"c","choices":[]}\n\n')

    chunk, error, rest = stream.fail(UpstreamError("broke")).split(b"\n\n")

    assert json.loads(chunk.removeprefix(b"data: "))["router"] == WRITTEN
    assert json.loads(error.removeprefix(b"data: "))["error"]["message"] == "broke"
    assert rest == b""


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: half", b""])
def test_stream_without_done_has_the_chunk_at_its_end(end: bytes) -> None:
    stream = DebugStream(decide)

    assert stream.feed(b'data: {"choices":[]}\n\n' + end) == b'data: {"choices":[]}\n\n'
    last = stream.finish()
    assert last.endswith(end)
    assert json.loads(last.removesuffix(end).removeprefix(b"data: "))["router"] == WRITTEN


@pytest.mark.parametrize(
    "answer",
    [b'{"choices": [1.0, "}"] }\n', b'{"choices":[{"logprobs":-Infinity}]}', b'{"x":' + b"[" * 200 + b"]" * 200 + b"}"],
)
def test_whole_answer_has_one_more_member(answer: bytes) -> None:
    encoder = DebugAnswer(decide)

    out = encoder.feed(answer[:3]) + encoder.feed(answer[3:]) + encoder.finish()

    assert json.loads(out) == {**json.loads(answer), "router": WRITTEN}
    assert out.startswith(answer.rstrip()[:-1])


def test_half_an_answer_does_not_look_whole() -> None:
    encoder = DebugAnswer(decide)
    encoder.feed(b'{"choices": [')

    assert encoder.fail(UpstreamError("broke")) == b""


def test_chunk_that_is_too_deep_to_be_read_is_relayed() -> None:
    deep = b'data: {"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n"

    assert DebugStream(decide).feed(deep) == deep
