"""What a model refuses, alone or beside another."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.refused import asks, present, refused
from proxy.surfaces.openai.chat import read_chat
from tests.unit.dialects.anthropic import build as anthropic
from tests.unit.dialects.gemini import build as gemini


@pytest.mark.parametrize(
    ("unsupported", "given", "left_out"),
    [
        ((), {"temperature": 0.5, "top_p": 0.9}, []),
        (("seed",), {"temperature": 0.5, "seed": 1}, ["seed"]),
        (("temperature+top_p",), {"temperature": 0.5, "top_p": 0.9}, ["top_p"]),
        (("temperature+top_p",), {"temperature": 1, "top_p": 0.9}, ["temperature"]),
        (("temperature+top_p",), {"temperature": 0.5}, []),
        (("temperature+top_p",), {"top_p": 0.5}, []),
        (("temperature", "temperature+top_p"), {"temperature": 0.5, "top_p": 0.9}, ["temperature"]),
    ],
)
def test_what_is_refused_is_left_out(unsupported: tuple[str, ...], given: dict[str, Any], left_out: list[str]) -> None:
    assert refused(unsupported, given) == left_out


@pytest.mark.parametrize("given", [{"logprobs": True}, {"stop": ["a"]}, {"n": 2}, {"logit_bias": {"1": 5}}])
def test_what_changes_the_meaning_is_refused_and_not_left_out(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        refused(tuple(given), given)

    assert caught.value.param == next(iter(given))


@pytest.mark.parametrize(
    "given", [{"logprobs": False}, {"stop": []}, {"n": 1}, {"temperature": 1.0}, {"logit_bias": {}}]
)
def test_what_asks_for_nothing_is_no_wish(given: dict[str, Any]) -> None:
    [(name, value)] = given.items()

    assert refused((name,), given) == [name]
    assert not asks(name, value)


def test_nulls_and_ceilings_without_limit_ask_for_nothing() -> None:
    given = {"max_tokens": -1, "max_completion_tokens": -1, "top_k": -1, "seed": -1, "stop": None, "user": ""}

    assert present(given) == {"seed": -1, "user": ""}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_no_limit_is_the_models_own_limit(name: str) -> None:
    asked = {name: -1}

    native, dropped = anthropic.sent(anthropic.call(**asked), anthropic.target(max_output=777))

    assert (native["max_tokens"], dropped) == (777, ())
    assert "generationConfig" not in gemini.native(asked)
    assert gemini.dropped(asked) == ()


@pytest.mark.parametrize(
    ("build", "tool"),
    [
        (anthropic, b'{"type": "web_search_20250305", "name": "web_search", "max_uses": 1e999}'),
        (gemini, b'{"googleSearch": {"most": -1e999}}'),
    ],
)
def test_a_number_that_no_json_reader_takes_is_refused(build: Any, tool: bytes) -> None:
    raw = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [' + tool + b"]}"
    call = read_chat(raw, {}, id="req_1", request_id="r", snapshot=gemini.SNAPSHOT)

    with pytest.raises(InvalidRequest, match="too large"):
        build.dialect().request(call, build.target(), None)


def test_two_that_have_a_meaning_are_refused_together() -> None:
    given = {"tools": [{}], "response_format": {"type": "json_object"}}

    with pytest.raises(InvalidRequest) as caught:
        refused(("tools+response_format",), given)

    assert caught.value.param == "response_format"
    assert refused(("tools+response_format",), {"response_format": {}}) == []
