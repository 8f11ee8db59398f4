"""The table of parameters: translated, refused, or dropped and named."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from tests.unit.dialects.gemini.build import dropped, native

LOW = {"thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True}}
OFF = {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"top_p": 0.9}, {"topP": 0.9}),
        ({"top_k": 40}, {"topK": 40}),
        ({"seed": 7}, {"seed": 7}),
        ({"presence_penalty": 0.1, "frequency_penalty": 0.2}, {"presencePenalty": 0.1, "frequencyPenalty": 0.2}),
        ({"n": 3}, {"candidateCount": 3}),
        ({"n": 1}, None),
        ({"max_tokens": 10}, {"maxOutputTokens": 10}),
        ({"max_tokens": 10, "max_completion_tokens": 20}, {"maxOutputTokens": 20}),
        ({"stop": "END"}, {"stopSequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": False}, None),
        ({"modalities": ["text"]}, None),
        ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        ({"temperature": None, "stop": None, "user": None}, None),
    ],
)
def test_what_gemini_has_is_translated(body: dict[str, Any], config: dict[str, Any] | None) -> None:
    assert native(body).get("generationConfig") == config
    assert dropped(body) == ()


def test_a_schema_for_the_answer_is_given_on() -> None:
    schema = {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}

    config = native({"response_format": form})["generationConfig"]

    assert config == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object", "properties": {"kind": {"enum": ["cat"]}}, "required": ["kind"]},
    }


def test_what_a_schema_cannot_say_is_named() -> None:
    schema = {"type": "object", "properties": {"code": {"type": "string", "pattern": "^[A-Z]+$"}}}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "not": {}}}}

    assert dropped({"response_format": form, "tools": [tool]}) == ("tools.not", "response_format.pattern")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("web_search_options", {}),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("response_format", {"type": "grammar"}),
        ("response_format", {"type": "json_schema"}),
        ("tool_choice", {"type": "function"}),
    ],
)
def test_what_changes_the_meaning_is_refused(name: str, value: Any) -> None:
    tool = {"type": "function", "function": {"name": "f"}}

    with pytest.raises(InvalidRequest) as caught:
        native({"tools": [tool], name: value})

    assert caught.value.param == name
    assert caught.value.http_status == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", "u"),
        ("parallel_tool_calls", False),
        ("store", True),
        ("metadata", {"a": "b"}),
        ("prediction", {"type": "content", "content": "x"}),
        ("service_tier", "flex"),
        ("verbosity", "low"),
        ("prompt_cache_key", "k"),
        ("safety_identifier", "s"),
        ("reasoning_effort", "low"),
        ("nobody_knows", 1),
    ],
)
def test_what_gemini_lacks_is_dropped_and_named(name: str, value: Any) -> None:
    assert dropped({name: value}) == (name,)
    assert native({name: value}) == native({})


@pytest.mark.parametrize(
    "body", [{"parallel_tool_calls": True}, {"store": False}, {"logit_bias": {}}, {"stream_options": None}]
)
def test_what_asks_for_nothing_is_not_named(body: dict[str, Any]) -> None:
    assert dropped(body) == ()


@pytest.mark.parametrize(("given", "sent"), [(2.5, 2.0), (-1, 0)])
def test_a_temperature_out_of_range_is_clamped_and_named(given: float, sent: float) -> None:
    assert native({"temperature": given})["generationConfig"]["temperature"] == sent
    assert dropped({"temperature": given}) == ("temperature",)


def test_more_than_five_stops_are_dropped_and_named() -> None:
    body = {"stop": list("abcdef")}

    assert native(body)["generationConfig"]["stopSequences"] == list("abcde")
    assert dropped(body) == ("stop",)


def test_a_seed_fits_into_32_bits_and_stays_the_same() -> None:
    seeds = [native({"seed": 2**40 + 5})["generationConfig"]["seed"] for _ in range(2)]

    assert seeds == [5, 5]


def test_unsupported_members_are_dropped_and_reported() -> None:
    body = {"temperature": 0.3, "top_p": 0.5}
    unsupported = frozenset({"temperature", "seed"})

    assert native(body, unsupported=unsupported)["generationConfig"] == {"topP": 0.5}
    assert dropped(body, unsupported=unsupported) == ("temperature",)


def test_effort_is_asked_for_as_the_catalogue_says() -> None:
    body = {"reasoning_effort": "low", "temperature": 1}

    assert native(body, thinking={"low": LOW})["generationConfig"] == {"temperature": 1, **LOW}
    assert dropped(body, thinking={"low": LOW}) == ()


def test_an_effort_that_the_catalogue_does_not_know_is_named() -> None:
    assert dropped({"reasoning_effort": "high"}, thinking={"low": LOW}) == ("reasoning_effort",)


@pytest.mark.parametrize("off", [OFF, OFF["generationConfig"]])
@pytest.mark.parametrize("body", [{"router": {"disable_thinking": True}}, {"reasoning_effort": "none"}])
def test_thinking_is_switched_off_as_the_catalogue_says(body: dict[str, Any], off: dict[str, Any]) -> None:
    made = native({**body, "seed": 1}, thinking={"low": LOW}, thinking_off=off)

    assert made["generationConfig"] == {"seed": 1, "thinkingConfig": {"thinkingBudget": 0}}


def test_thinking_that_cannot_be_switched_off_is_named() -> None:
    assert dropped({"router": {"disable_thinking": True}}) == ("router.disable_thinking",)


def test_the_catalogues_values_are_not_changed_by_a_call() -> None:
    mapping = {"low": {"thinkingConfig": {"thinkingLevel": "low"}}}

    native({"reasoning_effort": "low"}, thinking=mapping)

    assert mapping == {"low": {"thinkingConfig": {"thinkingLevel": "low"}}}
