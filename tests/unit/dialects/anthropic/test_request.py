"""The parameters of a request, row by row of the contract's table."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from tests.unit.dialects.anthropic.build import THINKING, USER, WEATHER, call, native, sent, target

CACHE = {"type": "ephemeral"}
OTHER = {"type": "function", "function": {"name": "other"}}
SYSTEM = {"role": "system", "content": "Be brief."}


def test_the_smallest_request_has_nothing_of_ours() -> None:
    assert native() == {"model": "claude-x", "max_tokens": 4096, "messages": [USER]}


def test_a_stream_is_asked_for() -> None:
    assert native(stream=True, stream_options={"include_usage": True})["stream"] is True


@pytest.mark.parametrize(
    ("members", "most", "ceiling", "dropped"),
    [
        ({}, None, 4096, ()),
        ({}, 64000, 64000, ()),
        ({"max_tokens": 5}, 64000, 5, ()),
        ({"max_completion_tokens": 6}, None, 6, ()),
        ({"max_tokens": 5, "max_completion_tokens": 6}, None, 6, ()),
        ({"max_tokens": 9999}, 8192, 8192, ("max_tokens",)),
    ],
)
def test_the_ceiling_is_the_clients_else_the_models_else_ours(
    members: dict[str, Any], most: int | None, ceiling: int, dropped: tuple[str, ...]
) -> None:
    body, found = sent(call(**members), target(max_output=most))

    assert (body["max_tokens"], found) == (ceiling, dropped)


@pytest.mark.parametrize(
    ("given", "sent_as", "dropped"),
    [(0.4, 0.4, ()), (0, 0, ()), (1, 1, ()), (1.7, 1, ("temperature",)), (-1, 0, ("temperature",))],
)
def test_temperature_is_clamped_and_that_is_told(given: float, sent_as: float, dropped: tuple[str, ...]) -> None:
    body, found = sent(call(temperature=given), target())

    assert (body["temperature"], found) == (sent_as, dropped)


@pytest.mark.parametrize(
    ("stop", "sequences", "dropped"),
    [("END", ["END"], ()), (["a", " \n", ""], ["a"], ("stop",)), ("\n", None, ("stop",)), ([], None, ())],
)
def test_stop_sequences_need_a_visible_character(stop: Any, sequences: Any, dropped: tuple[str, ...]) -> None:
    body, found = sent(call(stop=stop), target())

    assert (body.get("stop_sequences"), found) == (sequences, dropped)


def test_the_user_is_told_unless_the_name_is_too_long() -> None:
    assert native(user="u-1", top_p=0.9)["metadata"] == {"user_id": "u-1"}
    assert sent(call(user="u" * 300), target())[1] == ("user",)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
    ],
)
def test_what_anthropic_cannot_do_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        native(**members)

    assert (caught.value.param, caught.value.http_status) == (param, 400)


@pytest.mark.parametrize(
    "members", [{"n": 1}, {"logprobs": False}, {"modalities": ["text"]}, {"seed": None}, {"top_logprobs": None}]
)
def test_what_asks_for_nothing_special_is_no_matter(members: dict[str, Any]) -> None:
    body, dropped = sent(call(**members), target())

    assert body == native()
    assert dropped == ()


@pytest.mark.parametrize(
    "name",
    [
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "store",
        "metadata",
        "prediction",
        "service_tier",
        "verbosity",
        "prompt_cache_key",
        "safety_identifier",
        "something_new",
    ],
)
def test_what_anthropic_lacks_is_dropped_and_named(name: str) -> None:
    value = 1 if name in ("seed", "frequency_penalty", "presence_penalty") else {"a": 1}

    body, dropped = sent(call(**{name: value}), target())

    assert (body, dropped) == (native(), (name,))


def test_what_the_model_refuses_is_dropped_and_named() -> None:
    body, dropped = sent(call(temperature=0.2, top_p=0.9), target(unsupported=frozenset({"temperature"})))

    assert ("temperature" in body, body["top_p"], dropped) == (False, 0.9, ("temperature",))


def test_a_scenario_beats_the_client() -> None:
    asked = call(temperature=0.9, max_completion_tokens=10, top_p=0.5)

    body, dropped = sent(asked, target({"temperature": 0.1, "max_tokens": 99, "top_p": None}))

    assert (body["temperature"], body["max_tokens"], "top_p" in body, dropped) == (0.1, 99, False, ())


@pytest.mark.parametrize("system", [SYSTEM, {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}])
def test_automatic_caching_marks_tools_and_instructions(system: dict[str, Any]) -> None:
    asked = call(messages=[system, USER], tools=[WEATHER, OTHER])

    body, _ = sent(asked, target(provider={"prompt_cache": "auto"}))

    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": CACHE}]
    assert ["cache_control" in tool for tool in body["tools"]] == [False, True]


def test_automatic_caching_leaves_a_client_alone_that_sets_marks() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": CACHE}]}

    body, _ = sent(call(messages=[SYSTEM, marked], tools=[WEATHER]), target(provider={"prompt_cache": "auto"}))

    assert body["system"] == "Be brief."
    assert "cache_control" not in body["tools"][0]


def test_automatic_caching_needs_something_to_mark() -> None:
    assert sent(call(), target(provider={"prompt_cache": "auto"}))[0] == native()


def test_prefill_is_rejected_only_by_models_without_it() -> None:
    begun = call(messages=[USER, {"role": "assistant", "content": "Once"}])

    body, _ = sent(begun, target())
    with pytest.raises(InvalidRequest, match="does not support assistant prefill"):
        sent(begun, target(unsupported=frozenset({"messages.prefill"})))

    assert body["messages"][-1] == {"role": "assistant", "content": "Once"}


def test_two_parameters_that_a_model_refuses_together_become_one() -> None:
    body, dropped = sent(call(temperature=0.5, top_p=0.9), target(unsupported=frozenset({"temperature+top_p"})))

    assert (body["temperature"], "top_p" in body, dropped) == (0.5, False, ("top_p",))


def test_top_k_is_passed_unless_the_model_thinks() -> None:
    able = target(thinking=THINKING)

    assert sent(call(top_k=5), able)[0]["top_k"] == 5
    assert sent(call(top_k=5, reasoning_effort="low"), able)[1] == ("top_k",)
