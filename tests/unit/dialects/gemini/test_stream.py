"""The decoder: commit, completeness, faults, usage."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import UNKNOWN_WINDOW, Usage
from proxy.dialects.gemini.usage import counts_of, usage_of
from tests.support.breaks import last_event
from tests.unit.dialects.gemini.build import array, chunk, decoder, deltas, events, read, sse, usage

FIRST = chunk({"text": "A"})
LAST = chunk({"text": "B"}, finish="STOP", **usage())
BUSY = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
PAGE = b"<html><body>502</body></html>"


def texts(raw: bytes, choice: int = 0) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(raw, choice))


@pytest.mark.parametrize("wire", [sse(FIRST, LAST), array(FIRST, LAST)])
def test_a_stream_has_openais_shape(wire: bytes) -> None:
    found = events(read(decoder(), [wire]))

    *chunks, counts, done = found
    assert done == "[DONE]"
    assert [item["choices"][0]["delta"].get("role") for item in chunks] == ["assistant", None, None]
    assert {(item["id"], item["model"], item["created"]) for item in [*chunks, counts]} == {
        ("chatcmpl-abc", "gemini-flash-001", chunks[0]["created"])
    }
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert (counts["choices"], counts["usage"]["total_tokens"]) == ([], 12)


def test_usage_is_only_sent_where_it_was_asked_for() -> None:
    reader = decoder(stream_options=None)

    out = read(reader, [sse(FIRST, LAST)])

    assert b"usage" not in out
    assert reader.usage == Usage(input=5, output=7)


def test_text_commits_and_the_finish_completes() -> None:
    reader = decoder()

    reader.feed(sse({"usageMetadata": {"trafficType": "ON_DEMAND"}}))
    before = (reader.committed, reader.complete)
    reader.feed(sse(FIRST))
    after = (reader.committed, reader.complete)
    reader.feed(sse(LAST))

    assert (before, after) == ((False, False), (True, False))
    assert (reader.committed, reader.complete, reader.closed) == (True, True, False)
    assert reader.finish().endswith(b"data: [DONE]\n\n")
    assert (reader.committed, reader.complete, reader.closed) == (True, True, True)


THOUGHT = chunk({"text": "Hm.", "thought": True})
STOP = chunk(finish="STOP", **usage(5, 1))
CALL = {"functionCall": {"name": "f", "args": {}}}


@pytest.mark.parametrize("stream_form", [sse, array])
@pytest.mark.parametrize(
    ("values", "text", "finish"),
    [
        ([THOUGHT, STOP, FIRST, LAST], "AB", "stop"),
        ([THOUGHT, STOP, LAST], "B", "stop"),
        ([FIRST, LAST, chunk({"text": "C"})], "ABC", "stop"),
        ([FIRST, STOP, STOP], "A", "stop"),
        ([FIRST, STOP, chunk({"text": "C"}, finish="MAX_TOKENS")], "AC", "length"),
        ([FIRST, STOP, chunk(CALL, finish="STOP")], "A", "tool_calls"),
        ([FIRST, STOP, usage(5, 9)], "A", "stop"),
        ([STOP], "", "stop"),
    ],
)
def test_content_after_a_finish_is_delivered(stream_form: Any, values: Any, text: str, finish: str) -> None:
    reader = decoder()

    out = b"".join(reader.feed(stream_form(*values)[at : at + 7]) for at in range(0, len(stream_form(*values)), 7))
    out += reader.finish()

    assert texts(out) == text
    assert re.findall(rb'"finish_reason":"(\w+)"', out) == [finish.encode()]
    assert out.endswith(b"data: [DONE]\n\n")


def test_content_after_a_finish_makes_a_cut_a_fault() -> None:
    reader = decoder()
    reader.feed(sse(THOUGHT, STOP))
    whole = reader.complete

    reader.feed(sse(FIRST))
    reopened = reader.complete
    reader.feed(sse(chunk({"text": ""}, finish="STOP"), chunk({"text": ""})))

    assert (whole, reopened, reader.complete) == (True, False, True)


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "NO_IMAGE"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("parts", [[], [{"text": ""}]])
def test_an_empty_answer_of_a_failed_model_fails_over(word: str, stream: bool, parts: Any) -> None:
    value = {**chunk(*parts, **usage(5, 0)), "candidates": [{"finishReason": word, "finishMessage": "Bad call."}]}
    reader = decoder(stream=stream)

    with pytest.raises(UpstreamFailure) as caught:
        read(reader, [sse(value) if stream else json.dumps(value).encode()])

    assert (caught.value.kind, reader.committed, reader.complete) == (FailureKind.SERVER_ERROR, False, False)
    assert str(caught.value) == f"the upstream's answer is empty: the model ended with `{word}` (Bad call.)"


def test_a_failed_model_after_thoughts_breaks_the_stream() -> None:
    reader = decoder()
    reader.feed(sse(THOUGHT, chunk(finish="MALFORMED_FUNCTION_CALL", **usage())))

    with pytest.raises(UpstreamFailure) as caught:
        reader.finish()

    assert (caught.value.kind, reader.complete) == (FailureKind.BROKEN_STREAM, False)


@pytest.mark.parametrize("part", [{"text": "A"}, CALL])
def test_content_before_a_failed_finish_is_an_answer(part: Any) -> None:
    out = read(decoder(), [sse(chunk(part), chunk(finish="MALFORMED_FUNCTION_CALL", **usage()))])

    assert out.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("word", ["STOP", "OTHER", "MAX_TOKENS", "NEW_WORD"])
def test_any_other_empty_finish_is_an_answer(word: str) -> None:
    assert texts(read(decoder(), [sse(chunk(finish=word, **usage(5, 0)))])) == ""


def test_a_stop_in_every_chunk_does_not_end_the_answer() -> None:
    every = [chunk({"text": text}, finish="STOP", **usage()) for text in "ABC"]
    reader = decoder()

    begun = reader.feed(sse(*every))
    out = begun + reader.finish()

    assert b'finish_reason":"stop' not in begun
    assert texts(out) == "ABC"
    assert out.count(b'"finish_reason":"stop"') == 1


@pytest.mark.parametrize("late", [usage(0, 0), usage(0, 2), {"usageMetadata": {"totalTokenCount": 9}}])
def test_later_counts_of_nothing_change_nothing(late: dict[str, Any]) -> None:
    reader = decoder()
    first = chunk({"text": "A"}, **usage(1334, 2, thoughtsTokenCount=100, cachedContentTokenCount=1000))

    read(reader, [sse(first, chunk({"text": "B"}, finish="STOP", **late))])

    assert reader.usage == Usage(1334, 102, 1000, 0, 100)


def test_the_last_counts_hold() -> None:
    reader = decoder()
    first, last = chunk({"text": "A"}, **usage(5, 1)), chunk({"text": "B"}, finish="STOP", **usage(5, 9))

    read(reader, [sse(first, last)])

    assert reader.usage == Usage(input=5, output=9)


@pytest.mark.parametrize(
    ("counts", "made"),
    [
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 3,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 5,
                "cachedContentTokenCount": 4,
                "totalTokenCount": 20,
            },
            Usage(input=13, output=7, cached=4, reasoning=5),
        ),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, Usage(input=10)),
        ({"promptTokenCount": -1, "candidatesTokenCount": True, "thoughtsTokenCount": "x"}, None),
        ({"promptTokenCount": None, "candidatesTokenCount": True, "thoughtsTokenCount": "x"}, None),
        ({"promptTokenCount": 10, "candidatesTokenCount": 10**12}, Usage(10, UNKNOWN_WINDOW, source="clamped")),
        ({"trafficType": "ON_DEMAND"}, None),
        ({}, None),
        (None, None),
        (3, None),
    ],
)
def test_tokens_are_counted_as_openai_does(counts: Any, made: Usage | None) -> None:
    assert usage_of(counts_of(counts)) == made


@pytest.mark.parametrize("wire", [sse(FIRST), array(FIRST), sse(FIRST)[:-9], array(FIRST)[:-9]])
def test_an_end_without_a_finish_is_a_fault(wire: bytes) -> None:
    reader = decoder()

    with pytest.raises(UpstreamFailure) as caught:
        read(reader, [wire])

    assert not reader.complete
    assert caught.value.kind is (FailureKind.BROKEN_STREAM if reader.committed else FailureKind.MALFORMED)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "wire",
    [b"", b" \r\n", PAGE, b"{}", b"[]", b'{"status":"ok"}', b'{"candidates":[]}', json.dumps(LAST).encode()[:60]],
)
def test_what_is_no_answer_fails_over(wire: bytes, stream: bool) -> None:
    reader = decoder(stream=stream)

    with pytest.raises(UpstreamFailure) as caught:
        read(reader, [wire])

    assert caught.value.kind is FailureKind.MALFORMED
    assert not reader.committed


def test_text_before_a_fault_in_the_same_read_is_relayed() -> None:
    reader = decoder()

    with pytest.raises(UpstreamFailure) as caught:
        reader.feed(sse(FIRST) + b"data: {half\r\n\r\n")

    assert caught.value.kind is FailureKind.BROKEN_STREAM
    assert texts(caught.value.partial) == "A"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("wire", [sse(BUSY), array(BUSY), json.dumps(BUSY).encode()])
def test_an_error_before_any_content_is_a_failure_of_its_kind(wire: bytes, stream: bool) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        read(decoder(stream=stream), [wire])

    assert (caught.value.kind, caught.value.status) == (FailureKind.OVERLOADED, 503)
    assert str(caught.value) == "The model is overloaded."


@pytest.mark.parametrize(
    "error", [sse(BUSY), json.dumps(BUSY, indent=2).replace("\n", "\r\n").encode() + b"\r\n", sse(BUSY, LAST)]
)
def test_an_error_in_a_stream_that_has_begun_is_told_once(error: bytes) -> None:
    reader = decoder()

    out = read(reader, [sse(FIRST), error]) + last_event(reader.fault)

    told = [event["error"] for event in events(out) if isinstance(event, dict) and "error" in event]
    assert [(item["message"], item["type"], item["param"]) for item in told] == [
        ("The model is overloaded.", "server_error", None)
    ]
    assert reader.fault is not None
    assert (str(reader.fault), reader.closed, reader.complete) == ("The model is overloaded.", True, False)
    assert (texts(out), b"[DONE]" in out, b'"stop"' in out) == ("A", False, False)


def test_a_blocked_prompt_is_a_filtered_answer_without_text() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "m", **usage(5, 0)}

    whole = json.loads(read(decoder(stream=False), [json.dumps(blocked).encode()]))
    streamed = events(read(decoder(), [sse(blocked)]))

    assert (whole["choices"][0]["finish_reason"], whole["choices"][0]["message"]["content"]) == ("content_filter", "")
    assert streamed[-3]["choices"][0]["finish_reason"] == "content_filter"


def test_a_block_in_a_stream_that_has_begun_is_its_end() -> None:
    out = read(decoder(), [sse(FIRST, {"promptFeedback": {"blockReason": "OTHER"}})])

    assert (texts(out), b'"finish_reason":"content_filter"' in out) == ("A", True)


def test_several_candidates_become_choices() -> None:
    both = chunk({"text": "A"}, finish="STOP")
    both["candidates"] += chunk({"text": "X"}, finish="MAX_TOKENS", index=1)["candidates"]

    whole = json.loads(read(decoder(stream=False, n=2), [json.dumps(both).encode()]))
    streamed = read(decoder(n=2), [sse(both)])

    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in whole["choices"]] == [
        (0, "A", "stop"),
        (1, "X", "length"),
    ]
    assert (texts(streamed), texts(streamed, 1)) == ("A", "X")


def test_fewer_candidates_than_asked_for_end_well() -> None:
    reader = decoder(n=2)

    begun = reader.feed(sse(chunk({"text": "A"}, finish="STOP")))
    whole = reader.complete

    assert texts(begun + reader.finish()) == "A"
    assert (whole, reader.complete, reader.fault) == (False, True, None)


def test_a_candidate_without_a_finish_breaks_the_stream() -> None:
    both = chunk({"text": "A"}, finish="STOP")
    both["candidates"] += chunk({"text": "X"}, index=1)["candidates"]

    with pytest.raises(UpstreamFailure):
        read(decoder(n=2), [sse(both)])


def test_a_closed_array_may_have_fewer_candidates_than_asked_for() -> None:
    assert texts(read(decoder(n=2), [array(chunk({"text": "A"}, finish="STOP"))])) == "A"


def test_an_unspecified_finish_is_none() -> None:
    early = chunk({"text": "A"}, finish="FINISH_REASON_UNSPECIFIED")

    assert texts(read(decoder(), [sse(early, LAST)])) == "AB"
    with pytest.raises(UpstreamFailure):
        read(decoder(), [sse(early)])


def test_a_whole_answer_without_a_finish_has_none() -> None:
    answer = json.loads(read(decoder(stream=False), [json.dumps(FIRST).encode()]))

    assert answer["choices"][0]["finish_reason"] is None


def test_a_plain_answer_is_sent_only_when_complete() -> None:
    reader = decoder(stream=False)

    out = reader.feed(json.dumps(LAST).encode())

    assert (out, reader.committed) == (b"", False)
    assert json.loads(reader.finish())["object"] == "chat.completion"
    assert (reader.committed, reader.complete, reader.closed) == (True, True, True)


def test_a_plain_object_for_a_streamed_call_is_streamed() -> None:
    assert texts(read(decoder(), [json.dumps(LAST).encode()])) == "B"


def test_an_error_after_a_complete_answer_changes_nothing() -> None:
    reader = decoder()

    out = reader.feed(sse(FIRST, LAST)) + reader.feed(sse(BUSY)) + reader.feed(b"\x00garbage") + reader.finish()

    assert out.endswith(b"[DONE]\n\n")
    assert (texts(out), reader.fault) == ("AB", None)


def test_half_an_event_after_every_finish_does_no_harm() -> None:
    out = read(decoder(), [sse(chunk({"text": "A"}, finish="STOP")) + b"data: {half"])

    assert out.endswith(b"[DONE]\n\n")


def test_googles_own_word_for_the_end_is_told() -> None:
    reader = decoder(stream=False)
    read(reader, [json.dumps(chunk({"text": "A"}, finish="LANGUAGE")).encode()])

    assert getattr(reader, "native_finish", None) == "LANGUAGE"
