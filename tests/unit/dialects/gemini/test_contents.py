"""Messages: turns, calls and their results, signatures."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.gemini.contents import SKIP_SIGNATURE
from proxy.dialects.turns import PLACEHOLDER
from tests.unit.dialects.gemini.build import native

USER = {"role": "user", "content": "Hi"}


def tool_call(id: str, name: str = "f", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def result(id: str, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def turns(*messages: dict[str, Any]) -> Any:
    return native({"messages": list(messages)})["contents"]


def test_system_and_developer_messages_are_joined_in_order() -> None:
    messages = [
        {"role": "system", "content": "One."},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "Two."}, {"type": "text", "text": "Three."}]},
    ]

    made = native({"messages": messages})

    assert made["systemInstruction"] == {"parts": [{"text": "One."}, {"text": "Two."}, {"text": "Three."}]}
    assert made["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_consecutive_messages_of_one_side_become_one_turn() -> None:
    made = turns(USER, {"role": "user", "content": "there"}, {"role": "assistant", "content": "A"}, USER)

    assert made == [
        {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
        {"role": "model", "parts": [{"text": "A"}]},
        {"role": "user", "parts": [{"text": "Hi"}]},
    ]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "system", "content": "S"}, "S"),
        ({"role": "system", "content": ""}, PLACEHOLDER),
        ({"role": "user", "content": ""}, " "),
        ({"role": "assistant", "content": ""}, PLACEHOLDER),
    ],
)
def test_there_is_always_one_turn(message: dict[str, Any], text: str) -> None:
    assert turns(message) == [{"role": "user", "parts": [{"text": text}]}]


def test_results_in_any_order_find_the_names_of_their_calls() -> None:
    calls = [tool_call("a", "first", '{"x":1}'), tool_call("b", "second")]

    made = turns(USER, {"role": "assistant", "content": None, "tool_calls": calls}, result("b"), result("a"))

    assert made[1]["parts"] == [
        {"functionCall": {"id": "a", "name": "first", "args": {"x": 1}}, "thoughtSignature": SKIP_SIGNATURE},
        {"functionCall": {"id": "b", "name": "second", "args": {}}},
    ]
    assert made[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "a", "name": "first", "response": {"result": "ok"}}},
            {"functionResponse": {"id": "b", "name": "second", "response": {"result": "ok"}}},
        ],
    }


def test_results_stand_before_what_the_user_says_besides() -> None:
    calls = {"role": "assistant", "tool_calls": [tool_call("a"), tool_call("b")]}

    made = turns(USER, calls, result("a"), {"role": "user", "content": "well?"}, result("b"))

    assert [next(iter(part)) for part in made[2]["parts"]] == ["functionResponse", "functionResponse", "text"]


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ('{"a":[1]}', {"a": [1]}),
        ("[1,2]", {"result": [1, 2]}),
        ("5", {"result": "5"}),
        ("plain", {"result": "plain"}),
        ("", {"result": ""}),
        ('{"a":NaN}', {"result": '{"a":NaN}'}),
        ([{"type": "text", "text": '{"a"'}, {"type": "text", "text": ":1}"}], {"a": 1}),
        (None, {"result": ""}),
    ],
)
def test_a_result_is_an_object(content: Any, response: dict[str, Any]) -> None:
    made = turns(USER, {"role": "assistant", "tool_calls": [tool_call("a")]}, result("a", content))

    assert made[2]["parts"][0]["functionResponse"]["response"] == response


def test_an_image_in_a_result_stands_beside_it() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWJt"}}
    content = [{"type": "text", "text": "see"}, image]

    made = turns(USER, {"role": "assistant", "tool_calls": [tool_call("a")]}, result("a", content))

    assert made[2]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": "aWJt"}}


def test_a_result_without_its_call_is_text_of_the_user() -> None:
    assert turns(USER, result("unknown")) == [{"role": "user", "parts": [{"text": "Hi"}, {"text": "ok"}]}]


def test_the_older_function_messages_are_calls_and_results_too() -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}}

    made = turns(USER, called, {"role": "function", "name": "f", "content": "ok"})

    assert made[1]["parts"][0]["functionCall"] == {"name": "f", "args": {"x": 1}}
    assert made[2]["parts"] == [{"functionResponse": {"name": "f", "response": {"result": "ok"}}}]


@pytest.mark.parametrize(
    ("text", "args"), [("", {}), ("{}", {}), ("[1]", {"arguments": "[1]"}), ("{half", {"arguments": "{half"})]
)
def test_arguments_that_are_no_object_are_kept_as_text(text: str, args: dict[str, Any]) -> None:
    made = turns(USER, {"role": "assistant", "tool_calls": [tool_call("a", arguments=text)]})

    assert made[1]["parts"][0]["functionCall"]["args"] == args


def test_a_signature_that_the_client_echoes_is_sent_back() -> None:
    echoed = tool_call("a", extra_content={"google": {"thought_signature": "c2ln"}})

    made = turns(USER, {"role": "assistant", "content": "So.", "tool_calls": [echoed]})

    assert made[1]["parts"][0] == {"text": "So."}
    assert made[1]["parts"][1]["thoughtSignature"] == "c2ln"


def test_a_signature_of_text_goes_back_to_the_text() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "c2ln"}}}

    made = turns(USER, {"role": "assistant", "content": "So.", **extra}, USER)

    assert made[1]["parts"] == [{"text": "So.", "thoughtSignature": "c2ln"}]


def test_parts_that_only_google_can_read_go_back_as_they_came() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}

    made = turns(USER, {"role": "assistant", "content": "One.", "google_parts": [code]}, USER)

    assert made[1]["parts"] == [code, {"text": "One."}]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "wizard", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": [{"type": "smell"}]}, "messages[0].content[0]"),
        ({"role": "assistant", "tool_calls": [1]}, "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "messages[0].tool_calls[0]"),
        (
            {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
            "messages[0].content",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_place(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        turns(message)

    assert caught.value.param == param


def test_a_refusal_of_the_model_is_text_of_its_turn() -> None:
    made = turns(USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER)

    assert made[1]["parts"] == [{"text": "No."}]


@pytest.mark.parametrize(
    "part",
    [
        {"functionCall": {"name": "f", "args": {}}},
        {"functionResponse": {"name": "f", "response": {}}},
        {"thoughtSignature": "AAAA", "index": 0},
        {},
        "text",
    ],
)
def test_google_parts_without_content_of_their_own_are_left_out(part: Any) -> None:
    made = turns(USER, {"role": "assistant", "content": "One.", "google_parts": [part]}, USER)

    assert made[1] == {"role": "model", "parts": [{"text": "One."}]}
