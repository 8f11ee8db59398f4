"""A streamed answer: whole events to the byte, its commit point, and its honest end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import Usage
from proxy.dialects.openai import stream as openai_stream
from proxy.dialects.openai.stream import StreamDecoder

DONE = b"data: [DONE]\n\n"


def event(value: Any, end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(value).encode() + end


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    return event({"choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **more})


ROLE = chunk({"role": "assistant", "content": ""})
TEXT = chunk({"content": "Hi"})
STOP = chunk(finish="stop")
USAGE = event({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}})
ERROR = event({"error": {"message": "overloaded", "type": "server_error"}})


def decoder(choices: int = 1, *, drop_usage: bool = False) -> StreamDecoder:
    return StreamDecoder(choices=choices, drop_usage=drop_usage)


@pytest.mark.parametrize("end", [DONE, b"", b"data: [DONE]\r\n\r\n", b"data: [DONE]", b": bye\n\n" + DONE + b"\n"])
def test_a_whole_answer_comes_out_to_the_byte(end: bytes) -> None:
    wire = b": hello\n\n" + ROLE + b"event: x\r\nid: 7\r\n" + TEXT + STOP + USAGE + end
    stream = decoder()

    out = stream.feed(wire) + stream.finish()

    assert out == wire
    assert stream.complete
    assert stream.usage == Usage(2, 3)


def test_empty_lines_pass_to_the_byte_until_done() -> None:
    wire = ROLE + b"\n" * 1000 + TEXT + b"\r\n" * 1000 + STOP + DONE
    stream = decoder()

    out = stream.feed(wire + b"\n\n\r\n\r\n") + stream.finish()

    assert out == wire


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"content": " "},
        {"content": [{"type": "text", "text": "x"}]},
        {"reasoning": "x"},
        {"reasoning_content": "x"},
        {"reasoning_details": [{"text": "x"}]},
        {"tool_calls": [{"index": 0}]},
        {"function_call": {"name": "f"}},
        {"refusal": "no"},
        {"audio": {"id": "a"}},
        {"images": [{"image_url": {}}]},
    ],
)
def test_content_of_any_kind_commits(delta: dict[str, Any]) -> None:
    stream = decoder()

    stream.feed(ROLE)
    assert not stream.committed
    stream.feed(chunk(delta))

    assert stream.committed
    assert not stream.complete


@pytest.mark.parametrize(
    "wire",
    [
        b": keep-alive\n\n",
        ROLE,
        chunk({"content": None, "tool_calls": [], "refusal": ""}),
        event({"choices": [], "prompt_filter_results": []}),
        event({"choices": [{"index": 0, "delta": None}]}),
        event({"choices": [1, None]}),
        event({"choices": None, "usage": None}),
        USAGE,
        b"data:\n\n",
        b"data: \n\n",
        b"\n\n",
        b"event: ping\n\n",
    ],
)
def test_what_says_nothing_does_not_commit_and_passes(wire: bytes) -> None:
    stream = decoder()

    assert stream.feed(wire) == wire
    assert not stream.committed
    assert not stream.complete


def test_a_finish_alone_commits_and_completes() -> None:
    stream = decoder()

    stream.feed(STOP)

    assert stream.committed
    assert stream.complete
    assert not stream.closed


def test_done_closes() -> None:
    stream = decoder()

    stream.feed(TEXT + DONE)

    assert stream.complete
    assert stream.closed


def test_every_choice_needs_its_finish() -> None:
    stream = decoder(choices=2)

    stream.feed(chunk({"content": "a"}, index=0) + chunk({"content": "b"}, index=1) + STOP)
    assert not stream.complete
    stream.feed(chunk(finish="length", index=1))

    assert stream.complete


def test_a_choice_that_nobody_asked_for_must_finish_as_well() -> None:
    stream = decoder(choices=1)

    stream.feed(chunk({"content": "a"}, index=0) + chunk({"content": "b"}, index=1) + STOP)

    assert not stream.complete


def test_a_role_after_its_finish_does_not_open_a_choice_again() -> None:
    stream = decoder()

    stream.feed(TEXT + STOP + ROLE)

    assert stream.complete


def test_content_after_its_finish_makes_a_cut_a_fault() -> None:
    stream = decoder()

    out = stream.feed(TEXT + STOP + TEXT)
    reopened = stream.complete
    out += stream.finish()

    assert out == TEXT + STOP + TEXT
    assert (reopened, stream.complete) == (False, True)


@pytest.mark.parametrize("error", [ERROR, chunk(finish="stop", error={"code": 502, "message": "x"})])
@pytest.mark.parametrize("end", [DONE, b""])
def test_events_after_a_complete_answer_are_relayed(error: bytes, end: bytes) -> None:
    stream = decoder()

    out = stream.feed(TEXT + STOP + error + USAGE + end) + stream.finish()

    assert out == TEXT + STOP + error + USAGE + end
    assert (stream.fault, stream.complete, stream.usage) == (None, True, Usage(2, 3))


def test_an_error_before_the_last_finish_ends_the_stream() -> None:
    stream = decoder(choices=2)

    out = stream.feed(TEXT + STOP + ERROR + DONE)

    assert out == TEXT + STOP
    assert stream.fault is not None
    assert stream.fault.event == ERROR


def test_only_the_usage_chunk_with_empty_choices_is_taken_out() -> None:
    stream = decoder(drop_usage=True)
    last = chunk(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 1})
    empty = event({"choices": [], "usage": None})

    out = stream.feed(empty + TEXT + last + USAGE + DONE)

    assert out == empty + TEXT + last + DONE
    assert stream.usage == Usage(2, 3)


USAGE_AND = b'data: {"id": "a",  "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}, %s}\n\n'


@pytest.mark.parametrize(
    "member", [b'"citations": ["https://x.test"]', b'"search_results":[{"url": 1}]', b'"timings": {"n":1e2}']
)
def test_a_usage_chunk_keeps_its_other_members(member: bytes) -> None:
    stream = decoder(drop_usage=True)

    out = stream.feed(TEXT + STOP + USAGE_AND % member + DONE)

    assert out == TEXT + STOP + b'data: {"id": "a",  "choices": [], ' + member + b"}\n\n" + DONE
    assert stream.usage == Usage(2, 3)


@pytest.mark.parametrize(
    ("before", "member", "is_kept"),
    [
        ({"metrics": {"ms": 1}}, b'"metrics": {"ms": 2}', False),
        ({"citations": ["a"]}, b'"citations": ["a"]', False),
        ({"citations": ["a"]}, b'"citations": ["a", "b"]', True),
    ],
)
def test_what_every_chunk_has_does_not_keep_a_usage_chunk(before: Any, member: bytes, is_kept: bool) -> None:
    stream = decoder(drop_usage=True)
    stream.feed(TEXT)

    out = stream.feed(chunk(finish="stop", **before) + USAGE_AND % member)

    assert (member in out.removeprefix(chunk(finish="stop", **before))) is is_kept


@pytest.mark.parametrize("member", [b'"citations": []', b'"system_fingerprint": "fp"', b'"service_tier": null'])
def test_a_usage_chunk_without_more_is_taken_out(member: bytes) -> None:
    stream = decoder(drop_usage=True)

    assert stream.feed(TEXT + STOP + USAGE_AND % member + DONE) == TEXT + STOP + DONE


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": None}])
def test_empty_usage_that_only_we_asked_for_is_taken_out(usage: Any) -> None:
    stream = decoder(drop_usage=True)

    out = stream.feed(TEXT + STOP + event({"choices": [], "usage": usage}) + DONE)

    assert out == TEXT + STOP + DONE


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_usage_chunk_that_ends_the_body_is_taken_out_as_well(end: bytes) -> None:
    stream = decoder(drop_usage=True)
    stream.feed(TEXT + STOP)

    out = stream.feed(USAGE.rstrip() + end) + stream.finish()

    assert out == b""
    assert stream.usage == Usage(2, 3)


def test_a_last_event_without_its_empty_line_passes() -> None:
    stream = decoder()
    stream.feed(TEXT)

    assert stream.feed(STOP.rstrip()) == b""
    assert stream.finish() == STOP.rstrip()


def test_half_an_event_after_a_whole_answer_is_left_out() -> None:
    stream = decoder()
    stream.feed(TEXT + STOP)

    stream.feed(b'data: {"choices":[],"us')

    assert stream.finish() == b""


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"", "without a finish"),
        (ROLE, "without a finish"),
        (b": x\n\n", "without a finish"),
        (b"<html>Bad gateway</html>", "without a finish"),
        (b'{"choices":[{"message":{"content":"not a stream"}}]}', "without a finish"),
        (DONE, "is empty"),
        (ROLE + DONE, "is empty"),
        (b"data: {broken", "not JSON"),
    ],
)
def test_an_end_before_the_commit_point_is_malformed(wire: bytes, words: str) -> None:
    stream = decoder()
    stream.feed(wire)

    with pytest.raises(UpstreamFailure, match=words) as failed:
        stream.finish()

    assert failed.value.kind == FailureKind.MALFORMED


def test_an_end_without_a_finish_is_a_broken_stream() -> None:
    stream = decoder()
    stream.feed(TEXT)

    with pytest.raises(UpstreamFailure, match="without a finish") as failed:
        stream.finish()

    assert failed.value.kind == FailureKind.BROKEN_STREAM


@pytest.mark.parametrize("data", [b"{broken", b"[1]", b"null", b'"text"', b"[" * 100_000, b"\xff"])
def test_an_event_that_is_no_json_object_is_a_fault(data: bytes) -> None:
    stream = decoder()

    with pytest.raises(UpstreamFailure, match="not JSON|not a JSON object") as failed:
        stream.feed(ROLE + b"data: " + data + b"\n\n")

    assert failed.value.kind == FailureKind.MALFORMED
    assert failed.value.partial == b""


def test_whole_events_before_a_broken_one_are_relayed() -> None:
    stream = decoder()
    stream.feed(TEXT)

    with pytest.raises(UpstreamFailure) as failed:
        stream.feed(TEXT + b"data: {broken\n\n" + TEXT)

    assert failed.value.kind == FailureKind.BROKEN_STREAM
    assert failed.value.partial == TEXT


def test_an_error_before_the_commit_point_is_that_error() -> None:
    stream = decoder()

    with pytest.raises(UpstreamFailure, match="slow down") as failed:
        stream.feed(ROLE + event({"error": {"message": "slow down", "code": 429}}))

    assert failed.value.kind == FailureKind.RATE_LIMITED
    assert failed.value.partial == b""


def test_an_error_after_the_commit_point_is_relayed_last() -> None:
    stream = decoder()

    out = stream.feed(TEXT + ERROR + TEXT + DONE) + stream.finish()

    assert out == TEXT
    assert stream.closed
    assert not stream.complete
    assert stream.fault is not None
    assert stream.fault.event == ERROR
    assert stream.fault.kind == FailureKind.BROKEN_STREAM
    assert str(stream.fault) == "overloaded"


def test_an_error_without_its_empty_line_is_raised() -> None:
    stream = decoder()
    stream.feed(TEXT)
    stream.feed(ERROR.rstrip())

    with pytest.raises(UpstreamFailure, match="overloaded") as failed:
        stream.finish()

    assert failed.value.kind == FailureKind.BROKEN_STREAM


def test_a_stream_without_content_is_given_up() -> None:
    stream = decoder()
    filler = b": " + b"x" * (1024 * 1024) + b"\n\n"

    for _ in range(openai_stream.HELD_LIMIT // len(filler)):
        stream.feed(filler)
    with pytest.raises(UpstreamFailure, match="without any content") as failed:
        stream.feed(filler)

    assert failed.value.kind == FailureKind.MALFORMED


def test_an_event_without_end_is_given_up() -> None:
    stream = decoder()
    stream.feed(TEXT)

    for _ in range(8):
        stream.feed(b"x" * (1024 * 1024))
    with pytest.raises(UpstreamFailure, match="larger than") as failed:
        stream.feed(b"x")

    assert failed.value.kind == FailureKind.BROKEN_STREAM


# Errors in any shape: before the commit point a failure, after it the end, after a complete answer nothing.

ERRORS = [
    {"error": {"message": "broke", "code": 502}},
    {"error": "broke"},
    {"error": {"message": "broke"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]},
    {"choices": [{"index": 0, "delta": {"content": ""}, "error": {"message": "broke"}}]},
    {"choices": [{"index": 0, "delta": {}, "error": "broke", "finish_reason": "error"}]},
    {"object": "error", "message": "broke", "code": 500},
    {"type": "error", "message": "broke"},
    {"detail": "broke"},
    {"message": "broke", "code": 500},
]
FORMS: list[Callable[[str], str]] = ["data: {}\n\n".format, "event: error\ndata: {}\n\n".format, "{}\n\n".format]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", ERRORS)
def test_an_error_event_before_the_commit_point_is_a_failure(value: dict[str, Any], form: Callable[[str], str]) -> None:
    stream = decoder()

    with pytest.raises(UpstreamFailure, match="broke"):
        stream.feed(ROLE + form(json.dumps(value)).encode())
    assert not stream.committed


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", ERRORS)
def test_an_error_event_after_the_commit_point_ends_the_stream(
    value: dict[str, Any], form: Callable[[str], str]
) -> None:
    stream = decoder()
    stream.feed(TEXT)
    wire = form(json.dumps(value)).encode()

    try:
        out = stream.feed(wire + DONE)
        reported = stream.fault
    except UpstreamFailure as failure:
        out, reported = failure.partial, failure

    assert reported is not None
    assert (reported.kind, str(reported), stream.complete) == (FailureKind.BROKEN_STREAM, "broke", False)
    assert out == b""
    assert reported.event == (wire if "error" in value and wire.startswith((b"data", b"event")) else b"")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", ERRORS)
def test_a_complete_answer_passes_whatever_follows(value: dict[str, Any], form: Callable[[str], str]) -> None:
    stream = decoder()
    wire = form(json.dumps(value)).encode()

    out = stream.feed(TEXT + STOP + wire + DONE)

    assert (out + stream.finish(), stream.fault, stream.closed) == (TEXT + STOP + wire + DONE, None, True)


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [{"index": 0, "delta": {"content": "an error"}, "error": None}], "error": None},
        {"choices": [{"index": 0, "delta": {"content": "x"}}], "error": {}},
        {"choices": [], "usage": None, "error": ""},
        {"choices": [], "prompt_filter_results": []},
    ],
)
def test_an_event_whose_error_is_nothing_passes(value: dict[str, Any]) -> None:
    stream = decoder()
    wire = f"data: {json.dumps(value)}\n\n".encode()

    assert stream.feed(TEXT + wire) == TEXT + wire
    assert stream.fault is None


@pytest.mark.parametrize("late", [TEXT, ERROR, b": late\n\n", DONE, b"data: {\n\n", b"event: x\ndata: 1\n\n", USAGE])
def test_nothing_follows_done(late: bytes) -> None:
    stream = decoder()

    out = stream.feed(TEXT + STOP + DONE + late) + stream.feed(late) + stream.finish()

    assert out == TEXT + STOP + DONE
    assert (stream.complete, stream.fault) == (True, None)


@pytest.mark.parametrize(
    "late", [b"data: Internal Server Error\n\n", b"data: [1]\n\n", b"data: {\n\n", b'event: x\ndata: "x"\n\n', ERROR]
)
def test_done_follows_whatever_comes_after_a_finish(late: bytes) -> None:
    stream = decoder()

    out = stream.feed(TEXT + STOP + late) + stream.feed(DONE) + stream.finish()

    assert out == TEXT + STOP + late + DONE
    assert (stream.complete, stream.closed, stream.fault, stream.passed_error) == (True, True, None, True)


@pytest.mark.parametrize("late", [b'data: {"error": "%s"}\n\n', b"data: %s\n\n", b'{"error": "%s"}\n\n'])
def test_a_very_large_event_after_a_finish_is_dropped(late: bytes) -> None:
    stream = decoder()

    assert stream.feed(TEXT + STOP + late % (b"x" * 100_000) + DONE) == TEXT + STOP + DONE


def test_half_an_event_after_a_finish_is_dropped() -> None:
    stream = decoder()

    assert stream.feed(TEXT + STOP + ERROR[:-9]) + stream.finish() == TEXT + STOP
    assert stream.complete


def test_an_error_after_a_complete_answer_is_named() -> None:
    stream = decoder()

    stream.feed(TEXT + STOP)
    assert not stream.passed_error

    assert stream.feed(ERROR + DONE) == ERROR + DONE
    assert stream.passed_error
