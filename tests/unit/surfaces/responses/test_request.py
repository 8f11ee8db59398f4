import json
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.principal import Identified
from proxy.core.turn import Turn
from proxy.surfaces.carriers import seal
from proxy.surfaces.responses.request import read_response
from proxy.surfaces.responses.tools import Tool
from tests.support.calls import snapshot

SNAPSHOT = snapshot()
SIGNED = {"index": 0, "type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1"}
CALLED = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "done"}


def read(raw: bytes | None = None, principal: str = "p", headers: dict[str, str] | None = None, **body: Any) -> Call:
    raw = raw if raw is not None else json.dumps({"model": "auto", "input": "hi", **body}).encode()
    caller = Identified(principal, key_id=principal)
    return read_response(raw, headers or {}, id="req_1", request_id="r", snapshot=SNAPSHOT, principal=caller)


def turn_of(call: Call) -> Turn:
    assert call.turn is not None
    return call.turn


def test_call_is_a_chat() -> None:
    call = read(instructions="Be brief.", max_output_tokens=9, stream=True, router={"mode": "fast"})

    sent = json.loads(call.raw)
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert sent["max_completion_tokens"] == 9
    assert (call.endpoint, call.model, call.stream, call.usage_asked) == ("chat", "auto", True, True)
    assert call.options.mode == "fast"
    assert call.body["messages"] == sent["messages"]
    assert call.spans.keys() == sent.keys()


def test_own_body_stays_beside_the_chat() -> None:
    raw = b'{ "model": "auto",  "input": "hi" }'

    native = read(raw).native

    assert native is not None
    assert (native.format, native.raw) == ("responses", raw)
    assert raw[native.spans["input"].value : native.spans["input"].end] == b'"hi"'


def test_own_body_has_no_router() -> None:
    native = read(b'{"model":"auto","router":{"mode":"fast"}, "input":"hi"}').native

    assert native is not None
    assert native.raw == b'{"model":"auto", "input":"hi"}'
    assert native.spans.keys() == {"model", "input"}


def test_dropped_names_are_listed_once() -> None:
    tools = [{"type": "file_search"}, {"type": "web_search"}]

    call = read(tools=tools, client_metadata={}, input=[{"type": "new"}, {"role": "user"}])

    assert call.dropped == ("tools.file_search", "input.new", "client_metadata")
    assert call.hosted == ({"type": "web_search"},)


def test_forced_hosted_tool_is_for_a_native_target() -> None:
    call = read(tools=[{"type": "mcp"}], tool_choice={"type": "mcp"})

    assert call.refused is not None


def test_forced_search_is_for_targets_that_search() -> None:
    call = read(tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})

    assert (call.refused, call.hosted) == (None, ({"type": "web_search"},))
    assert call.forced is not None


def test_number_of_searches_is_limited() -> None:
    call = read(tools=[{"type": "web_search"}], max_tool_calls=2)

    assert call.hosted == ({"type": "web_search", "max_uses": 2},)
    assert call.dropped == ()


def test_choice_without_tools_has_no_search() -> None:
    assert read(tools=[{"type": "web_search"}], tool_choice="none").hosted == ()


def test_summary_is_written_without_tools() -> None:
    items = [{"role": "user", "content": "hi"}, {"type": "compaction_trigger"}]

    call = read(input=items, tools=[{"type": "web_search"}, {"type": "mcp"}], tool_choice={"type": "web_search"})

    assert (call.hosted, call.forced, call.refused) == ((), None, None)


def test_context_has_the_document_and_the_tools() -> None:
    inner = {"type": "function", "name": "f"}

    call = read(tools=[{"type": "namespace", "name": "n", "tools": [inner]}], metadata={"a": "b"})

    context = turn_of(call).context
    assert context.document["metadata"] == {"a": "b"}
    assert context.tools.of("n__f") == Tool("function", "f", "n")


def test_turn_keeps_items_with_ids() -> None:
    items = [{"role": "user", "content": "hi"}, {**CALLED}, {**OUTPUT}]

    turn = turn_of(read(input=items))

    assert turn.id == "resp_1"
    assert turn.store is True
    assert turn.input[0]["content"] == [{"type": "input_text", "text": "hi"}]
    assert turn.input[1]["id"] == "fc_1"
    assert [item["type"] for item in turn.input] == ["message", "function_call", "function_call_output"]
    assert [item["id"].partition("_")[0] for item in turn.input] == ["msg", "fc", "fco"]
    assert turn_of(read(input=items)).input == turn.input


def test_turn_that_is_not_stored_has_no_items() -> None:
    turn = turn_of(read(store=False))

    assert (turn.store, turn.input, turn.previous, turn.conversation) == (False, [], None, None)


def test_history_precedes_the_input() -> None:
    call = read(input=[OUTPUT], previous_response_id="resp_0", instructions="Now.")
    history = [{"type": "message", "id": "msg_1", "role": "user", "content": "go"}, CALLED]

    whole = turn_of(call).complete(history)

    assert turn_of(call).previous == "resp_0"
    assert [message["role"] for message in whole.body["messages"]] == ["system", "user", "assistant", "tool"]
    assert whole.turn is call.turn
    assert [item["type"] for item in turn_of(whole).input] == ["function_call_output"]


def test_call_that_broke_off_is_not_continued() -> None:
    history = [{"type": "message", "role": "user", "content": "go"}, {**CALLED, "status": "incomplete"}]

    whole = turn_of(read(conversation="conv_1")).complete(history)

    assert whole.native is not None
    assert [item["role"] for item in json.loads(whole.native.raw)["input"]] == ["user", "user"]
    assert [message["role"] for message in whole.body["messages"]] == ["user", "user"]


def test_native_body_of_a_history_has_no_ids() -> None:
    call = read(input="hi", conversation={"id": "conv_1"}, store=False)
    history = [{"type": "message", "id": "msg_1", "role": "user", "content": "go"}, {"type": "mcp_call", "id": "m"}]

    native = turn_of(call).complete([history[0]]).native
    assert native is not None

    assert turn_of(call).conversation == "conv_1"
    assert json.loads(native.raw) == {
        "model": "auto",
        "store": False,
        "input": [
            {"type": "message", "role": "user", "content": "go"},
            {"type": "message", "role": "user", "content": "hi"},
        ],
    }


def test_tools_of_the_history_are_loaded() -> None:
    search = {"type": "tool_search", "execution": "client"}
    tool = {"type": "function", "name": "f", "defer_loading": True}
    call = read(tools=[search, tool], previous_response_id="resp_0")

    whole = turn_of(call).complete([{"type": "additional_tools", "tools": [tool]}])

    assert [each["function"]["name"] for each in call.body["tools"]] == ["tool_search"]
    assert [each["function"]["name"] for each in whole.body["tools"]] == ["tool_search", "f"]


def test_reference_is_replaced_by_the_stored_item() -> None:
    call = read(input=[{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "go on"}])
    turn = turn_of(call)
    turn.found["msg_1"] = {"type": "message", "id": "msg_1", "role": "user", "content": "go"}

    whole = turn.complete([])

    assert turn.references == ("msg_1",)
    assert [message["content"] for message in whole.body["messages"]] == ["go", "go on"]
    assert [item["type"] for item in turn.input] == ["message", "message"]


def test_unknown_reference_is_rejected() -> None:
    call = read(input=[{"type": "item_reference", "id": "msg_1"}])

    with pytest.raises(InvalidRequest, match="there is no stored item `msg_1`"):
        turn_of(call).complete([])


def test_carried_signature_keeps_its_family() -> None:
    sealed = seal(read(), "anthropic", {"reasoning_details": [SIGNED]})
    items = [{"role": "user", "content": "go"}, {"type": "reasoning", "encrypted_content": sealed}, CALLED, OUTPUT]

    call = read(input=items)

    assert call.body["messages"][1]["reasoning_details"] == [SIGNED]
    assert call.family == "anthropic"
    assert call.messages.replayed


def test_signature_of_another_tenant_is_dropped() -> None:
    sealed = seal(read(principal="other"), "anthropic", {"reasoning_details": [SIGNED]})
    items = [{"type": "reasoning", "encrypted_content": sealed}, CALLED, OUTPUT]

    call = read(input=items)

    assert "reasoning_details" not in call.body["messages"][0]
    assert call.family is None
    assert call.dropped == ("input.reasoning",)


def test_native_body_has_no_carriers() -> None:
    sealed = seal(read(), "anthropic", {"reasoning_details": [SIGNED]})
    items = [{"type": "reasoning", "summary": [], "encrypted_content": sealed}, CALLED, OUTPUT]

    native = read(input=items).native
    assert native is not None
    whole = turn_of(read(input=[OUTPUT], previous_response_id="resp_0")).complete(items[:2]).native
    assert whole is not None

    assert json.loads(native.raw)["input"] == [CALLED, OUTPUT]
    assert [item["type"] for item in json.loads(whole.raw)["input"]] == ["function_call", "function_call_output"]
    assert native.dropped == whole.dropped == ("input.reasoning",)


def test_half_surrogates_do_not_break_the_chat() -> None:
    call = read(b'{"model":"auto","input":"a\\ud800b","tools":[{"type":"function","name":"\\ud800"}]}')

    assert call.body["messages"] == [{"role": "user", "content": "a?b"}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
        ({"background": True, "store": False}, "background"),
        ({"router": {"mode": "x"}}, "router.mode"),
    ],
)
def test_invalid_request_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="`") as caught:
        read(**body)

    assert caught.value.param == param


def test_repeated_member_is_rejected() -> None:
    with pytest.raises(InvalidRequest, match="must be given once"):
        read(b'{"model":"auto","input":"a","input":"b"}')


def test_deep_nesting_is_rejected() -> None:
    schema = b'{"a":' * 125 + b"1" + b"}" * 125  # the chat's body has one level more

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        read(b'{"model":"auto","input":"a","tools":[{"type":"function","name":"f","parameters":' + schema + b"}]}")
