"""Tests of proxy/routing/facts.py."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.routing.facts import Facts


def body(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **more}


@pytest.mark.parametrize(
    ("chat", "needs"),
    [
        (body({"type": "text", "text": "hi"}), set()),
        (body({"type": "image_url", "image_url": {"url": "x"}}), {"vision"}),
        (body({"type": "input_audio"}), {"audio"}),
        (body({"type": "file"}), {"files"}),
        (body(tools=[{"type": "function"}]), {"tools"}),
        (body(functions=[{"name": "f"}]), {"tools"}),
        (body(tools=[]), set()),
        (body(response_format={"type": "json_schema"}), {"json_schema"}),
        (body(response_format={"type": "json_object"}), set()),
        (body(modalities=["text", "audio"]), {"audio"}),
        (body({"type": "image_url"}, {"type": "file"}, tools=[1]), {"vision", "files", "tools"}),
    ],
)
def test_the_body_determines_the_needed_capabilities(chat: dict[str, Any], needs: set[str]) -> None:
    assert Facts(chat).capabilities == needs


def test_an_image_in_any_message_counts() -> None:
    messages = [{"role": "tool", "content": [{"type": "image_url"}]}, {"role": "user", "content": "and now?"}]

    assert Facts({"messages": messages}).capabilities == {"vision"}


@pytest.mark.parametrize(
    ("members", "asked"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "9"}, None),
        ({"max_tokens": 10**400}, 1_000_000_000),
    ],
)
def test_a_sensible_client_limit_bounds_the_answer(members: dict[str, Any], asked: int | None) -> None:
    assert Facts(members).max_tokens == asked


@pytest.mark.parametrize(("n", "choices"), [(None, 1), (3, 3), (0, 1), ("3", 1), (10**30, 128)])
def test_choices_are_bounded(n: Any, choices: int) -> None:
    assert Facts({"n": n}).choices == choices
