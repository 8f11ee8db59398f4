"""The members of a response object."""

from __future__ import annotations

import json

from proxy.surfaces.responses.document import ResponseDocument, repeated, usage_of

REQUIRED = """id object created_at completed_at status incomplete_details model previous_response_id instructions output
error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty top_logprobs
temperature reasoning usage max_output_tokens max_tool_calls store background service_tier metadata safety_identifier
prompt_cache_key"""


def test_every_member_is_there() -> None:
    value = ResponseDocument("resp_1", 5, "m", {}).value()

    assert set(REQUIRED.split()) <= value.keys()
    assert [
        name for name in ("top_p", "temperature", "service_tier", "truncation", "store") if value[name] is None
    ] == []


def test_encoded_object_is_the_value() -> None:
    document = ResponseDocument("resp_1", 5, "m", {"instructions": "é", "tools": [{"type": "custom", "name": "p"}]})

    assert json.loads(document.encoded()) == document.value()
    document.status, document.service_tier = "completed", "flex"
    assert json.loads(document.encoded([{"id": "msg_1"}])) == document.value([{"id": "msg_1"}])


def test_request_is_repeated() -> None:
    request = {"temperature": 1, "metadata": {"a": "b"}, "reasoning": {"effort": "low"}, "max_output_tokens": 5}

    members = repeated(request)

    assert members["reasoning"] == {"effort": "low", "summary": None}
    assert [members[name] for name in ("temperature", "metadata", "max_output_tokens")] == [1, {"a": "b"}, 5]


def test_wrong_types_are_not_repeated() -> None:
    request = {"temperature": "hot", "metadata": [], "tools": {}, "text": [], "tool_choice": 5, "truncation": None}

    assert repeated(request) == repeated({})


def test_tools_have_all_their_members_but_secrets() -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "s", "authorization": "secret"}]

    assert repeated({"tools": tools})["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None},
        {"type": "mcp", "server_label": "s", "authorization": None},
    ]


def test_json_schema_format_has_all_its_members() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {}}

    assert repeated({"text": {"format": form}})["text"] == {"format": {**form, "description": None, "strict": False}}


def test_odd_usage_counts_as_nothing() -> None:
    usage = usage_of({"prompt_tokens": "9", "completion_tokens": -1, "prompt_tokens_details": []})

    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (0, 0, 0)
