"""What the mock answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.model import MockOptions
from proxy.mock.answer import FAULTS, answer, named_fault
from proxy.mock.wire import Answer, Choice, completion, events

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}
KEYS = [
    "role",
    "content",
    "type",
    "text",
    "function",
    "name",
    "parameters",
    "json_schema",
    "schema",
    "allowed_tools",
    "x",
]
LEAVES = [
    None,
    True,
    0,
    7,
    -1.5,
    float("nan"),
    "",
    "user",
    "tool",
    "text",
    "function",
    "json_schema",
    "required",
    "none",
]
JSON = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def chat(text: str = "Hello there", **members: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": text}], **members}


def only(body: dict[str, Any], options: MockOptions | None = None) -> Choice:
    [choice] = answer(body, options or MockOptions()).choices
    return choice


def text_of(body: dict[str, Any], options: MockOptions | None = None) -> str:
    content = only(body, options).content
    assert content is not None
    return content


def test_the_same_body_and_seed_give_the_same_answer() -> None:
    first, second = answer(chat(), MockOptions(seed=7)), answer(chat(), MockOptions(seed=7))

    assert first == second
    assert first.id.startswith("chatcmpl-mock-")


def test_another_seed_or_another_body_gives_another_answer() -> None:
    ids = {
        answer(chat(), MockOptions(seed=7)).id,
        answer(chat(), MockOptions(seed=8)).id,
        answer(chat("Bye"), MockOptions(seed=7)).id,
    }

    assert len(ids) == 3


def test_streaming_does_not_change_what_is_said() -> None:
    streamed = chat(stream=True, stream_options={"include_usage": True})

    assert answer(chat(), MockOptions()) == answer(streamed, MockOptions())


def test_text_is_marked_and_quotes_the_last_user_message() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "the  second"}, {"type": "image_url", "image_url": {}}]},
    ]

    text = text_of(chat(messages=messages))

    assert text.startswith('[MOCK] You said "the second (image_url)".')


def test_a_long_message_is_echoed_in_part() -> None:
    text = text_of(chat("word " * 10_000), MockOptions(tokens=1000))

    assert 30 < text.count("word ") <= 40


@pytest.mark.parametrize("tokens", [1, 3, 40, 500])
def test_a_text_is_as_long_as_the_options_want(tokens: int) -> None:
    made = answer(chat(), MockOptions(tokens=tokens))

    assert len((made.choices[0].content or "").split()) == made.completion_tokens == tokens
    assert made.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "limits",
    [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_tokens": 50, "max_completion_tokens": 5}],
)
def test_a_smaller_limit_of_the_request_cuts_the_text(limits: dict[str, Any]) -> None:
    made = answer(chat(**limits), MockOptions(tokens=20))

    assert made.completion_tokens == 5
    assert made.choices[0].finish_reason == "length"


def test_a_larger_limit_of_the_request_changes_nothing() -> None:
    made = answer(chat(max_tokens=5000), MockOptions(tokens=20))

    assert made.completion_tokens == 20
    assert made.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stop", ["there", ["zzz", "there", "said"], [None, "", "there"]])
def test_a_text_ends_before_the_first_stop_sequence(stop: Any) -> None:
    choice = only(chat(stop=stop, max_tokens=6))

    assert choice.content == ('[MOCK] You said "Hello ' if "said" not in stop else "[MOCK] You ")
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize(("n", "count"), [(1, 1), (3, 3), (100, 8), (0, 1), (-1, 1), ("2", 1), (True, 1), (None, 1)])
def test_there_are_as_many_choices_as_asked_up_to_eight(n: Any, count: int) -> None:
    made = answer(chat(n=n), MockOptions(tokens=12))

    assert len(made.choices) == count
    assert made.completion_tokens == 12 * count


def test_the_first_tool_is_called_for_a_message_of_the_user() -> None:
    choice = only(chat(tools=[WEATHER, TIME]))

    assert choice.finish_reason == "tool_calls"
    assert choice.content is None
    assert choice.tool is not None
    assert choice.tool.name == "get_weather"
    assert json.loads(choice.tool.arguments) == {"city": "[MOCK] city"}


@pytest.mark.parametrize(
    ("tool_choice", "name"),
    [
        ("auto", "get_weather"),
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "get_time"}}, "get_time"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TIME]}}, "get_time"),
        (17, "get_weather"),
    ],
)
def test_tool_choice_is_honoured(tool_choice: Any, name: str) -> None:
    choice = only(chat(tools=[WEATHER, TIME], tool_choice=tool_choice))

    assert choice.tool is not None
    assert choice.tool.name == name


@pytest.mark.parametrize("tool_choice", ["none", {"type": "function", "function": {"name": "unknown"}}])
def test_no_tool_is_called_against_tool_choice(tool_choice: Any) -> None:
    assert text_of(chat(tools=[WEATHER], tool_choice=tool_choice)).startswith("[MOCK] ")


@pytest.mark.parametrize("tools", [[], "x", [None], [{"type": "function"}], [{"type": "function", "function": {}}]])
def test_tools_that_are_none_are_answered_in_text(tools: Any) -> None:
    assert text_of(chat(tools=tools)).startswith("[MOCK] ")


NAMED = {"type": "function", "function": {"name": "get_weather"}}
LAST_OF_TOOL = {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"}
LAST_OF_FUNCTION = {"role": "function", "name": "get_weather", "content": "18 degrees"}


@pytest.mark.parametrize("last", [LAST_OF_TOOL, LAST_OF_FUNCTION])
@pytest.mark.parametrize(
    "forced",
    [
        {"tools": [WEATHER], "tool_choice": "required"},
        {"tools": [WEATHER], "tool_choice": NAMED},
        {"functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}},
    ],
)
def test_a_forced_tool_is_called_after_a_result_too(last: Any, forced: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "Weather in Bonn?"}, last]

    tool = only(chat(messages=messages, **forced)).tool

    assert tool is not None
    assert tool.name == "get_weather"


@pytest.mark.parametrize("tool_choice", ["auto", "none", None])
def test_a_tool_result_is_answered_in_text_that_mentions_it(tool_choice: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Weather in Bonn?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "sunny"}]},
    ]

    text = text_of(chat(messages=messages, tools=[WEATHER], tool_choice=tool_choice))

    assert text.startswith("[MOCK] The tool answered 18 degrees; sunny.")


def test_after_other_roles_only_a_forced_tool_is_called() -> None:
    messages = [{"role": "system", "content": "Go."}]

    assert only(chat(messages=messages, tools=[WEATHER])).tool is None
    assert only(chat(messages=messages, tools=[WEATHER], tool_choice="required")).tool is not None


@pytest.mark.parametrize("function_call", ["auto", None, {"name": "get_weather"}])
def test_the_legacy_functions_are_called_too(function_call: Any) -> None:
    made = answer(chat(functions=[WEATHER["function"]], function_call=function_call), MockOptions())

    [choice] = json.loads(completion(made))["choices"]

    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"]["name"] == "get_weather"
    assert "tool_calls" not in choice["message"]


def test_a_json_object_is_one() -> None:
    text = text_of(chat(response_format={"type": "json_object"}))

    made = json.loads(text)

    assert made["mock"] is True
    assert made["reply"].startswith("[MOCK] ")


def test_a_json_schema_gets_an_instance() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18, "maximum": 20}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}

    made = json.loads(text_of(chat(response_format=wanted)))

    assert made.keys() == {"name", "age"}
    assert made["name"] == "[MOCK] name"
    assert made["age"] in (18, 19, 20)


@pytest.mark.parametrize("response_format", ["json_object", {"type": "json_schema"}, {"type": ["x"]}, {"type": "text"}])
def test_any_other_response_format_is_text(response_format: Any) -> None:
    assert text_of(chat(response_format=response_format)).startswith("[MOCK] ")


def test_usage_counts_about_four_characters_a_token() -> None:
    short, long = answer(chat("a" * 40), MockOptions()), answer(chat("a" * 400), MockOptions())

    assert long.prompt_tokens - short.prompt_tokens == 90


def test_usage_does_not_count_the_bytes_of_an_image() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}

    made = answer(chat(messages=[{"role": "user", "content": [image]}]), MockOptions())

    assert 85 <= made.prompt_tokens < 120


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_id_may_name_a_fault(fault: str) -> None:
    assert named_fault(f"small:{fault}") == fault
    assert named_fault(f"llama:8b:{fault}") == fault


@pytest.mark.parametrize("model", ["small", "error", "llama:8b", "small:", "", None, 3, ["a:error"]])
def test_any_other_model_id_names_none(model: Any) -> None:
    assert named_fault(model) is None


@pytest.mark.parametrize("model", [None, "", 5, ["x"]])
def test_a_model_that_is_no_name_is_answered_as_mock(model: Any) -> None:
    assert answer(chat(model=model), MockOptions()).model == "mock"


MEMBERS = (
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "n",
    "stop",
    "max_tokens",
    "functions",
    "function_call",
)


@unhurried
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, JSON)))
def test_any_body_is_answered_with_bytes_that_parse(body: dict[str, Any]) -> None:
    made = answer(body, MockOptions())

    assert json.loads(completion(made))["choices"]
    assert all(event.startswith(b"data: ") for event in events(made, usage=True))


@unhurried
@given(JSON, JSON)
def test_any_schema_is_answered(parameters: Any, content: Any) -> None:
    body = chat(
        messages=[{"role": "user", "content": content}],
        tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}],
    )

    tool = only(body).tool

    assert tool is not None
    assert isinstance(json.loads(tool.arguments), dict)


def test_a_deep_body_is_answered() -> None:
    deep: Any = "leaf"
    for _ in range(20_000):
        deep = [deep]

    made = answer(chat(messages=[{"role": "user", "content": deep}], metadata=deep), MockOptions())

    assert isinstance(made, Answer)


def test_half_a_surrogate_pair_can_be_sent() -> None:
    made = answer(chat(json.loads(r'"half \ud83d pair"')), MockOptions())

    assert b"half ? pair" in completion(made)
