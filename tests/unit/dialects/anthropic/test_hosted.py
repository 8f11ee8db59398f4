"""Web searches of other formats at Anthropic's API."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.dialects.anthropic.dialect import build
from proxy.dialects.anthropic.hosted import add_hosted
from tests.support.calls import HELLO, call, deployment, provider
from tests.support.fakes import FakeClock

CLOCK = FakeClock()
DIALECT = build(Recall(CLOCK), CLOCK)
PLACE = {"type": "approximate", "country": "NO", "city": None, "region": "", "timezone": "Europe/Oslo"}


@pytest.mark.parametrize(
    ("tool", "members"),
    [
        ({"type": "web_search", "search_context_size": "low"}, {}),
        ({"filters": {"allowed_domains": ["a.test"]}}, {"allowed_domains": ["a.test"]}),
        ({"filters": None, "user_location": None}, {}),
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
