"""Which bodies let the provider run tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.dialects import NativeFormat
from proxy.core.native_tools import is_unbounded
from tests.support.native_calls import BODIES, native_call

OWN: list[tuple[NativeFormat, Any]] = [
    ("messages", None),
    ("messages", []),
    ("messages", [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}, {"type": "bash_20250124"}]),
    ("responses", [{"type": "function", "name": "f"}, {"type": "custom"}, {"type": "namespace", "tools": []}]),
    ("responses", [{"type": "tool_search", "execution": "client"}]),
    ("generate", [{"functionDeclarations": []}, {"function_declarations": []}]),
    ("generate", {"functionDeclarations": []}),
]
THEIRS: list[tuple[NativeFormat, Any]] = [
    ("messages", [{"name": "f"}, {"type": "web_search_20250305", "name": "web_search"}]),
    ("messages", [{"type": ["custom"]}]),
    ("responses", [{"type": "function", "name": "f"}, {"type": "web_search"}]),
    ("responses", [{"type": "tool_search", "execution": "server"}]),
    ("responses", ["web_search"]),
    ("generate", [{"functionDeclarations": []}, {"googleSearch": {"x": 1}}]),
    ("generate", [{"googleSearch": {}}]),
    ("generate", [{"google_search": {}}]),
    ("generate", {"googleSearch": {}}),
]


def body(format: NativeFormat, tools: Any) -> bytes:
    return json.dumps({**BODIES[format], "tools": tools}).encode()


@pytest.mark.parametrize(("format", "tools"), OWN)
def test_tools_of_the_client_have_a_bounded_cost(format: NativeFormat, tools: Any) -> None:
    call = native_call(format, body(format, tools))

    assert call.native is not None
    assert not is_unbounded(call.native)


@pytest.mark.parametrize(("format", "tools"), THEIRS)
def test_tools_that_the_provider_runs_are_found(format: NativeFormat, tools: Any) -> None:
    call = native_call(format, body(format, tools))

    assert call.native is not None
    assert is_unbounded(call.native)


@pytest.mark.parametrize(
    ("format", "members"),
    [
        ("messages", {"mcp_servers": [{"url": "https://tools.test"}]}),
        ("messages", {"fallbacks": [{"model": "claude-large"}]}),
        ("messages", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
        ("messages", {"speed": "fast"}),
        ("messages", {"speed": ["standard"]}),
        ("messages", {"inference_geo": "us"}),
        ("generate", {"serviceTier": "priority"}),
        ("generate", {"service_tier": "SERVICE_TIER_PRIORITY"}),
        ("generate", {"serviceTier": ["flex"]}),
        ("generate", {"cachedContent": "cachedContents/1"}),
        ("generate", {"cached_content": "cachedContents/1"}),
    ],
)
def test_members_of_unknown_cost_are_found(format: NativeFormat, members: dict[str, Any]) -> None:
    call = native_call(format, json.dumps({**BODIES[format], **members}).encode())

    assert call.native is not None
    assert is_unbounded(call.native)


def test_members_of_the_usual_price_are_bounded() -> None:
    members = {"speed": "standard", "inference_geo": None, "fallbacks": [], "thread": None}
    call = native_call("messages", json.dumps({**BODIES["messages"], **members}).encode())

    assert call.native is not None
    assert not is_unbounded(call.native)


@pytest.mark.parametrize("tier", [None, "flex", "standard", "SERVICE_TIER_FLEX"])
def test_service_tiers_that_cost_no_more_are_bounded(tier: Any) -> None:
    call = native_call("generate", json.dumps({**BODIES["generate"], "serviceTier": tier}).encode())

    assert call.native is not None
    assert not is_unbounded(call.native)
