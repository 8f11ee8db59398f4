"""Media in the outputs of tools, which OpenAI's API accepts only in messages of the user."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from proxy.core.call import NativeRequest
from proxy.core.plan import Target
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.dialects.openai.tool_media import MOVED, with_moved_media
from tests.support.calls import call, deployment

IMAGE = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}
TEXT = {"type": "text", "text": "a"}
USER = {"role": "user", "content": [TEXT, IMAGE]}


def output(id: str, *parts: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": list(parts)}


def head(id: str) -> dict[str, Any]:
    return {"type": "text", "text": f"Output of the tool call `{id}`:"}


def test_media_follow_the_last_output() -> None:
    moved = with_moved_media([output("c1", TEXT, IMAGE), output("c2", TEXT), output("c3", IMAGE), USER])

    assert moved == [
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        output("c2", TEXT),
        {"role": "tool", "tool_call_id": "c3", "content": MOVED},
        {"role": "user", "content": [head("c1"), IMAGE, head("c3"), IMAGE]},
        USER,
    ]


def test_media_of_the_last_message_are_moved() -> None:
    moved = with_moved_media([output("c1", IMAGE)])

    assert moved is not None
    assert moved[1] == {"role": "user", "content": [head("c1"), IMAGE]}


def test_other_messages_stay() -> None:
    assert with_moved_media([USER, output("c", TEXT), {"role": "tool", "content": "x"}, "x"]) is None
    assert with_moved_media(None) is None


def sent(*, native: bool) -> list[dict[str, Any]]:
    body = {"model": "auto", "messages": [output("c", IMAGE)]}
    made = call(json.dumps(body).encode())
    request = replace(made, native=NativeRequest("responses", b"{}", {})) if native else made
    content = OpenAIDialect().request(request, Target(deployment()), None).content
    messages: list[dict[str, Any]] = json.loads(content)["messages"]
    return messages


def test_only_translated_requests_are_changed() -> None:
    assert [message["role"] for message in sent(native=True)] == ["tool", "user"]
    assert [message["role"] for message in sent(native=False)] == ["tool"]
