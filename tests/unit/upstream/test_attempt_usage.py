"""A parameter that Signalbox adds never becomes the client's error: `stream_options` that an upstream refuses."""

from __future__ import annotations

import json
import logging

import pytest

from proxy.core.errors import ProxyError
from tests.support.calls import call, plan, record
from tests.support.fakes import Answer
from tests.unit.upstream.bench import (
    BODY,
    DONE,
    ROLE,
    STOP,
    STREAMED,
    TEXT,
    A,
    Bench,
    bench,
    on,
    outcomes,
    refusal,
    running,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
WHOLE = ROLE + TEXT + STOP + DONE
DETAIL = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]}
REFUSALS = [
    refusal(400, "Unrecognized request argument supplied: stream_options"),
    refusal(422, "Unknown field `include_usage`"),
    refusal(400, "no", param="stream_options"),
    refusal(400, "Stream options are not supported with this model."),
    Answer([json.dumps(DETAIL).encode()], 422),
    Answer([b"json: unknown field streamOptions"], 400),
    Answer([b'data: {"error": {"message": "stream_options is not allowed", "code": 400}}\n\n']),
]


def sent(b: Bench) -> list[bool]:
    """Of each request, whether it asks for usage."""
    return ["stream_options" in json.loads(request.content) for request in b.transport.requests]


@pytest.mark.parametrize("answer", REFUSALS)
async def test_refused_stream_options_are_left_out(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    b = bench({"a": [answer, STREAMED, STREAMED]})
    asked = call(json.dumps(ASKED).encode(), on=on(A))

    with caplog.at_level(logging.WARNING):
        first, made = await b.run(asked, plan(A))
        second, _ = await b.run(asked, plan(A))

    assert (first, second) == (WHOLE, WHOLE)
    assert sent(b) == [True, False, False]
    assert outcomes(made) == ["a bad_request", "a ok"]
    assert b.health.breaker_rows() == []
    assert len([each for each in caplog.records if "stream_options" in each.message]) == 1


@pytest.mark.parametrize("status", [500, 501])
async def test_a_5xx_that_names_stream_options_refuses_them_too(status: int) -> None:
    b = bench({"a": [refusal(status, "stream_options is not implemented"), STREAMED]})

    out, _ = await b.run(call(json.dumps(ASKED).encode(), on=on(A)), plan(A))

    assert out == WHOLE
    assert sent(b) == [True, False]


async def test_a_persistent_refusal_is_the_clients_and_not_remembered() -> None:
    echo = refusal(400, 'bad messages in {"stream_options": {}}')
    b = bench({"a": [echo, echo, STREAMED]})
    asked = call(json.dumps(ASKED).encode(), on=on(A))

    error, _ = await b.run(asked, plan(A))
    await b.run(asked, plan(A))

    assert isinstance(error, ProxyError)
    assert error.http_status == 400
    assert sent(b) == [True, False, True]


async def test_stream_options_of_the_client_are_its_own_matter() -> None:
    b = bench({"a": [REFUSALS[0]]})
    asked = call(json.dumps(ASKED | {"stream_options": {"include_usage": True}}).encode(), on=on(A))

    error, made = await b.run(asked, plan(A))

    assert isinstance(error, ProxyError)
    assert (error.http_status, len(made.attempts)) == (400, 1)


@pytest.mark.parametrize("status", [204, 205, 206, 226])
async def test_a_status_of_a_part_is_no_answer(status: int) -> None:
    b = bench({"a": [Answer([ROLE, TEXT, STOP, DONE], status)]})

    error, made = await b.run(call(json.dumps(ASKED).encode(), on=on(A)), plan(A))

    assert isinstance(error, ProxyError)
    assert outcomes(made) == ["a malformed"]


@pytest.mark.parametrize(
    ("stream", "label", "told"),
    [
        (False, "text/html", "application/json"),
        (False, "text/event-stream", "application/json"),
        (False, "application/json; charset=utf-8", "application/json; charset=utf-8"),
        (True, "application/json", "text/event-stream"),
        (True, "text/event-stream; charset=utf-8", "text/event-stream; charset=utf-8"),
    ],
)
async def test_an_answer_has_status_200_and_the_label_of_what_it_is(stream: bool, label: str, told: str) -> None:
    chunks = [ROLE, TEXT, STOP, DONE] if stream else [BODY]
    b = bench({"a": [Answer(chunks, 201, {"content-type": label})]})
    asked = call(json.dumps(ASKED | {"stream": stream}).encode(), on=on(A))

    async with running(b, asked, plan(A), record(asked, started=b.clock.now)) as reply:
        out = b"".join([chunk async for chunk in reply.chunks])

    assert (reply.status, reply.headers["content-type"], out) == (200, told, b"".join(chunks))
