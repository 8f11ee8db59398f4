"""Estimated usage of answers that broke off, that a client left, or whose upstream reports none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.plan import Plan
from proxy.core.usage import Usage
from proxy.upstream.estimated import estimated_usage
from tests.support.calls import call, plan, record
from tests.support.fakes import Answer
from tests.unit.upstream.bench import CUT, DONE, OK, ROLE, STOP, TEXT, A, bench, on, running

PLAN: Plan = plan(A)
STREAM = b'{"model":"a/m","messages":[{"role":"user","content":"Hello"}],"stream":true}'
WORDS = " several words at once, as some providers send them"


def asked(*, stream: bool = False, **fields: Any) -> Call:
    return replace(call(STREAM, on=on(A)), stream=stream, **fields)


def event(text: str, name: str = "content") -> bytes:
    chunk = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def estimate(events: list[bytes], *, first: int = 2, reported: Usage | None = None) -> Usage | None:
    """The estimate of a stream whose first events were held."""
    later = events[first:]
    of = asked(stream=True)
    return estimated_usage(of, PLAN, reported, b"".join(events[:first]), len(b"".join(later)), len(later))


def test_every_event_has_a_token() -> None:
    usage = estimate([event(""), *[event(" a")] * 99])

    assert usage is not None
    assert (usage.output, usage.source) == (100, "estimated")


@pytest.mark.parametrize(("n", "output"), [(None, 7), (2, 14), (True, 7)])
def test_an_answer_has_no_more_tokens_than_the_request_allows(n: Any, output: int) -> None:
    body = {"messages": [], "n": n}

    usage = estimated_usage(asked(stream=True, body=body), PLAN, None, event(""), 9_000, 99, ceiling=7)
    assert usage is not None
    assert usage.output == output


@pytest.mark.parametrize("name", ["content", "reasoning_content", "refusal"])
def test_four_bytes_of_text_are_a_token(name: str) -> None:
    usage = estimate([event("", name), *[event(WORDS, name)] * 20])

    assert usage is not None
    assert usage.output == 20 * len(WORDS) // 4


def test_the_input_is_estimated_from_the_request() -> None:
    usage = estimate([event("Hi")], first=1)

    assert usage is not None
    assert usage.input > 0


def test_an_input_that_has_been_counted_is_used() -> None:
    counted = plan(A)
    counted.count_input = lambda: 77
    assert counted.input_tokens == 77

    usage = estimated_usage(asked(stream=True), counted, None, event("Hi"), 0, 0)
    assert usage == Usage(77, 1, source="estimated")


def test_counts_that_grow_with_the_answer_are_kept() -> None:
    events = [event(""), *[event(" a")] * 9]

    assert estimate(events, reported=Usage(5, 8, cached=3)) == Usage(5, 8, cached=3, source="estimated")
    assert estimate(events, reported=Usage(5, 1, cached=3)) == Usage(5, 10, cached=3, source="estimated")


def test_a_whole_answer_is_read() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x" * 40}}, {"message": {"content": "y" * 60}}]}).encode()

    usage = estimated_usage(asked(), PLAN, None, body, 0, 0)
    assert usage is not None
    assert usage.output == 25


def test_embeddings_have_no_output() -> None:
    usage = estimated_usage(asked(kind="embedding"), PLAN, None, b'{"data": []}', 0, 0)

    assert usage is not None
    assert (usage.output, usage.source) == (0, "estimated")


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_images_and_audio_are_not_estimated(kind: Any) -> None:
    assert estimated_usage(asked(kind=kind), PLAN, None, b"RIFF", 0, 0) is None


@pytest.mark.parametrize("first", [b"", b": comment\n\n", b"data: [1]\n\n", b"data: {}\n\n", b"\xff\xfe"])
def test_any_bytes_can_be_estimated(first: bytes) -> None:
    usage = estimated_usage(asked(stream=True), PLAN, None, first, 100, 1)

    assert usage is not None
    assert usage.output >= 1


async def test_a_stream_that_breaks_off_is_estimated() -> None:
    b = bench({"a": [Answer([ROLE, TEXT, TEXT, TEXT, CUT])]})

    _, made = await b.run(asked(stream=True), plan(A))

    usage = made.attempts[0].usage
    assert usage is not None
    assert (usage.output, usage.source) == (4, "estimated")


async def test_a_complete_stream_without_usage_is_estimated() -> None:
    b = bench({"a": [Answer([ROLE, TEXT, STOP, DONE])]})

    _, made = await b.run(asked(stream=True), plan(A))

    usage = made.attempts[0].usage
    assert usage is not None
    assert (usage.output, usage.source) == (4, "estimated")  # one for each event


async def test_a_stream_that_the_client_leaves_is_estimated() -> None:
    b = bench({"a": [Answer([ROLE, TEXT, TEXT, TEXT, STOP, DONE])]})
    of, planned = asked(stream=True), plan(A)
    made = record(of, started=b.clock.now)
    async with running(b, of, planned, made) as reply:
        await anext(reply.chunks)
        await anext(reply.chunks)

    entry = made.attempts[0]
    assert entry.outcome == "cancelled"
    assert entry.usage is not None
    assert entry.usage.source == "estimated"
    assert entry.usage.output >= 2


async def test_reported_usage_is_not_estimated() -> None:
    b = bench({"a": [OK]})

    _, made = await b.run(asked(), plan(A))

    assert made.attempts[0].usage == Usage(2, 1)
