from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.carriers import Carried
from proxy.surfaces.responses.messages import Conversation, loaded_tools, read_items
from proxy.surfaces.responses.tools import ToolTable

USER = {"role": "user", "content": "hi"}
SIGNED = {"index": 0, "type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1"}


def read(*items: Any, whole: bool = True, sealed: dict[str, Carried] | None = None) -> Conversation:
    placed = [(f"input[{place}]", item) for place, item in enumerate(items)]
    return read_items(placed, ToolTable().chat_name, (sealed or {}).get, whole=whole)


def call(id: str, name: str = "f", **members: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": name, "arguments": "{}", **members}


def output(id: str, text: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": text}


def chat_call(id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id: str, text: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


def test_messages_keep_their_roles_and_contents() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]

    conversation = read(
        {"role": "system", "content": "s"},
        {"type": "message", "id": "msg_1", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "output_text", "text": "x"}], "phase": "commentary"},
        {"role": "user", "content": None},
    )

    assert conversation.messages == [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": ""},
    ]
    assert not conversation.dropped


def test_adjacent_items_of_the_assistant_are_one_message() -> None:
    conversation = read(
        USER,
        {"role": "assistant", "content": "I look."},
        call("c1"),
        {"type": "reasoning", "summary": [], "encrypted_content": "foreign"},
        call("c2", "g"),
        output("c2", "two"),
        output("c1", "one"),
        {"role": "assistant", "content": "It is four."},
    )

    assert conversation.messages == [
        USER,
        {"role": "assistant", "content": "I look.", "tool_calls": [chat_call("c1"), chat_call("c2", "g")]},
        result("c1", "one"),
        result("c2", "two"),
        {"role": "assistant", "content": "It is four."},
    ]
    assert list(conversation.dropped) == ["input.reasoning"]


def test_output_is_moved_behind_its_call() -> None:
    conversation = read(call("c1"), USER, output("c1"))

    assert conversation.messages == [
        {"role": "assistant", "content": None, "tool_calls": [chat_call("c1")]},
        result("c1"),
        USER,
    ]


@pytest.mark.parametrize("before", [[], [output("c1", "first")]], ids=["late", "again"])
def test_output_of_an_earlier_call_does_not_split_an_answer(before: list[Any]) -> None:
    said = {"role": "assistant", "content": "a"}

    conversation = read(call("c1"), *before, USER, said, output("c1"), said)

    assert [message["role"] for message in conversation.messages] == ["assistant", "tool", "user", "assistant"]
    assert conversation.messages[-1]["content"] == "a\n\na"


def test_equal_ids_of_calls_are_answered_in_order() -> None:
    conversation = read(call("c"), output("c", "one"), call("c"), output("c", "two"))

    assert [message["content"] for message in conversation.messages] == [None, "one", None, "two"]


def test_second_output_of_a_call_replaces_the_first() -> None:
    conversation = read(call("c"), output("c", "one"), output("c", "two"))

    assert conversation.messages[1:] == [result("c", "two")]


def test_refusal_and_several_texts_of_an_assistant() -> None:
    content = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}]

    conversation = read({"role": "assistant", "content": content}, {"role": "assistant", "content": "b"})

    assert conversation.messages == [{"role": "assistant", "content": "a\n\nb", "refusal": "no"}]


def test_custom_call_has_its_input_as_an_argument() -> None:
    item = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": 'a "b"', "namespace": "ns"}

    conversation = read(item, {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"})

    assert conversation.messages == [
        {"role": "assistant", "content": None, "tool_calls": [chat_call("c", "ns__patch", '{"input":"a \\"b\\""}')]},
        result("c", "ok"),
    ]


def test_search_of_the_client_is_a_call_that_finds_names() -> None:
    found = [{"type": "function", "name": "f"}, {"type": "namespace", "name": "n", "tools": [{"name": "g"}]}]
    search = {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {"q": 1}}

    conversation = read(search, {"type": "tool_search_output", "call_id": "c", "tools": found})

    assert conversation.messages == [
        {"role": "assistant", "content": None, "tool_calls": [chat_call("c", "tool_search", '{"q":1}')]},
        result("c", '{"tools":["f","n__g"]}'),
    ]


def test_search_of_the_server_only_loads_tools() -> None:
    tools = [{"type": "function", "name": "f"}]
    items = [
        {"type": "tool_search_call", "call_id": None, "arguments": {}},
        {"type": "tool_search_output", "call_id": None, "tools": tools},
        {"type": "additional_tools", "role": "developer", "tools": []},
        USER,
    ]

    loaded = list(loaded_tools((f"input[{place}]", item) for place, item in enumerate(items)))

    assert read(*items).messages == [USER]
    assert loaded == [("input[1].tools", tools), ("input[2].tools", [])]


@pytest.mark.parametrize(
    ("kind", "members", "name", "arguments"),
    [
        ("shell_call", {"action": {"commands": ["ls"]}}, "shell", '{"commands":["ls"]}'),
        ("apply_patch_call", {"operation": {"type": "delete_file"}}, "apply_patch", '{"type":"delete_file"}'),
        ("local_shell_call", {"action": {"command": ["ls"]}}, "local_shell", '{"command":["ls"]}'),
    ],
)
def test_hosted_call_with_an_output_is_a_call(kind: str, members: dict[str, Any], name: str, arguments: str) -> None:
    answer = {"type": f"{kind}_output", "call_id": "c", "output": [{"stdout": "x"}]}

    conversation = read({"type": kind, "call_id": "c", **members}, answer)

    assert conversation.messages == [
        {"role": "assistant", "content": None, "tool_calls": [chat_call("c", name, arguments)]},
        result("c", '[{"stdout":"x"}]'),
    ]


def test_screenshot_is_an_image() -> None:
    shot = {"type": "computer_screenshot", "image_url": "https://example.com/a.png"}

    conversation = read(
        {"type": "computer_call", "call_id": "c", "action": {"type": "screenshot"}},
        {"type": "computer_call_output", "call_id": "c", "output": shot},
    )

    assert conversation.messages[1]["content"] == [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    ]


def test_call_of_an_mcp_server_has_its_output() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "f", "arguments": "{}", "output": "x"}

    assert read(item).messages == [
        {"role": "assistant", "content": None, "tool_calls": [chat_call("mcp_1", "s__f")]},
        result("mcp_1", "x"),
    ]


def test_items_without_counterpart_are_dropped_and_named() -> None:
    conversation = read({"type": "web_search_call", "id": "ws"}, {"type": "new, kind"}, USER, {"type": "program"})

    assert conversation.messages == [USER]
    assert list(conversation.dropped) == ["input.web_search_call", "input.newkind", "input.program"]


def test_carried_reasoning_is_restored() -> None:
    sealed = {"e1": Carried("anthropic", "p", {"reasoning_details": [SIGNED]})}
    reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e1"}

    conversation = read(
        USER,
        reasoning,
        {"role": "assistant", "content": "a"},
        call("c"),
        {"role": "assistant", "content": "b"},
        output("c"),
        sealed=sealed,
    )

    expected = {"role": "assistant", "content": "ab", "tool_calls": [chat_call("c")], "reasoning_details": [SIGNED]}
    assert conversation.messages[1] == expected
    assert not conversation.dropped


def test_open_reasoning_is_reasoning_content() -> None:
    reasoning = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}

    conversation = read(reasoning, {"role": "assistant", "content": "a"})

    assert conversation.messages == [{"role": "assistant", "content": "a", "reasoning_content": "hm"}]


@pytest.mark.parametrize("members", [{"summary": [{"type": "summary_text", "text": "hm"}]}, {"encrypted_content": "x"}])
def test_reasoning_that_cannot_be_used_is_named(members: dict[str, Any]) -> None:
    conversation = read({"type": "reasoning", **members}, {"role": "assistant", "content": "a"})

    assert conversation.messages == [{"role": "assistant", "content": "a"}]
    assert list(conversation.dropped) == ["input.reasoning"]


def test_reasoning_without_an_answer_is_no_message() -> None:
    sealed = {"e1": Carried("anthropic", "p", {"reasoning_details": [SIGNED]})}

    conversation = read({"type": "reasoning", "encrypted_content": "e1"}, USER, sealed=sealed)

    assert conversation.messages == [USER]
    assert list(conversation.dropped) == ["input.reasoning"]


def test_image_of_the_model_belongs_to_its_message() -> None:
    conversation = read(
        USER,
        {"type": "image_generation_call", "id": "ig_1", "result": "AA=="},
        {"role": "assistant", "content": "Here."},
        {"type": "image_generation_call", "id": "ig_2", "result": None},
    )

    image = {"type": "image_url", "index": 0, "image_url": {"url": "data:image/png;base64,AA=="}}
    assert conversation.messages[1] == {"role": "assistant", "content": "Here.", "images": [image]}
    assert list(conversation.dropped) == ["input.image_generation_call"]


def test_compaction_is_a_summary_for_the_model() -> None:
    sealed = {"e1": Carried("openai", "", {"summary": "We met."})}

    conversation = read({"type": "compaction", "encrypted_content": "e1"}, USER, sealed=sealed)

    assert conversation.messages[0] == {"role": "user", "content": "Summary of the conversation so far:\n\nWe met."}


def test_foreign_compaction_is_dropped() -> None:
    conversation = read({"type": "compaction", "encrypted_content": "gAAA"}, USER)

    assert conversation.messages == [USER]
    assert list(conversation.dropped) == ["input.compaction"]


def test_only_its_own_provider_reads_an_image_by_id() -> None:
    parts = [{"type": "input_image", "file_id": "file-1"}]

    conversation = read({"role": "user", "content": parts})

    assert conversation.refused is not None
    assert conversation.refused.param == "input[0].content[0].file_id"


def test_trigger_of_a_compaction_before_other_items_is_refused() -> None:
    conversation = read(USER, {"type": "compaction_trigger"}, USER)

    assert conversation.refused is not None
    assert conversation.refused.param == "input[1]"


def test_output_may_have_its_call_in_the_history() -> None:
    conversation = read(output("c"), {"type": "item_reference", "id": "msg_1"}, USER, whole=False)

    assert conversation.messages == [USER]


@pytest.mark.parametrize(
    ("items", "param", "words"),
    [
        (["x"], "input[0]", "must be an object"),
        ([{}], "input[0].type", "must be a string"),
        ([{"type": 5}], "input[0].type", "must be a string"),
        ([{"role": "tool", "content": "x"}], "input[0].role", "must be `user`"),
        ([{"type": "message", "content": "x"}], "input[0].role", "must be `user`"),
        ([{"role": "user", "content": 5}], "input[0].content", "must be a string or a list"),
        ([{"role": "user", "content": ["x"]}], "input[0].content[0]", "must be an object"),
        ([{"role": "user", "content": [{"type": "video"}]}], "input[0].content[0].type", "must be `input_text`"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text", "must be a string"),
        ([{"role": "assistant", "content": [{"text": 5}]}], "input[0].content[0].text", "must be a string"),
        ([USER, {**call("c"), "call_id": ""}], "input[1].call_id", "must be a string"),
        ([{**call("c"), "name": None}], "input[0].name", "must be a string"),
        ([{"type": "custom_tool_call", "call_id": "c", "name": "f"}], "input[0].input", "must be a string"),
        ([{"type": "reasoning", "content": "x"}], "input[0].content", "list of parts"),
        ([call("c"), output("c", [{"type": "x"}])], "input[1].output[0].type", "must be"),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0].id", "no stored item `msg_1`"),
        ([output("c")], "input", r"`input\[0\].call_id`: no tool call found for function call output"),
        ([USER, call("c")], "input", r"`input\[1\]`: no tool output found for function call c"),
    ],
)
def test_malformed_item_is_named(items: list[Any], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        read(*items)

    assert caught.value.param == param
