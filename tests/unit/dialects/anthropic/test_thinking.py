"""When a model is made to think, and what must give way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.dialects.anthropic.build import THINKING, USER, WEATHER, call, sent, target

OFF = {"thinking": {"type": "disabled"}}
THOUGHT = {"type": "thinking", "thinking": "t", "signature": "s"}
LOOP = [
    USER,
    {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "ok"},
]


def asked(
    effort: Any = "low", deployment: dict[str, Any] | None = None, **members: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    return sent(call(reasoning_effort=effort, **members), target(**{"thinking": THINKING, **(deployment or {})}))


def test_an_effort_is_asked_for_as_the_catalogue_says() -> None:
    body, dropped = asked("high")

    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert dropped == ()


@pytest.mark.parametrize(("effort", "mapping"), [("low", {}), ("xhigh", THINKING), ("none", THINKING), (7, THINKING)])
def test_an_unknown_effort_is_dropped_and_reported(effort: Any, mapping: Any) -> None:
    body, dropped = asked(effort, {"thinking": mapping})

    assert "thinking" not in body
    assert dropped == ("reasoning_effort",)


def test_no_effort_switches_thinking_off_where_that_can_be() -> None:
    body, dropped = asked("none", {"thinking_off": OFF})

    assert (body["thinking"], dropped) == ({"type": "disabled"}, ())


def test_the_routers_switch_beats_the_effort() -> None:
    body, dropped = asked("high", {"thinking_off": OFF}, router={"disable_thinking": True}, temperature=0.5)

    assert (body["thinking"], body["temperature"]) == ({"type": "disabled"}, 0.5)
    assert dropped == ("reasoning_effort",)


def test_an_unsupported_off_switch_is_reported_as_dropped() -> None:
    body, dropped = asked("high", {"thinking_off": None}, router={"disable_thinking": True})

    assert body["thinking"] == {"type": "adaptive"}
    assert dropped == ("router.disable_thinking",)


def test_a_switch_that_is_not_there_is_no_error() -> None:
    body, _ = sent(call(router={"disable_thinking": True}), target())

    assert "thinking" not in body


def test_a_native_thinking_budget_beats_the_effort() -> None:
    budget = {"type": "enabled", "budget_tokens": 3000}

    body, dropped = asked("high", thinking=budget, max_tokens=9000)

    assert (body["thinking"], dropped) == (budget, ("reasoning_effort",))


def test_a_native_budget_is_dropped_for_unknown_models() -> None:
    body, dropped = sent(call(thinking={"type": "enabled", "budget_tokens": 3000}), target())

    assert ("thinking" in body, dropped) == (False, ("thinking",))


def test_the_format_of_the_answer_stands_beside_the_effort() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    body, _ = asked("high", {"capabilities": frozenset({"json_schema"})}, response_format=wanted)

    assert set(body["output_config"]) == {"format", "effort"}


@pytest.mark.parametrize(
    ("members", "dropped"),
    [
        ({"temperature": 0.3}, ("temperature",)),
        ({"temperature": 1}, ()),
        ({"top_p": 0.5}, ("top_p",)),
    ],
)
def test_sampling_gives_way_to_thinking(members: dict[str, Any], dropped: tuple[str, ...]) -> None:
    body, found = asked("low", max_tokens=9000, **members)

    assert not {"temperature", "top_p"} & set(body)
    assert found == dropped


def test_a_high_top_p_stays() -> None:
    assert asked("low", top_p=0.97)[0]["top_p"] == 0.97


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [WEATHER], "tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
        {"messages": [USER, {"role": "assistant", "content": "{"}]},
        {"messages": LOOP},
        {"max_tokens": 2000},
    ],
)
def test_thinking_gives_way_to_what_has_a_meaning_of_its_own(members: dict[str, Any]) -> None:
    body, dropped = asked("low", **members)

    assert "thinking" not in body
    assert dropped == ("reasoning_effort",)


def test_adaptive_thinking_may_begin_in_a_tool_loop() -> None:
    in_loop, _ = asked("high", messages=LOOP)
    forced, dropped = asked("high", tools=[WEATHER], tool_choice="required")

    assert in_loop["thinking"] == {"type": "adaptive"}
    assert (forced["output_config"], dropped) == ({"effort": "high"}, ("reasoning_effort",))


def test_thinking_goes_on_in_a_loop_whose_blocks_are_there() -> None:
    signed = {**LOOP[1], "thinking_blocks": [THOUGHT]}

    body, dropped = asked("low", messages=[LOOP[0], signed, LOOP[2]], max_tokens=9000)

    assert (body["thinking"]["type"], dropped) == ("enabled", ())


@pytest.mark.parametrize(
    ("members", "most", "budget", "ceiling"),
    [
        ({"max_tokens": 9000}, None, 2048, 9000),
        ({"max_tokens": 3000}, None, 1976, 3000),
        ({"max_tokens": 2048}, None, 1024, 2048),
        ({}, None, 2048, 4096),
        ({}, 2500, 1476, 2500),
        ({}, 64000, 2048, 64000),
    ],
)
def test_budget_and_ceiling_agree(members: dict[str, Any], most: int | None, budget: int, ceiling: int) -> None:
    body, _ = asked("low", {"max_output": most}, **members)

    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (budget, ceiling)


def test_a_ceiling_of_ours_grows_with_the_budget() -> None:
    large = {"low": {"thinking": {"type": "enabled", "budget_tokens": 16000}}}

    body, _ = asked("low", {"thinking": large})

    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (16000, 20096)


@pytest.mark.parametrize(
    "members", [{"tool_choice": "required", "tools": [WEATHER]}, {"response_format": {"type": "json_object"}}]
)
def test_a_forced_tool_disables_thinking_that_is_on_by_default(members: dict[str, Any]) -> None:
    forced, _ = sent(call(**members), target(thinking=THINKING, thinking_off=OFF))
    free, _ = sent(call(tools=[WEATHER]), target(thinking=THINKING, thinking_off=OFF))

    assert (forced["tool_choice"]["type"] in ("any", "tool"), forced["thinking"]) == (True, {"type": "disabled"})
    assert "thinking" not in free
