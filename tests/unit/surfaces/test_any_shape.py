"""Tests of proxy/surfaces/any_shape.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.any_shape import path_of, read_any_shape
from tests.unit.routing.build import snapshot

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GENERATE = "/v1beta/models/{model:path}:generateContent"
HELLO = [{"role": "user", "content": "Hello"}]
QUOTED = [{"role": "user", "content": '{"type": "tool_result"}'}]
USES_TOOL = [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}]


def body(**members: Any) -> bytes:
    return json.dumps({"model": "auto", **members}).encode()


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (body(messages=HELLO), CHAT),
        (body(messages=[{"role": "system", "content": "x"}, *HELLO], tools=[{"type": "function"}]), CHAT),
        (body(messages=QUOTED), CHAT),
        (body(messages=HELLO, input="x"), CHAT),
        (body(messages=HELLO, system="Be brief."), MESSAGES),
        (body(messages=HELLO, stop_sequences=["x"]), MESSAGES),
        (body(messages=HELLO, tools=[{"name": "f", "input_schema": {}}]), MESSAGES),
        (body(messages=[*HELLO, *USES_TOOL]), MESSAGES),
        (body(input="Hello"), RESPONSES),
        (body(contents=[]), GENERATE),
        (body(), CHAT),
        (b"[1]", CHAT),
        (b"{", CHAT),
        (b'{"messages": "\xff"}', CHAT),
    ],
)
def test_the_shape_of_a_body_shows_its_format(raw: bytes, path: str) -> None:
    assert path_of(raw, {}) == path


def test_a_header_of_anthropics_clients_shows_the_format() -> None:
    assert path_of(body(messages=HELLO), {"anthropic-version": "2023-06-01"}) == MESSAGES


@pytest.mark.parametrize(
    "raw",
    [
        body(messages=HELLO),
        body(messages=HELLO, system="x", max_tokens=9),
        body(input="Hello"),
        body(contents=[{"role": "user", "parts": [{"text": "Hello"}]}]),
    ],
)
def test_every_format_becomes_a_chat_call(raw: bytes) -> None:
    call = read_any_shape(raw, {}, id="req_1", request_id="r", snapshot=snapshot())

    assert (call.id, call.model, call.endpoint) == ("req_1", "auto", "chat")
    assert "Hello" in json.dumps(call.body["messages"])


@pytest.mark.parametrize("raw", [b"[1]", b"{", body(), body(model=7, contents=[]), body(model=7, input="x")])
def test_what_is_no_body_gets_the_error_of_its_format(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_any_shape(raw, {}, id="", request_id="", snapshot=snapshot())
