"""Anthropic's requests as chat calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.messages.surface import COUNT_TOKENS, MESSAGES
from tests.support.calls import snapshot

HELLO: Any = [{"role": "user", "content": "Hi"}]
TOOL: Any = {"name": "get", "description": "Gets", "input_schema": {"type": "object", "properties": {}}}
SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}
USE: Any = {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"a": 1}}
PIXEL = {"type": "base64", "media_type": "image/gif", "data": "R0lGODlh"}


def read(
    body: dict[str, Any] | bytes, headers: dict[str, str] | None = None, query: str = "", of: Any = MESSAGES
) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    call: Call = of.read(
        raw,
        headers or {},
        id="req_1",
        request_id="theirs",
        snapshot=snapshot(),
        principal=UNKNOWN_CALLER,
        path="/v1/messages",
        query=query,
    )
    return call


def of(**members: Any) -> dict[str, Any]:
    return {"model": "auto", "max_tokens": 100, "messages": HELLO, **members}


def chat(**members: Any) -> dict[str, Any]:
    return json.loads(read(of(**members)).raw)  # type: ignore[no-any-return]


def messages(*given: Any) -> list[dict[str, Any]]:
    return chat(messages=list(given))["messages"]  # type: ignore[no-any-return]


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(value: str, **members: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **members}


def result(content: Any, **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **members}


def refused(**members: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as found:
        read(of(**members))
    return found.value


def test_a_call_is_a_chat_call_with_the_client_s_bytes() -> None:
    body = of(stream=True, router={"debug": True})

    call = read(
        body, {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b", "accept": "x", "x-app": "cli"}, "beta=true"
    )

    assert (call.endpoint, call.model, call.stream, call.usage_asked) == ("chat", "auto", True, True)
    assert call.body == {"model": "auto", "messages": HELLO, "max_completion_tokens": 100, "stream": True}
    assert call.raw[call.spans["model"].value : call.spans["model"].end] == b'"auto"'
    assert call.options.debug
    assert call.native is not None
    del body["router"]
    assert json.loads(call.native.raw) == body
    assert call.native.raw[call.native.spans["model"].value : call.native.spans["model"].end] == b'"auto"'
    assert (call.native.format, call.native.query, call.native.operation) == ("messages", "beta=true", "")
    assert call.native.headers == {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    assert call.headers == {"anthropic-beta": "a,b"}
    assert (call.dropped, call.refused, call.family) == ((), None, None)


def test_counting_needs_no_limit() -> None:
    call = read({"model": "auto", "messages": HELLO, "tools": []}, of=COUNT_TOKENS)

    assert (call.endpoint, call.body) == ("count_tokens", {"model": "auto", "messages": HELLO})
    assert call.native is not None
    assert call.native.operation == "count_tokens"


def test_system_is_the_first_message_without_the_billing_block() -> None:
    blocks = [text("x-anthropic-billing-header: cc_version=1;"), text("One", cache_control={}), text("Two")]

    assert chat(system=blocks)["messages"] == [{"role": "system", "content": "One\n\nTwo"}, *HELLO]
    assert chat(system="Plain")["messages"][0] == {"role": "system", "content": "Plain"}
    assert chat(system=[blocks[0]])["messages"] == HELLO


def test_system_in_the_middle_keeps_its_place() -> None:
    sent = messages(*HELLO, {"role": "system", "content": "Now"}, user(text("More")))

    assert [message["role"] for message in sent] == ["user", "system", "user"]


def test_texts_become_one_string_and_media_parts() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "D"}, "title": "T"}

    assert messages(user(text("a"), text("b"), document)) == [{"role": "user", "content": "a\n\nb\n\nT\nD"}]
    assert messages(user(text("a"), {"type": "image", "source": PIXEL})) == [
        {
            "role": "user",
            "content": [text("a"), {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}}],
        }
    ]


@pytest.mark.parametrize(
    ("source", "file"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        ),
        (
            {"type": "url", "url": "https://a.test/b.pdf"},
            {"filename": "document.pdf", "file_data": "https://a.test/b.pdf"},
        ),
    ],
)
def test_documents_are_files(source: dict[str, Any], file: dict[str, Any]) -> None:
    assert messages(user({"type": "document", "source": source}))[0]["content"] == [{"type": "file", "file": file}]


def test_results_come_first_with_their_media() -> None:
    blocks = [
        text("Look"),
        result([text("one"), {"type": "image", "source": PIXEL}]),
        result([{"type": "tool_reference", "tool_name": "x"}], tool_use_id="toolu_2"),
        result(None, tool_use_id="toolu_3", is_error=True),
    ]

    sent = messages(*HELLO, {"role": "assistant", "content": [text("Well"), USE]}, user(*blocks))

    assert sent[1] == {
        "role": "assistant",
        "content": "Well",
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "get", "arguments": '{"a":1}'}}],
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}}
    assert sent[2:5] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": [text("one"), image]},
        {"role": "tool", "tool_call_id": "toolu_2", "content": ""},
        {"role": "tool", "tool_call_id": "toolu_3", "content": "Error"},
    ]
    assert sent[5:] == [{"role": "user", "content": "Look"}]


def test_blocks_without_counterpart_are_dropped_and_named() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        text("So", cache_control={"type": "ephemeral"}),
    ]

    call = read(of(messages=[*HELLO, {"role": "assistant", "content": content}, *HELLO], top_k=5, mcp_servers=[{}]))

    assert call.body["messages"][1] == {"role": "assistant", "content": "So"}
    assert call.dropped == (
        "messages.content.server_tool_use",
        "cache_control",
        "messages.content.thinking",
        "top_k",
        "mcp_servers",
    )


def test_open_tool_loop_with_native_thinking_stays_with_anthropic() -> None:
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": "EqQB"}, USE]}

    assert read(of(messages=[*HELLO, turn, user(result("r"))])).family == "anthropic"
    assert (
        read(of(messages=[*HELLO, turn, user(result("r")), {"role": "assistant", "content": "ok"}, *HELLO])).family
        is None
    )


def test_only_foreign_content_is_refused_for_others() -> None:
    call = read(of(messages=[{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}]))

    assert call.refused is not None
    assert call.refused.param == "messages"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {}),
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": "auto"}),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
        (
            {"tool_choice": {"type": "tool", "name": "get", "disable_parallel_tool_use": True}},
            {"tool_choice": {"type": "function", "function": {"name": "get"}}, "parallel_tool_calls": False},
        ),
    ],
)
def test_tools_are_functions(members: dict[str, Any], expected: dict[str, Any]) -> None:
    sent = chat(tools=[TOOL], **members)

    function = {"name": "get", "description": "Gets", "parameters": TOOL["input_schema"]}
    assert sent.pop("tools") == [{"type": "function", "function": function}]
    assert {name: sent[name] for name in sent if name not in ("model", "messages", "max_completion_tokens")} == expected


def test_long_tool_names_are_shortened() -> None:
    name = "mcp__" + "x" * 90
    use = {**USE, "name": name}

    sent = chat(tools=[{**TOOL, "name": name}], messages=[*HELLO, {"role": "assistant", "content": [use]}, *HELLO])

    short = sent["tools"][0]["function"]["name"]
    assert len(short) == 64
    assert sent["messages"][1]["tool_calls"][0]["function"]["name"] == short


def test_server_tools_are_dropped_unless_forced() -> None:
    execution = {"type": "code_execution_20260120", "name": "code_execution"}
    free = read(of(tools=[TOOL, execution]))
    forced = read(of(tools=[execution], tool_choice={"type": "tool", "name": "code_execution"}))

    assert (len(free.body["tools"]), free.dropped, free.refused) == (1, ("tools.code_execution_20260120",), None)
    assert "tools" not in forced.body
    assert forced.refused is not None
    assert forced.refused.param == "tool_choice"
    assert read(of(tools=[execution], tool_choice={"type": "any"})).refused is not None


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([SEARCH], {"type": "tool", "name": "web_search"}),
        ([TOOL, SEARCH], {"type": "tool", "name": "web_search"}),
        ([SEARCH], {"type": "any"}),
        ([{"type": "code_execution_20260120", "name": "code_execution"}, SEARCH], {"type": "any"}),
    ],
)
def test_forced_web_search_is_for_targets_that_have_one(tools: Any, choice: Any) -> None:
    call = read(of(tools=tools, tool_choice=choice))

    assert call.refused is None
    assert call.forced is not None
    assert call.forced.param == "tool_choice"
    assert len(call.hosted) == 1
    assert "tool_choice" not in call.body


def test_choice_without_tools_has_no_web_search() -> None:
    assert read(of(tools=[SEARCH], tool_choice={"type": "none"})).hosted == ()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("bash_20250124", "bash"), ("text_editor_20250728", "str_replace_based_edit_tool"), ("memory_20250818", "memory")],
)
def test_tools_that_anthropic_defines_are_functions(kind: str, name: str) -> None:
    call = read(of(tools=[{"type": kind, "name": name}], tool_choice={"type": "tool", "name": name}))

    function = call.body["tools"][0]["function"]
    assert function["name"] == name
    assert "command" in function["parameters"]["properties"]
    assert (call.dropped, call.refused) == ((), None)


def test_web_search_is_for_providers_that_have_one() -> None:
    call = read(of(tools=[TOOL, {**SEARCH, "allowed_domains": ["a.test"], "max_uses": 3}]))

    search = {"type": "web_search", "user_location": None, "max_uses": 3, "filters": {"allowed_domains": ["a.test"]}}
    assert (call.hosted, call.dropped, call.refused) == ((search,), (), None)


@pytest.mark.parametrize(
    ("members", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
        ({"thinking": {"type": "adaptive"}}, "medium"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}}, "high"),
        ({"output_config": {"effort": "max"}}, "max"),
    ],
)
def test_thinking_is_reasoning_effort(members: dict[str, Any], effort: str | None) -> None:
    assert chat(**members).get("reasoning_effort") == effort


def test_other_parameters() -> None:
    schema = {"type": "object"}

    sent = chat(
        temperature=0.5,
        top_p=0.9,
        stop_sequences=["END"],
        metadata={"user_id": "u1"},
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )

    assert (sent["temperature"], sent["top_p"], sent["stop"], sent["user"]) == (0.5, 0.9, ["END"], "u1")
    assert sent["response_format"]["json_schema"] == {"name": "output", "schema": schema, "strict": True}
    assert read(of(metadata={"user_id": "u" * 65})).dropped == ("metadata.user_id",)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [user("Hi")]}, "messages[0].content[0]"),
        ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
        ({"messages": [user({"type": "image"})]}, "messages[0].content[0].source"),
        ({"messages": [user({"type": "image", "source": {"type": "x"}})]}, "messages[0].content[0].source.type"),
        (
            {"messages": [user({"type": "image", "source": {"type": "base64", "data": "x"}})]},
            "messages[0].content[0].source.media_type",
        ),
        ({"messages": [user({"type": "tool_result", "content": ""})]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [user(result([text("a"), 5]))]}, "messages[0].content[0].content[1]"),
        ({"messages": [{"role": "assistant", "content": [{**USE, "input": "{}"}]}]}, "messages[0].content[0].input"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "input_schema": []}]}, "tools[0].input_schema"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"stream": 1}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"thinking": "on"}, "thinking"),
        ({"thinking": {"type": "x"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "x"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
        ({"router": {"nope": 1}}, "router.nope"),
    ],
)
def test_wrong_members_are_named(members: dict[str, Any], param: str) -> None:
    assert refused(**members).param == param


@pytest.mark.parametrize(
    "source",
    [{"type": "image", "source": {"type": "file", "file_id": "f"}}, {"type": "document", "source": {"type": "file"}}],
)
def test_files_of_the_provider_need_a_native_target(source: dict[str, Any]) -> None:
    found = read(of(messages=[user(text("Hi"), source)])).refused

    assert found is not None
    assert found.param == "messages[0].content[1].source"


def test_unpaired_surrogates_and_odd_numbers_are_no_fault() -> None:
    call = read(b'{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"\\ud800x"}]}')

    assert call.body["messages"] == [{"role": "user", "content": "?x"}]
    with pytest.raises(InvalidRequest):
        read(b'{"model":"auto","max_tokens":9,"temperature":1e999,"messages":[{"role":"user","content":"x"}]}')


@pytest.mark.parametrize("member", ['"model":"b"', '"max_tokens":10', '"fallbacks":[{"model":"b"}],"fallbacks":[]'])
def test_repeated_member_is_refused(member: str) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        read(f'{{"model":"auto",{member},"max_tokens":9,"messages":[{{"role":"user","content":"x"}}]}}'.encode())


def test_dropped_names_are_few_short_and_plain() -> None:
    call = read(of(**{f"néw {number} {'x' * 100}": 1 for number in range(100)}))

    assert len(call.dropped) <= 40
    assert all(len(name) <= 60 and name.isascii() for name in call.dropped)


def test_images_of_earlier_answers_are_kept() -> None:
    image = {"type": "image", "source": PIXEL}
    use = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}}

    alone, both = messages({"role": "assistant", "content": [image]}, {"role": "assistant", "content": [image, USE]})

    assert alone == {"role": "assistant", "content": "", "images": [{**use, "index": 0}]}
    assert (both["content"], both["images"]) == (None, [{**use, "index": 0}])


def test_blocked_domains_of_a_web_search_are_named() -> None:
    call = read(of(tools=[{**SEARCH, "blocked_domains": ["b.test"], "allowed_domains": []}]))

    assert call.dropped == ("tools.web_search_20250305.blocked_domains",)
    assert len(call.hosted) == 1
