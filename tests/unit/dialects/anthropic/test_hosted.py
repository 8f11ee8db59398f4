"""Web searches of other formats at Anthropic's API."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.dialects.anthropic.dialect import AnthropicDialect
from proxy.dialects.anthropic.hosted import add_hosted
from tests.support.calls import HELLO, call, deployment, provider
from tests.support.fakes import FakeClock
from tests.unit.dialects.anthropic import build

CLOCK = FakeClock()
DIALECT = AnthropicDialect(Recall(CLOCK), CLOCK)
FORCED = InvalidRequest("`tool_choice` forces a search.", param="tool_choice")
PLACE = {"type": "approximate", "country": "NO", "city": None, "region": "", "timezone": "Europe/Oslo"}


@pytest.mark.parametrize(
    ("tool", "members"),
    [
        ({"type": "web_search", "search_context_size": "low"}, {}),
        ({"filters": {"allowed_domains": ["a.test"]}}, {"allowed_domains": ["a.test"]}),
        ({"filters": None, "user_location": None}, {}),
        ({"max_uses": 2}, {"max_uses": 2}),
        (
            {"user_location": PLACE},
            {"user_location": {"type": "approximate", "country": "NO", "timezone": "Europe/Oslo"}},
        ),
    ],
)
def test_search_is_a_server_tool(tool: dict[str, Any], members: dict[str, Any]) -> None:
    native: dict[str, Any] = {"tools": [{"name": "f"}]}

    dropped = add_hosted(native, [tool])

    assert native["tools"] == [{"name": "f"}, {"type": "web_search_20250305", "name": "web_search", **members}]
    assert dropped == ()


def test_search_beside_a_function_of_its_name_is_dropped() -> None:
    native = {"tools": [{"name": "web_search"}]}

    assert add_hosted(native, [{"type": "web_search"}]) == ("tools.web_search",)
    assert native == {"tools": [{"name": "web_search"}]}


def test_request_has_the_search() -> None:
    hosted = replace(call(HELLO), hosted=({"type": "web_search"},))
    target = Target(deployment(of=provider(dialect="anthropic")))

    request = DIALECT.request(hosted, target, None)

    assert json.loads(request.content)["tools"] == [{"type": "web_search_20250305", "name": "web_search"}]
    assert request.dropped == ()


def test_search_is_forced() -> None:
    hosted = replace(call(HELLO), hosted=({"type": "web_search"},), forced=FORCED)
    target = Target(deployment(of=provider(dialect="anthropic")))

    request = DIALECT.request(hosted, target, None)

    assert json.loads(request.content)["tool_choice"] == {"type": "tool", "name": "web_search"}
    assert request.dropped == ()


def test_forced_search_keeps_the_rest_of_the_choice() -> None:
    native: dict[str, Any] = {
        "tools": [{"name": "f"}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }

    add_hosted(native, [{"type": "web_search"}], FORCED)

    assert native["tool_choice"] == {"type": "tool", "name": "web_search", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    "native",
    [{"tools": [{"name": "web_search"}]}, {"tools": [{"name": "a"}], "tool_choice": {"type": "tool", "name": "a"}}],
)
def test_search_that_cannot_be_forced_is_an_error(native: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="forces a search"):
        add_hosted(native, [{"type": "web_search"}], FORCED)


def test_thinking_gives_way_to_a_forced_search() -> None:
    thinking = {"low": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}
    target = Target(replace(deployment(of=provider(dialect="anthropic")), thinking=thinking))
    hosted = call(HELLO[:-1] + b',"reasoning_effort":"low"}')

    request = DIALECT.request(replace(hosted, hosted=({"type": "web_search"},), forced=FORCED), target, None)

    assert "thinking" not in json.loads(request.content)
    assert request.dropped == ("reasoning_effort",)


FOUND = [{"type": "web_search_result", "url": "https://a.test", "title": "A", "encrypted_content": "e"}]
FAILED = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}


@pytest.mark.parametrize(("result", "pages"), [(FOUND, ["https://a.test"]), (FAILED, None)])
@pytest.mark.parametrize("stream", [True, False])
def test_search_is_in_the_answer_for_surfaces_that_asked_for_it(result: Any, pages: Any, stream: bool) -> None:
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    query = {"type": "input_json_delta", "partial_json": '{"query":"rain"}'}
    after = {"type": "web_search_tool_result", "tool_use_id": "s", "content": result}
    chat = build.call(**({"stream": True} if stream else {}))
    asked = replace(chat, hosted=({"type": "web_search"},))
    if stream:
        answer = [build.start(), build.block(0, use, query), build.block(1, after), build.stop(), build.END]
    else:
        answer = [build.message({**use, "input": {"query": "rain"}}, after)]

    searches = [{"queries": ["rain"], "pages": pages}]
    assert json.dumps(searches, separators=(",", ":")).encode() in build.decoded(asked, answer)
    assert b"web_searches" not in build.decoded(chat, answer)
