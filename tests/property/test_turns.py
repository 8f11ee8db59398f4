"""Any history becomes one that Anthropic and Gemini accept, by rules that are written here a second time."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.dialects.anthropic import build as anthropic
from tests.unit.dialects.gemini import build as gemini

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=300)
TEXTS = st.sampled_from(["", " ", "\n\t", "hello", "ends with space ", "{}", '{"a": 1}'])
IDS = st.sampled_from(["a", "b", "call_0", "read:0", "read_0", "a", None, ""])
NAMES = st.sampled_from(["f", "g"])
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
ARGUMENTS = st.sampled_from(["", "{}", '{"x": 1}', '{"x": NaN}', "{", {"x": 1}, None])
SIGNED = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
BLOCKS = st.lists(
    st.sampled_from(
        [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "text", "text": "hello"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        ]
    ),
    max_size=4,
)
NOTES = st.lists(
    st.sampled_from([{"text": 5}, {"text": 5, "thought_signature": "s"}, {"call": 0}, {"image": 0}, {}]), max_size=4
)


def contents(*, media: bool) -> st.SearchStrategy[Any]:
    parts = [TEXTS.map(lambda text: {"type": "text", "text": text})] + ([st.just(IMAGE)] if media else [])
    return TEXTS | st.none() | st.lists(st.one_of(*parts), max_size=3)


CALLS = st.lists(
    st.builds(
        lambda id, name, arguments, extra: {
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
            **extra,
        },
        IDS,
        NAMES,
        ARGUMENTS,
        st.sampled_from([{}, {"extra_content": {"google": {"thought_signature": "c2ln"}}}]),
    ),
    max_size=3,
)
ASSISTANTS = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": contents(media=False)},
    optional={
        "tool_calls": CALLS,
        "function_call": st.builds(lambda name: {"name": name, "arguments": "{}"}, NAMES),
        "refusal": TEXTS,
        "reasoning_content": TEXTS,
        "reasoning_details": st.sampled_from([[SIGNED], [SIGNED, SIGNED]])
        | BLOCKS.map(
            lambda blocks: [
                SIGNED,
                {"type": "reasoning.encrypted", "data": "signalbox.blocks.v1:" + json.dumps(blocks)},
            ]
        ),
        "extra_content": NOTES.map(lambda notes: {"google": {"parts": notes, "thought_signature": "c2ln"}}),
        "images": st.just([IMAGE]),
        "google_parts": st.just([{"executableCode": {"code": "1"}, "index": 0}]),
    },
)
MESSAGES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": contents(media=False)}),
        st.fixed_dictionaries({"role": st.just("user"), "content": contents(media=True)}),
        ASSISTANTS,
        st.fixed_dictionaries(
            {"role": st.just("tool"), "content": contents(media=True)}, optional={"tool_call_id": IDS, "name": NAMES}
        ),
        st.fixed_dictionaries({"role": st.just("function"), "content": TEXTS, "name": NAMES}),
    ),
    min_size=1,
    max_size=9,
)


def strict(raw: bytes) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(raw, parse_constant=refuse)


def check_anthropic(turns: list[dict[str, Any]]) -> None:
    """Anthropic's rules, from its API reference and the texts of its errors."""
    assert [turn["role"] for turn in turns] == [("user", "assistant")[place % 2] for place in range(len(turns))]
    assert turns
    seen: list[str] = []
    called: list[str] = []
    for turn in turns:
        text = turn["content"]
        blocks = [{"type": "text", "text": text}] if isinstance(text, str) else text
        kinds = [block["type"] for block in blocks]
        assert blocks
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert results == called
        assert kinds[: len(results)] == ["tool_result"] * len(results)
        called = [block["id"] for block in blocks if block["type"] == "tool_use"]
        seen += called
        if turn["role"] == "assistant":
            assert set(kinds) <= {"thinking", "text", "tool_use", "server_tool_use", "web_search_tool_result"}
            assert kinds[-1] != "thinking"
            if turn is not turns[-1]:
                assert "server_tool_use" not in kinds or "web_search_tool_result" in kinds
        else:
            assert not {"tool_use", "thinking"} & set(kinds)
    assert not called
    assert len(set(seen)) == len(seen)
    assert all(id and not set(id) - set("abcdefghijklmnopqrstuvwxyz0123456789_") for id in seen)
    if turns[-1]["role"] == "assistant":
        last = turns[-1]["content"]
        last = last if isinstance(last, str) else last[-1].get("text", "")
        assert last == last.rstrip()


def check_gemini(turns: list[dict[str, Any]]) -> None:
    """Gemini's rules, from its function calling guide and the texts of its errors."""
    assert [turn["role"] for turn in turns] == [("user", "model")[place % 2] for place in range(len(turns))]
    assert turns
    called: list[tuple[str, str | None]] = []
    for turn in turns:
        parts = turn["parts"]
        assert parts
        assert any(part.keys() != {"text"} or part["text"] for part in parts)
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        assert [(each["name"], each.get("id")) for each in responses] == called
        assert all("functionResponse" in part for part in parts[: len(responses)])
        assert all(isinstance(each["response"], dict) for each in responses)
        calls = [part for part in parts if "functionCall" in part]
        called = [(part["functionCall"]["name"], part["functionCall"].get("id")) for part in calls]
        assert all(isinstance(part["functionCall"]["args"], dict) for part in calls)
        assert turn["role"] == "model" or not calls
        assert turn["role"] == "user" or not responses
        assert not calls or calls[0].get("thoughtSignature")
    assert not called


@given(MESSAGES)
@unhurried
def test_any_history_is_legal_for_anthropic(messages: list[dict[str, Any]]) -> None:
    request = anthropic.dialect().request(anthropic.call(messages=messages), anthropic.target(), None)

    check_anthropic(strict(request.content)["messages"])


@given(MESSAGES)
@unhurried
def test_any_history_is_legal_for_gemini(messages: list[dict[str, Any]]) -> None:
    request = gemini.dialect().request(gemini.call({"messages": messages}), gemini.target(), gemini.KEY)

    check_gemini(strict(request.content)["contents"])


@given(MESSAGES, st.sampled_from(["user", "tool", "system", "developer"]))
@unhurried
def test_what_the_user_says_last_is_answered_by_the_model(messages: list[dict[str, Any]], role: str) -> None:
    messages = [*messages, {"role": role, "content": " "}]

    native = anthropic.native(messages=messages)["messages"]
    google = gemini.native({"messages": messages})["contents"]

    assert (native[-1]["role"], google[-1]["role"]) == ("user", "user")
