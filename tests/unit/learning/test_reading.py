"""Answers that are read on their way to the client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import UpstreamError
from proxy.learning.collected import MOST
from proxy.learning.rating import Answer, ToolCall
from proxy.learning.reading import Reading
from proxy.surfaces.table import SURFACES

CHAT = SURFACES["/v1/chat/completions"]
NOTHING = object()


def read(*pieces: bytes, stream: bool = True, inner: Any = None) -> tuple[bytes, Any]:
    """Return what the client gets, and what was read."""
    found: list[Any] = [NOTHING]
    reading = Reading(inner, CHAT, stream=stream, done=found.append)
    out = b"".join([reading.feed(piece) for piece in pieces])
    assert found == [NOTHING]
    return out + reading.finish(), found[-1]


def event(**delta: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()


def whole(**message: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message}]}).encode()


def test_the_text_of_a_stream_is_read_and_its_bytes_pass() -> None:
    pieces = [event(role="assistant"), event(content="Pa") + event(content="ris"), b": x\n\ndata: [DONE]\n\n"]

    out, answer = read(*pieces)

    assert out == b"".join(pieces)
    assert answer == Answer("Paris")


def test_the_tool_calls_of_a_stream_are_joined() -> None:
    first = {"index": 1, "id": "a", "function": {"name": "add", "arguments": ""}}
    second = {"index": 0, "function": {"name": "now", "arguments": "{}"}}

    _, answer = read(
        event(tool_calls=[first]),
        event(tool_calls=[second, {"index": 1, "function": {"arguments": '{"n"'}}]),
        event(tool_calls=[{"index": 1, "function": {"arguments": ": 1}"}}]),
    )

    assert list(answer.calls) == [ToolCall("now", "{}"), ToolCall("add", '{"n": 1}')]


def test_a_whole_answer_is_read() -> None:
    calls = [{"id": "a", "function": {"name": "a", "arguments": "{}"}}, {"custom": {"name": "b", "input": "x"}}]
    body = whole(content=[{"type": "text", "text": "Hi"}], refusal="no", tool_calls=calls, audio={"id": "x"})

    out, answer = read(body, stream=False)

    assert out == body
    assert (answer.text, answer.refused, answer.media) == ("Hi", True, True)
    assert list(answer.calls) == [ToolCall("a", "{}"), ToolCall("b", "x", is_function=False)]


def test_only_the_first_choice_is_read() -> None:
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "b"}}]}\n\n'

    assert read(event(content="a"), other)[1] == Answer("a")


def test_a_long_answer_is_read_in_part() -> None:
    _, answer = read(event(content="a" * (MOST - 1)), event(content="bc"), event(content="d"))

    assert answer.text == "a" * (MOST - 1) + "b"
    assert not answer.whole


def test_long_names_of_tools_are_read_in_part() -> None:
    piece = {"index": 0, "function": {"name": "a" * (MOST - 1)}}

    _, answer = read(*[event(tool_calls=[piece])] * 3)

    assert list(answer.calls) == [ToolCall("a" * MOST, "")]
    assert not answer.whole


@pytest.mark.parametrize("body", [b'{"choices": 3}', b'{"choices": [{"message": {"refusal": 1}}]}', b"{", b"\xff{"])
def test_an_answer_of_another_shape_passes_and_is_unknown(body: bytes) -> None:
    out, answer = read(body, stream=False)

    assert out == body
    assert answer is None


def test_the_encoder_of_the_call_writes_the_answer() -> None:
    class Shouting:
        def feed(self, data: bytes) -> bytes:
            return data.upper()

        def finish(self) -> bytes:
            return b"!"

        def fail(self, error: Exception) -> bytes:
            return b"failed"

    body = whole(content="hi")

    out, answer = read(body, stream=False, inner=Shouting())

    assert out == body.upper() + b"!"
    assert answer == Answer("hi")
    assert Reading(Shouting(), CHAT, stream=True, done=print).fail(UpstreamError("x")) == b"failed"
    assert b'"error"' in Reading(None, CHAT, stream=True, done=print).fail(UpstreamError("x"))
