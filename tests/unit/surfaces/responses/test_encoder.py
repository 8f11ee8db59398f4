"""Answers of the Responses API, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import RateLimited, UpstreamError
from proxy.core.usage import Usage
from proxy.surfaces.carriers import unseal
from proxy.surfaces.responses.encoder import StreamEncoder, WholeEncoder, encoder_of
from tests.support.calls import attempt, deployment, provider
from tests.support.responses import STARTED, Event, call_of, chunk, events_of, fold, record_of, verify

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
DONE = b"data: [DONE]\n\n"
FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def streamed(*chunks: bytes, request: dict[str, Any] | None = None) -> list[Event]:
    """The events for these chunks, a finish and the usage."""
    call = call_of({"stream": True, **(request or {})})
    encoder = encoder_of(call, record_of(call), native=False)
    assert encoder is not None
    out = b"".join(encoder.feed(data) for data in (*chunks, chunk(None, usage=USAGE), DONE))
    return events_of(out + encoder.finish())


def whole(message: dict[str, Any], finish: str = "stop", *, request: dict[str, Any] | None = None) -> Event:
    """The response object for a message."""
    call = call_of(request)
    encoder = encoder_of(call, record_of(call), native=False)
    assert encoder is not None
    completion = {"model": "small-1", "choices": [{"message": message, "finish_reason": finish}], "usage": USAGE}
    assert encoder.feed(json.dumps(completion).encode()) == b""
    response: Event = json.loads(encoder.finish())
    return response


def tool_call(index: int, **function: str) -> dict[str, Any]:
    id = {"id": f"call_{index}"} if "name" in function else {}
    return {"tool_calls": [{"index": index, **id, "function": function}]}


def test_text_has_openai_s_sequence_of_events() -> None:
    events = streamed(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop")
    )

    response = verify(events)
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert response["output"][0]["content"] == [
        {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    ]
    assert response["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 13,
    }


def test_response_has_the_ids_and_times_of_the_call() -> None:
    response = verify(streamed(chunk({"content": "Hello"}, "stop")))

    assert (response["id"], response["created_at"], response["completed_at"]) == ("resp_1", STARTED, STARTED)
    assert response["model"] == "small-1"
    assert response["output"][0]["id"] == "msg_100"


def test_reasoning_is_an_item_of_its_own_before_the_message() -> None:
    events = streamed(chunk({"reasoning_content": "hm"}), chunk({"reasoning": "m"}), chunk({"content": "Hi"}, "stop"))

    reasoning, message = verify(events)["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "hmm"}]
    assert message["content"][0]["text"] == "Hi"
    assert fold(events, "reasoning_summary_text") == "hmm"


def test_function_call_has_its_name_and_arguments() -> None:
    events = streamed(
        chunk(tool_call(0, name="look", arguments="")),
        chunk(tool_call(0, arguments='{"at":')),
        chunk(tool_call(0, arguments="1}")),
        chunk({}, "tool_calls"),
        request={"tools": [FUNCTION]},
    )

    [call] = verify(events)["output"]
    assert call == {
        "id": "fc_100",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_0",
        "name": "look",
        "arguments": '{"at":1}',
    }
    [done] = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert done["name"] == "look"


def test_parallel_calls_in_turns_stay_apart() -> None:
    events = streamed(
        chunk(tool_call(0, name="look", arguments='{"a"')),
        chunk(tool_call(1, name="look", arguments='{"b"')),
        chunk(tool_call(0, arguments=":1}")),
        chunk(tool_call(1, arguments=":2}"), "tool_calls"),
    )

    calls = verify(events)["output"]
    assert [call["arguments"] for call in calls] == ['{"a":1}', '{"b":2}']


def test_call_ends_when_the_next_one_begins() -> None:
    events = streamed(
        chunk(tool_call(0, name="look", arguments="{}")), chunk(tool_call(1, name="look", arguments="{}"), "tool_calls")
    )

    verify(events)
    kinds = [event["type"] for event in events if "output_item" in event["type"]]
    assert kinds == ["response.output_item.added", "response.output_item.done"] * 2


def test_calls_without_numbers_are_told_apart_by_their_ids() -> None:
    first = {"id": "a", "function": {"name": "look", "arguments": '{"n":1}'}}
    second = {"index": 0, "id": "b", "function": {"name": "look", "arguments": '{"n":2}'}}

    unnumbered = verify(streamed(chunk({"tool_calls": [first, {**second, "index": None}]}, "tool_calls")))["output"]
    zeros = verify(streamed(chunk({"tool_calls": [{**first, "index": 0}, second]}, "tool_calls")))["output"]

    for calls in (unnumbered, zeros):
        assert [(call["call_id"], call["arguments"]) for call in calls] == [("a", '{"n":1}'), ("b", '{"n":2}')]


def test_ids_of_calls_are_unique() -> None:
    call = {"id": "same", "type": "function", "function": {"name": "look", "arguments": "{}"}}

    response = whole({"content": None, "tool_calls": [call, call]}, "tool_calls")

    assert [item["call_id"] for item in response["output"]] == ["same", "call_101"]


def test_late_name_of_a_call_keeps_its_arguments() -> None:
    events = streamed(
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": '{"n"'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": ":1}"}}]}, "tool_calls"),
    )

    assert verify(events)["output"][0]["arguments"] == '{"n":1}'


def test_call_without_arguments_has_an_empty_object() -> None:
    events = streamed(chunk(tool_call(0, name="look", arguments=""), "tool_calls"))

    assert verify(events)["output"][0]["arguments"] == fold(events, "function_call_arguments") == "{}"


def test_namespace_and_custom_tools_come_back_as_declared() -> None:
    tools = [{"type": "namespace", "name": "team", "tools": [FUNCTION]}, {"type": "custom", "name": "patch"}]
    events = streamed(
        chunk(tool_call(0, name="team__look", arguments="{}")),
        chunk(tool_call(1, name="patch", arguments='{"input": "a\\n')),
        chunk(tool_call(1, arguments='\\u00e9"}'), "tool_calls"),
        request={"tools": tools},
    )

    look, patch = verify(events)["output"]
    assert (look["name"], look["namespace"]) == ("look", "team")
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "patch", "a\né")
    assert fold(events, "custom_tool_call_input") == "a\né"


def test_tool_search_has_its_arguments_as_an_object() -> None:
    events = streamed(
        chunk(tool_call(0, name="tool_search", arguments='{"query":"x"}'), "tool_calls"),
        request={"tools": [{"type": "tool_search", "execution": "client"}]},
    )

    [search] = verify(events)["output"]
    assert (search["type"], search["execution"], search["arguments"]) == ("tool_search_call", "client", {"query": "x"})


def test_refusal_is_a_part_of_its_own() -> None:
    events = streamed(chunk({"content": "Well"}), chunk({"refusal": "no"}, "stop"))

    [message] = verify(events)["output"]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert message["content"][1]["refusal"] == "no"


def test_text_behind_a_call_is_another_message() -> None:
    events = streamed(
        chunk({"content": "a"}), chunk(tool_call(0, name="look", arguments="{}")), chunk({"content": "b"}, "stop")
    )

    assert [item["type"] for item in verify(events)["output"]] == ["message", "function_call", "message"]


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_cut_answer_is_incomplete(finish: str, reason: str) -> None:
    events = streamed(chunk({"content": "Hel"}), chunk({}, finish))

    response = verify(events)
    assert events[-1]["type"] == "response.incomplete"
    assert response["incomplete_details"] == {"reason": reason}
    assert response["completed_at"] is None
    assert response["output"][0]["status"] == "incomplete"


def test_finish_error_is_a_failed_response_that_is_not_stored() -> None:
    call = call_of({"stream": True}, store=True)
    encoder = StreamEncoder(call, record_of(call), call.turn)

    out = encoder.feed(chunk({"content": "Hel"}, "error")) + encoder.finish()

    assert verify(events_of(out))["error"]["code"] == "server_error"
    assert call.turn is not None
    assert call.turn.document is None


def test_answer_without_a_finish_reason_is_stored_before_its_end() -> None:
    call = call_of({"stream": True}, store=True)
    encoder = StreamEncoder(call, record_of(call), call.turn)

    encoder.feed(chunk({"content": "Hel"}))
    encoder.feed(DONE)

    assert call.turn is not None
    assert call.turn.document is not None
    assert call.turn.document["status"] == "completed"
    assert call.turn.output[0]["content"][0]["text"] == "Hel"


def test_broken_stream_ends_with_a_failed_response() -> None:
    call = call_of({"stream": True})
    encoder = StreamEncoder(call, record_of(call), call.turn)

    out = encoder.feed(chunk({"content": "Hel"})) + encoder.fail(UpstreamError("It broke off."))

    response = verify(events_of(out))
    assert response["error"] == {"code": "server_error", "message": "It broke off."}
    assert response["output"][0]["status"] == "incomplete"
    assert "response.output_item.done" not in [event["type"] for event in events_of(out)]


def test_stream_that_fails_at_once_has_its_first_events() -> None:
    call = call_of({"stream": True})

    out = StreamEncoder(call, record_of(call), call.turn).fail(RateLimited("Slow down."))

    assert verify(events_of(out))["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}


def test_turn_has_the_answer_before_the_last_event() -> None:
    call = call_of({"stream": True}, store=True)
    encoder = StreamEncoder(call, record_of(call), call.turn)
    turn = call.turn
    assert turn is not None

    out = encoder.feed(chunk({"content": "Hello"}))
    assert turn.document is None
    out += encoder.feed(chunk({}, "stop") + chunk(None, usage=USAGE) + DONE)
    stored = turn.document

    response = verify(events_of(out + encoder.finish()))
    assert stored == response
    assert turn.output == response["output"]
    assert response["store"] is True


def test_whole_answer_has_the_items_of_a_stream() -> None:
    message = {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
    }

    response = whole(message, "tool_calls")

    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call"]
    assert (response["status"], response["model"], response["usage"]["total_tokens"]) == ("completed", "small-1", 13)


def test_whole_answer_does_not_depend_on_its_pieces() -> None:
    call = call_of()
    encoder = WholeEncoder(call, record_of(call), call.turn)

    for byte in b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}':
        assert encoder.feed(bytes([byte])) == b""

    assert json.loads(encoder.finish())["output"][0]["content"][0]["text"] == "Hi"


def test_empty_answer_has_an_empty_message() -> None:
    assert whole({"content": ""})["output"][0]["content"][0]["text"] == ""


def test_usage_that_only_the_proxy_knows_is_reported() -> None:
    call = call_of()
    row = record_of(call)
    row.attempts.append(attempt(usage=Usage(7, 2, reasoning=1)))
    encoder = WholeEncoder(call, row, call.turn)
    encoder.feed(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')

    usage = json.loads(encoder.finish())["usage"]

    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 2)
    assert usage["output_tokens_details"] == {"reasoning_tokens": 1}


def test_signature_of_reasoning_is_sealed_in_its_item() -> None:
    detail = {"type": "reasoning.text", "text": "hm", "signature": "SIGNED", "format": "anthropic-claude-v1"}
    call = call_of({"stream": True})
    encoder = StreamEncoder(call, record_of(call), call.turn)

    out = encoder.feed(chunk({"reasoning_content": "hm"}) + chunk({"reasoning_details": [detail]}))
    out += encoder.feed(chunk({"content": "Hi"}, "stop")) + encoder.finish()

    reasoning, _ = verify(events_of(out))["output"]
    carried = unseal(call.snapshot, call.principal, reasoning["encrypted_content"])
    assert carried is not None
    assert (carried.family, carried.members) == ("anthropic", {"reasoning_details": [detail]})
    assert reasoning["summary"][0]["text"] == "hm"


def test_fragments_of_reasoning_details_are_one_carrier() -> None:
    def details(text: str) -> dict[str, Any]:
        return {"reasoning": text, "reasoning_details": [{"type": "reasoning.text", "text": text, "index": 0}]}

    call = call_of({"stream": True})
    encoder = StreamEncoder(call, record_of(call), call.turn)
    out = encoder.feed(chunk(details("h")) + chunk(details("m")) + chunk({"content": "Hi"}, "stop")) + encoder.finish()

    reasoning, _ = verify(events_of(out))["output"]
    carried = unseal(call.snapshot, call.principal, reasoning["encrypted_content"])
    assert carried is not None
    assert [entry["text"] for entry in carried.members["reasoning_details"]] == ["hm"]


def test_signature_of_a_call_is_an_item_before_the_call() -> None:
    extra = {"google": {"thought_signature": "SIGNED"}}
    entry = {"index": 0, "id": "a", "extra_content": extra, "function": {"name": "look", "arguments": "{}"}}

    reasoning, call = verify(streamed(chunk({"tool_calls": [entry]}, "tool_calls")))["output"]

    assert (reasoning["type"], reasoning["summary"], call["type"]) == ("reasoning", [], "function_call")
    assert reasoning["encrypted_content"].startswith("sbx1.")


def test_reasoning_without_a_signature_is_sealed_too() -> None:
    call = call_of({"stream": True})
    encoder = StreamEncoder(call, record_of(call), call.turn)
    out = encoder.feed(chunk({"reasoning": "hm"}) + chunk({"content": "Hi"}, "stop")) + encoder.finish()

    carried = unseal(call.snapshot, call.principal, verify(events_of(out))["output"][0]["encrypted_content"])

    assert carried is not None
    assert (carried.family, carried.members) == ("openai", {"reasoning": "hm"})


def test_reasoning_of_targets_with_signatures_is_not_sealed_without_one() -> None:
    call = call_of({"stream": True})
    row = record_of(call)
    row.chosen = deployment(of=provider("claude", dialect="anthropic"))
    encoder = StreamEncoder(call, row, call.turn)

    out = encoder.feed(chunk({"reasoning_content": "hm"}) + chunk({"content": "Hi"}, "stop")) + encoder.finish()

    assert "encrypted_content" not in verify(events_of(out))["output"][0]


def test_log_probabilities_are_in_deltas_and_in_the_part() -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "Ho", "logprob": -1}]}
    whole_token = {
        "token": "Hi",
        "logprob": -0.5,
        "bytes": [72, 105],
        "top_logprobs": [{"token": "Ho", "logprob": -1, "bytes": [72, 111]}],
    }
    choice = {"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [token]}, "finish_reason": "stop"}

    events = streamed(chunk(None, choices=[choice]))

    [delta] = [event for event in events if event["type"] == "response.output_text.delta"]
    assert delta["logprobs"] == [whole_token]
    assert verify(events)["output"][0]["content"][0]["logprobs"] == [whole_token]


def test_citations_are_annotations() -> None:
    note = {
        "type": "url_citation",
        "url_citation": {"url": "https://a.test", "title": "A", "start_index": 1, "end_index": 2},
    }

    events = streamed(chunk({"content": "Hi"}), chunk({"content": "", "annotations": [note]}, "stop"))

    cited = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 1, "end_index": 2}
    assert verify(events)["output"][0]["content"][0]["annotations"] == [cited]
    assert cited in [event.get("annotation") for event in events]


def test_image_is_an_item() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    [item] = verify(streamed(chunk({"content": "", "images": [image]}, "stop")))["output"]

    assert (item["type"], item["status"], item["result"]) == ("image_generation_call", "completed", "AAAA")


def test_image_without_other_members_is_not_lost() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.test/i.png"}}

    [message, item] = verify(streamed(chunk({"content": "Look"}), chunk({"images": [image]}, "stop")))["output"]

    assert (message["type"], item["result"]) == ("message", "https://a.test/i.png")


def test_content_after_the_finish_is_an_item_of_the_turn() -> None:
    call = call_of({"stream": True}, store=True)
    encoder = StreamEncoder(call, record_of(call), call.turn)
    assert call.turn is not None

    out = encoder.feed(chunk({"content": "a"}, "length") + chunk({"content": "b"}, "stop"))
    stored = call.turn.document

    response = verify(events_of(out + encoder.finish()))
    assert stored == response
    assert [item["content"][0]["text"] for item in response["output"]] == ["a", "b"]
    assert response["status"] == "incomplete"


def test_older_form_of_a_call_is_a_call() -> None:
    events = streamed(
        chunk({"function_call": {"name": "look", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}, "function_call"),
    )

    [call] = verify(events)["output"]
    assert (call["name"], call["arguments"], call["call_id"]) == ("look", "{}", "call_100")


def test_content_of_parts_is_text_and_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]

    reasoning, message = whole({"content": parts})["output"]

    assert (reasoning["summary"][0]["text"], message["content"][0]["text"]) == ("hm", "Hi")


def test_debug_adds_the_decision_record() -> None:
    call = call_of({"stream": True})
    call.options = type(call.options)(debug=True)
    encoder = StreamEncoder(call, record_of(call), call.turn)

    out = encoder.feed(chunk({"content": "Hi"}, "stop")) + encoder.finish()

    assert "attempts" in verify(events_of(out))["router"]


SEARCHED = {"web_searches": [{"queries": ["rain", "rain today"], "pages": ["https://a.test"]}]}


def test_search_is_an_item_with_its_events() -> None:
    events = streamed(chunk(SEARCHED), chunk({"content": "Rain."}, "stop"))

    response = verify(events)
    search = response["output"][0]
    assert (search["type"], search["status"]) == ("web_search_call", "completed")
    assert search["action"] == {"type": "search", "query": "rain", "queries": ["rain", "rain today"]}
    assert [event["type"].removeprefix("response.") for event in events[2:7]] == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "output_item.done",
    ]
    assert [item["type"] for item in response["output"]] == ["web_search_call", "message"]


def test_search_has_its_sources_if_they_are_included() -> None:
    response = whole({"content": "Rain.", **SEARCHED}, request={"include": ["web_search_call.action.sources"]})

    assert [item["type"] for item in response["output"]] == ["web_search_call", "message"]
    assert response["output"][0]["action"]["sources"] == [{"type": "url", "url": "https://a.test"}]


def test_failed_search_is_failed() -> None:
    events = streamed(chunk({"web_searches": [{"queries": 3, "pages": None}]}), chunk({"content": "No."}, "stop"))

    search = verify(events)["output"][0]
    assert (search["status"], search["action"]) == ("failed", {"type": "search", "query": "", "queries": []})
    assert "response.web_search_call.completed" not in [event["type"] for event in events]
