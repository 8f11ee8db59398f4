"""Web searches of other formats at Gemini's API."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.dialects.gemini.dialect import GeminiDialect
from proxy.dialects.gemini.hosted import add_hosted
from tests.support.calls import HELLO, call, deployment, provider
from tests.support.fakes import FakeClock
from tests.unit.dialects.gemini import build

CLOCK = FakeClock()
DIALECT = GeminiDialect(Recall(CLOCK), CLOCK)
SEARCH = {"type": "web_search"}
FORCED = InvalidRequest("`tool_choice` forces a search.", param="tool_choice")
GOOGLE = provider(dialect="gemini")
NEW, OLD = deployment("gemini-3-flash", GOOGLE), deployment("gemini-2.5-flash", GOOGLE)
FUNCTIONS: dict[str, Any] = {"functionDeclarations": [{"name": "f"}]}


def test_search_stands_beside_functions() -> None:
    native: dict[str, Any] = {"tools": [FUNCTIONS]}

    assert add_hosted(native, [SEARCH], NEW) == ()
    assert native["tools"] == [FUNCTIONS, {"googleSearch": {}}]


def test_search_is_there_once() -> None:
    native: dict[str, Any] = {"tools": [{"googleSearch": {}}]}

    assert add_hosted(native, [SEARCH], NEW) == ()
    assert native["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize(
    "native", [{"tools": [FUNCTIONS]}, {"generationConfig": {"responseMimeType": "application/json"}}]
)
def test_model_that_supports_one_kind_of_tools_has_no_search(native: dict[str, Any]) -> None:
    before = dict(native)

    assert add_hosted(native, [SEARCH], OLD) == ("tools.web_search",)
    assert native == before


def test_request_has_the_search() -> None:
    request = DIALECT.request(replace(call(HELLO), hosted=(SEARCH,)), Target(OLD), None)

    assert json.loads(request.content)["tools"] == [{"googleSearch": {}}]
    assert request.dropped == ()


@pytest.mark.parametrize("model", [NEW, OLD])
def test_forced_search_is_the_only_tool(model: Deployment) -> None:
    native: dict[str, Any] = {"tools": [FUNCTIONS], "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}

    assert add_hosted(native, [SEARCH], model, FORCED) == ("tool_choice",)
    assert native == {"tools": [{"googleSearch": {}}]}


def test_forced_search_beside_an_answer_form_is_an_error() -> None:
    native: dict[str, Any] = {"generationConfig": {"responseMimeType": "application/json"}}

    with pytest.raises(InvalidRequest, match="forces a search"):
        add_hosted(native, [SEARCH], OLD, FORCED)

    assert add_hosted(native, [SEARCH], NEW, FORCED) == ("tool_choice",)


def test_search_is_in_the_answer_for_surfaces_that_asked_for_it() -> None:
    grounding = {"webSearchQueries": ["rain"], "groundingChunks": [{"web": {"uri": "https://a.test"}}]}
    answer = build.chunk({"text": "Rain."}, finish="STOP")
    answer["candidates"][0]["groundingMetadata"] = grounding
    chat = build.call({})
    asked = replace(chat, hosted=(SEARCH,))

    found, without = (
        build.read(DIALECT.decoder(each, Target(NEW), {}), [json.dumps(answer).encode()]) for each in (asked, chat)
    )

    message = json.loads(found)["choices"][0]["message"]
    assert message["web_searches"] == [{"queries": ["rain"], "pages": ["https://a.test"]}]
    assert b"web_searches" not in without
