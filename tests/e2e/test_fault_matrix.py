"""Every fault of an upstream at every point where it can strike, as the OpenAI SDK sees it through Signalbox.

Before the commit point a fault is unseen: the next target's whole text arrives, and nothing of the first one's. After
it the SDK raises. A short text that looks whole never arrives, and Signalbox's record agrees with the upstream's log.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from tests.support import upstreams
from tests.support.sdk import MESSAGES, completed, streamed
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, Script, Upstream, Wire, event, plain, raw, stream, words

SECRET = "sk-provider-0123456789abcdef"
GOOD = upstreams.text_of("good")
BAD = words("BAD")
HALF_EVENT = BAD[0][: len(BAD[0]) // 2]
HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
NOT_JSON = b"data: {this is not JSON}\n\n"
ERROR_EVENT = event(upstreams.error("injected in the stream"))
OVERLOADED = event(upstreams.error("Overloaded", kind="overloaded_error"))
RATE_LIMITED = event(upstreams.error("Slow down", kind="rate_limit_error", code="rate_limit_exceeded"))
ANSWER = json.dumps(upstreams.completion("BAD0 BAD1 BAD2 ")).encode()
ERROR_BODY = json.dumps(upstreams.error("injected in a 200")).encode()


def stalling(pace: str) -> dict[str, Any]:
    """A model whose one timeout is short."""
    return {"id": f"bad/{pace}", "timeouts": {pace: "250ms"}}


def configuration(url: str, nowhere: str) -> dict[str, Any]:
    """A provider that fails and one that does not; breakers that never open, since each test is its own story."""
    keys = [{"id": "main", "value": SECRET}]
    paces = ("fault", "first_token", "idle", "total", "total_stream")
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {
            "bad": {"base_url": url, "keys": keys},
            "nowhere": {"base_url": nowhere, "keys": keys},
            "good": {"base_url": url, "keys": keys},
        },
        "models": [
            {"id": "bad/fault"},
            {"id": "nowhere/fault"},
            *(stalling(pace) for pace in paces[1:4]),
            {"id": "bad/total_stream", "timeouts": {"total": "2s"}},  # long enough for the first words to arrive
            {"id": "good/good"},
        ],
        "routing": {
            "scenarios": {
                **{pace: [f"bad/{pace}", "good/good"] for pace in paces},
                "nowhere": ["nowhere/fault", "good/good"],
            }
        },
        "resilience": without_breakers(),
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        nowhere = stack.enter_context(upstreams.refusing())
        config = configuration(module_upstream.url, nowhere)
        yield stack.enter_context(signalbox(config, tmp_path_factory.mktemp("box")))


@pytest.fixture
def upstream(module_upstream: Upstream, box: Running, http: httpx.Client) -> Upstream:
    """The module's, with nothing left in it, and no key of ours resting."""
    module_upstream.clear()
    module_upstream.keeps = False  # else the transport may send again what a kept connection lost
    http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
    return module_upstream


# What the first target does: the model (whose timeouts matter where it stalls), the script, and how often it is tried.
Fault = tuple[str, Script, int]

STATUSES: dict[str, Fault] = {
    "status 500": ("fault", upstreams.refuse(500), 2),
    "status 500 without a body": ("fault", plain(b"", 500), 2),
    "status 502 in HTML": ("fault", plain(HTML, 502, "text/html"), 2),
    "status 503": ("fault", upstreams.refuse(503), 2),
    "status 529": ("fault", upstreams.refuse(529), 2),
    "status 302": ("fault", plain(b"", 302, headers={"location": "http://127.0.0.1:9/"}), 2),
    "status 408": ("fault", upstreams.refuse(408), 1),
    "status 429": ("fault", upstreams.refuse(429, headers={"retry-after": "7"}), 1),
    "status 401": ("fault", upstreams.refuse(401, f"Incorrect API key provided: {SECRET}."), 1),
    "status 403": ("fault", upstreams.refuse(403, f"Key {SECRET} may not."), 1),
    "status 404": ("fault", upstreams.refuse(404, code="model_not_found"), 1),
}
UNANSWERED: dict[str, Fault] = {
    "dropped": ("fault", upstreams.drop, 2),
    "reset before the head": ("fault", upstreams.reset, 2),
    "head cut off": ("fault", raw(b"HTTP/1.1 200 OK\r\ncontent-ty"), 2),
    "head reset": ("fault", raw(b"HTTP/1.1 200 OK\r\ncontent-ty", Wire.reset), 2),
    "no HTTP": ("fault", raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), 2),
}
NO_ANSWER: dict[str, Fault] = {
    "empty body": ("fault", plain(b""), 1),
    "empty chunked body": ("fault", stream([]), 1),
    "HTML in a 200": ("fault", plain(HTML, content_type="text/html"), 1),
    "JSON error in a 200": ("fault", plain(ERROR_BODY), 2),
    "JSON without an answer": ("fault", plain(b'{"status":"ok"}'), 1),
    "half a JSON text": ("fault", plain(ANSWER[:80]), 1),
    "unknown encoding": ("fault", plain(b"\x28\xb5\x2f\xfd", headers={"content-encoding": "zstd"}), 1),
    "gzip that is none": ("fault", plain(ANSWER, headers={"content-encoding": "gzip"}), 1),
    "gzip cut off": ("fault", plain(gzip.compress(ANSWER)[:60], headers={"content-encoding": "gzip"}), 1),
}
BROKEN_BODY: dict[str, Fault] = {
    "body reset": ("fault", plain(ANSWER[:80], missing=900, then=Wire.reset), 2),
    "body shorter than its length": ("fault", plain(ANSWER[:80], missing=900, then=Wire.eof), 2),
    "whole text in an unmet length": ("fault", plain(ANSWER, missing=9, then=Wire.eof), 2),
    "chunked body without its end": ("fault", stream([ANSWER], Wire.eof), 2),
    "no choices": ("fault", plain(b'{"id":"x","object":"chat.completion","choices":[]}'), 1),
    "stall before the head": ("total", upstreams.stall, 1),
    "stall in the body": ("total", plain(ANSWER[:80], missing=900, then=Wire.stall), 1),
}
BEFORE_CONTENT: dict[str, Fault] = {
    "stall before the head": ("first_token", upstreams.stall, 1),
    "stall after the head": ("first_token", stream([], Wire.stall), 1),
    "stall after the role": ("first_token", stream([ROLE], Wire.stall), 1),
    "stall within the first event": ("first_token", stream([ROLE, HALF_EVENT], Wire.stall), 1),
    "keep-alives for ever": ("first_token", upstreams.endless(b": keep-alive\n\n"), 1),
    "keep-alives after the role": ("first_token", upstreams.endless(b": keep-alive\n\n", [ROLE]), 1),
    "reset after the head": ("fault", stream([], Wire.reset), 2),
    "reset after the role": ("fault", stream([ROLE], Wire.reset), 2),
    "reset within the first event": ("fault", stream([ROLE, HALF_EVENT], Wire.reset), 2),
    "connection closed after the role": ("fault", stream([ROLE], Wire.eof), 2),
    "connection closed within the first event": ("fault", stream([ROLE, HALF_EVENT], Wire.eof), 2),
    "end after the role": ("fault", stream([ROLE]), 1),
    "end within the first event": ("fault", stream([ROLE, HALF_EVENT]), 1),
    "[DONE] and nothing else": ("fault", stream([DONE]), 1),
    "[DONE] after the role": ("fault", stream([ROLE, DONE]), 1),
    "error event first": ("fault", stream([ERROR_EVENT]), 2),
    "error event, then [DONE]": ("fault", stream([ERROR_EVENT, DONE]), 2),
    "error event after the role": ("fault", stream([ROLE, ERROR_EVENT]), 2),
    "overloaded event after the role": ("fault", stream([ROLE, OVERLOADED]), 2),
    "rate limit event after the role": ("fault", stream([ROLE, RATE_LIMITED]), 1),
    "error event, then a stall": ("fault", stream([ROLE, ERROR_EVENT], Wire.stall), 2),
    "malformed event first": ("fault", stream([NOT_JSON]), 1),
    "malformed event after the role": ("fault", stream([ROLE, NOT_JSON]), 1),
    "an event that is no object": ("fault", stream([ROLE, event(["BAD"])]), 1),
    "HTML after the role": ("fault", stream([ROLE, HTML]), 1),
    "bytes that are no chunks": ("fault", upstreams.then(stream([ROLE], upstreams.nothing), raw(b"zz\r\nBAD")), 2),
}
AFTER_CONTENT: dict[str, Fault] = {
    "reset": ("fault", stream([ROLE, *BAD], Wire.reset), 1),
    "reset within an event": ("fault", stream([ROLE, *BAD, HALF_EVENT], Wire.reset), 1),
    "connection closed": ("fault", stream([ROLE, *BAD], Wire.eof), 1),
    "connection closed within an event": ("fault", stream([ROLE, *BAD, HALF_EVENT], Wire.eof), 1),
    "end without a finish": ("fault", stream([ROLE, *BAD]), 1),
    "end within an event": ("fault", stream([ROLE, *BAD, HALF_EVENT]), 1),
    "stall": ("idle", stream([ROLE, *BAD], Wire.stall), 1),
    "stall within an event": ("idle", stream([ROLE, *BAD, HALF_EVENT], Wire.stall), 1),
    "keep-alives for ever": ("total_stream", upstreams.endless(b": keep-alive\n\n", [ROLE, *BAD]), 1),
    "error event": ("fault", stream([ROLE, *BAD, ERROR_EVENT]), 1),
    "error event, then [DONE]": ("fault", stream([ROLE, *BAD, ERROR_EVENT, DONE]), 1),
    "error event, then a stall": ("fault", stream([ROLE, *BAD, ERROR_EVENT], Wire.stall), 1),
    "error event, then a reset": ("fault", stream([ROLE, *BAD, ERROR_EVENT], Wire.reset), 1),
    "error event, then more text": ("fault", stream([ROLE, *BAD, ERROR_EVENT, *words("LATE"), FINISH, DONE]), 1),
    "malformed event": ("fault", stream([ROLE, *BAD, NOT_JSON, FINISH, DONE]), 1),
    "HTML": ("fault", stream([ROLE, *BAD, HTML]), 1),
    "all in one piece, then a reset": ("fault", stream([ROLE + b"".join(BAD)], Wire.reset), 1),
    "all in one piece, half an event at its end": ("fault", stream([ROLE + b"".join(BAD) + HALF_EVENT]), 1),
    "all in one piece, malformed in the middle": ("fault", stream([ROLE + b"".join(BAD) + NOT_JSON + DONE]), 1),
    "all in one piece, an error at its end": ("fault", stream([ROLE + b"".join(BAD) + ERROR_EVENT]), 1),
}
AFTER_FINISH: dict[str, Fault] = {
    "end without [DONE]": ("fault", stream([ROLE, *BAD, FINISH]), 1),
    "reset": ("fault", stream([ROLE, *BAD, FINISH], Wire.reset), 1),
    "connection closed": ("fault", stream([ROLE, *BAD, FINISH], Wire.eof), 1),
    "stall": ("idle", stream([ROLE, *BAD, FINISH], Wire.stall), 1),
    "reset after [DONE]": ("fault", stream([ROLE, *BAD, FINISH, DONE], Wire.reset), 1),
    "connection closed after [DONE]": ("fault", stream([ROLE, *BAD, FINISH, DONE], Wire.eof), 1),
    "hanging open after [DONE]": ("fault", stream([ROLE, *BAD, FINISH, DONE], Wire.stall), 1),
    "bytes after [DONE]": ("fault", stream([ROLE, *BAD, FINISH, DONE, b"\n: bye\n\n"]), 1),
    "half an event after the finish": ("fault", stream([ROLE, *BAD, FINISH, HALF_EVENT]), 1),
    "events labelled as JSON": (
        "fault",
        plain(ROLE + b"".join(BAD) + FINISH + DONE, content_type="application/json"),
        1,
    ),
    "events labelled as HTML": ("fault", plain(ROLE + b"".join(BAD) + FINISH + DONE, content_type="text/html"), 1),
    "[DONE] without its empty line": ("fault", stream([ROLE, *BAD, FINISH, DONE.strip()]), 1),
}


def cases(*tables: dict[str, Fault]) -> pytest.MarkDecorator:
    """Every fault once, under its name."""
    table = {name: fault for each in tables for name, fault in each.items()}
    return pytest.mark.parametrize(("model", "script", "tries"), table.values(), ids=table.keys())


@cases(STATUSES, UNANSWERED, NO_ANSWER, BEFORE_CONTENT)
def test_a_stream_fails_over_unseen_before_the_commit_point(
    sdk: openai.OpenAI, upstream: Upstream, access_log: Any, model: str, script: Script, tries: int
) -> None:
    upstream.script(model, script)
    seen: list[str] = []

    finish, headers = streamed(sdk, f"scenario/{model}", seen)

    assert ("".join(seen), finish) == (GOOD, "stop")
    assert upstream.models == [model] * tries + ["good"]
    assert headers["x-router-provider"] == "good"
    assert headers["x-router-attempts"] == str(tries + 1)
    assert_settled(access_log, upstream, "ok", 200)


@cases(STATUSES, UNANSWERED, NO_ANSWER, BROKEN_BODY)
def test_an_answer_that_is_not_streamed_fails_over_unseen(
    sdk: openai.OpenAI, upstream: Upstream, access_log: Any, model: str, script: Script, tries: int
) -> None:
    upstream.script(model, script)

    text, _, headers = completed(sdk, f"scenario/{model}")

    assert text == GOOD
    assert upstream.models == [model] * tries + ["good"]
    assert headers["x-router-attempts"] == str(tries + 1)
    assert_settled(access_log, upstream, "ok", 200)


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_a_target_that_refuses_connections_is_passed_over(
    sdk: openai.OpenAI, upstream: Upstream, access_log: Any, *, streams: bool
) -> None:
    seen: list[str] = []

    if streams:
        streamed(sdk, "scenario/nowhere", seen)
    else:
        seen = [completed(sdk, "scenario/nowhere")[0]]

    assert "".join(seen) == GOOD
    assert upstream.models == ["good"]
    assert [attempt["outcome"] for attempt in access_log.next()["attempts"]] == ["connect", "connect", "ok"]


@cases(AFTER_CONTENT)
def test_a_stream_that_breaks_after_the_commit_point_is_an_error(
    sdk: openai.OpenAI, upstream: Upstream, access_log: Any, model: str, script: Script, tries: int
) -> None:
    upstream.script(model, script)
    seen: list[str] = []

    with pytest.raises(openai.APIError) as raised:
        streamed(sdk, f"scenario/{model}", seen)

    assert raised.value.body is not None
    assert "".join(seen) == upstreams.text_of("BAD")
    assert upstream.models == [model] * tries
    assert_settled(access_log, upstream, "partial", 200)


@cases(AFTER_FINISH)
def test_an_answer_with_its_finish_is_complete(
    sdk: openai.OpenAI, upstream: Upstream, access_log: Any, model: str, script: Script, tries: int
) -> None:
    upstream.script(model, script)
    seen: list[str] = []

    finish, _ = streamed(sdk, f"scenario/{model}", seen)

    assert ("".join(seen), finish) == (upstreams.text_of("BAD"), "stop")
    assert upstream.models == [model] * tries
    assert_settled(access_log, upstream, "ok", 200)


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json; charset=utf-8"])
def test_a_complete_answer_passes_to_its_last_byte(
    http: httpx.Client, box: Running, upstream: Upstream, access_log: Any, content_type: str
) -> None:
    whole = ROLE + b"".join(BAD) + FINISH + ERROR_EVENT + b": cost\n\n" + DONE
    upstream.script("fault", plain(whole, content_type=content_type))

    answer = http.post(f"{box.url}/v1/chat/completions", json=body("scenario/fault", stream=True))

    assert answer.content == whole
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert_settled(access_log, upstream, "ok", 200)


@cases({name: fault for name, fault in AFTER_CONTENT.items() if name != "keep-alives for ever"})
def test_a_broken_stream_ends_with_one_error_event_and_no_done(
    http: httpx.Client, box: Running, upstream: Upstream, model: str, script: Script, tries: int
) -> None:
    upstream.script(model, script)

    answer = http.post(f"{box.url}/v1/chat/completions", json=body(f"scenario/{model}", stream=True))

    events = answer.text.split("\n\n")
    assert events.pop() == ""
    assert b"".join(data.encode() + b"\n\n" for data in events[:-1]) == ROLE + b"".join(BAD)
    assert set(json.loads(events[-1].removeprefix("data: "))["error"]) == {"message", "type", "param", "code"}
    assert upstream.models == [model] * tries


@pytest.mark.parametrize("then", [Wire.end, Wire.eof, Wire.reset], ids=["end", "eof", "reset"])
@pytest.mark.parametrize("done", [True, False], ids=["[DONE]", "no [DONE]"])
def test_a_done_that_the_upstream_did_not_send_is_not_made_up(
    http: httpx.Client, box: Running, upstream: Upstream, then: Script, *, done: bool
) -> None:
    events = [ROLE, *BAD, FINISH, *([DONE] if done else [])]
    upstream.script("fault", stream(events, then))

    answer = http.post(f"{box.url}/v1/chat/completions", json=body("scenario/fault", stream=True))

    assert answer.content == b"".join(events)


def test_a_last_event_without_an_empty_line_is_relayed_unchanged(
    http: httpx.Client, box: Running, upstream: Upstream
) -> None:
    upstream.script("fault", stream([ROLE, *BAD, FINISH.strip()]))

    answer = http.post(f"{box.url}/v1/chat/completions", json=body("scenario/fault", stream=True))

    assert answer.content == b"".join([ROLE, *BAD, FINISH.strip()])


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_an_unrequested_compressed_answer_is_decoded(sdk: openai.OpenAI, upstream: Upstream, *, streams: bool) -> None:
    headers = {"content-encoding": "gzip"}
    seen: list[str] = []

    if streams:
        upstream.script("fault", stream([gzip.compress(b"".join([ROLE, *BAD, FINISH, DONE]))], headers=headers))
        streamed(sdk, "scenario/fault", seen)
    else:
        upstream.script("fault", plain(gzip.compress(ANSWER), headers=headers))
        seen = [completed(sdk, "scenario/fault")[0]]

    assert "".join(seen) == upstreams.text_of("BAD")
    assert upstream.requests[0].headers["accept-encoding"] == "identity"


# One target alone: what the SDK raises when nobody is left.

SINGLE: dict[str, tuple[str, Script, type[openai.APIStatusError], int, str | None]] = {
    "connection refused": ("nowhere/fault", upstreams.drop, openai.InternalServerError, 502, "upstream_error"),
    "dropped": ("bad/fault", upstreams.drop, openai.InternalServerError, 502, "upstream_error"),
    "reset": ("bad/fault", upstreams.reset, openai.InternalServerError, 502, "upstream_error"),
    "500": ("bad/fault", upstreams.refuse(500), openai.InternalServerError, 502, "upstream_error"),
    "503": ("bad/fault", upstreams.refuse(503), openai.InternalServerError, 503, "overloaded"),
    "529": ("bad/fault", upstreams.refuse(529), openai.InternalServerError, 503, "overloaded"),
    "429": ("bad/fault", upstreams.refuse(429), openai.RateLimitError, 429, "rate_limit_exceeded"),
    "401": ("bad/fault", upstreams.refuse(401, SECRET), openai.InternalServerError, 502, "upstream_error"),
    "403": ("bad/fault", upstreams.refuse(403, SECRET), openai.InternalServerError, 502, "upstream_error"),
    "404": ("bad/fault", upstreams.refuse(404), openai.NotFoundError, 404, "model_not_found"),
    "400": ("bad/fault", upstreams.refuse(400, code="odd"), openai.BadRequestError, 400, "odd"),
    "400 that repeats our key": ("bad/fault", upstreams.refuse(400, SECRET), openai.BadRequestError, 400, None),
    "409": ("bad/fault", upstreams.refuse(409), openai.ConflictError, 409, None),
    "422": ("bad/fault", upstreams.refuse(422), openai.UnprocessableEntityError, 422, None),
    "too long": (
        "bad/fault",
        upstreams.refuse(400, "Too long.", code="context_length_exceeded"),
        openai.BadRequestError,
        400,
        "context_length_exceeded",
    ),
    "content filter": (
        "bad/fault",
        upstreams.refuse(400, "Filtered.", code="content_filter"),
        openai.BadRequestError,
        400,
        "content_filter",
    ),
    "HTML": ("bad/fault", plain(HTML, content_type="text/html"), openai.InternalServerError, 502, "upstream_error"),
    "empty": ("bad/fault", plain(b""), openai.InternalServerError, 502, "upstream_error"),
    "error in a 200": ("bad/fault", plain(ERROR_BODY), openai.InternalServerError, 502, "upstream_error"),
}


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize(("model", "script", "kind", "status", "code"), SINGLE.values(), ids=SINGLE.keys())
def test_the_last_failure_is_the_error_that_the_sdk_has_for_it(
    sdk: openai.OpenAI,
    upstream: Upstream,
    access_log: Any,
    model: str,
    script: Script,
    kind: type[openai.APIStatusError],
    status: int,
    code: str | None,
    *,
    streams: bool,
) -> None:
    upstream.script("fault", script)

    with pytest.raises(kind) as raised:
        sdk.chat.completions.create(model=model, messages=MESSAGES, stream=streams)

    error = raised.value
    assert type(error) is kind
    assert (error.status_code, error.code) == (status, code)
    assert error.response.headers["x-should-retry"] == "false"
    assert SECRET not in error.response.text
    if status in (429, 503):
        assert int(error.response.headers["retry-after"]) >= 0
        assert int(error.response.headers["retry-after-ms"]) >= 0
    line = access_log.next()
    assert error.response.headers["x-router-attempts"] == str(len(line["attempts"]))
    assert (line["status"], line["outcome"]) == (status, "error")
    if model != "nowhere/fault":
        assert len(line["attempts"]) == len(upstream.requests)


@pytest.mark.parametrize("pace", ["first_token", "total"])
def test_a_target_that_never_answers_is_a_504(sdk: openai.OpenAI, upstream: Upstream, pace: str) -> None:
    upstream.script(pace, upstreams.stall)

    with pytest.raises(openai.InternalServerError) as raised:
        sdk.chat.completions.create(model=f"bad/{pace}", messages=MESSAGES, stream=pace == "first_token")

    assert (raised.value.status_code, raised.value.code) == (504, "upstream_timeout")
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert upstream.requests[0].left() > 0


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_request_that_is_bad_is_told_at_once(
    sdk: openai.OpenAI, upstream: Upstream, status: int, *, streams: bool
) -> None:
    upstream.script("fault", upstreams.refuse(status, "Your request is odd.", kind="invalid_request_error"))

    with pytest.raises(openai.APIStatusError) as raised:
        sdk.chat.completions.create(model="scenario/fault", messages=MESSAGES, stream=streams)

    assert raised.value.status_code == status
    assert raised.value.response.json() == upstreams.error("Your request is odd.", kind="invalid_request_error")
    assert upstream.models == ["fault"]


@pytest.mark.parametrize("name", ["status 401", "status 403", "status 500", "error event"])
def test_no_fault_shows_our_key_to_anybody(
    http: httpx.Client, box: Running, upstream: Upstream, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    _, script, _ = {**STATUSES, "error event": ("", stream([event(upstreams.error(f"Key {SECRET}."))]), 1)}[name]
    upstream.script("fault", script)

    with caplog.at_level("DEBUG"):
        answer = http.post(f"{box.url}/v1/chat/completions", json=body("bad/fault", stream=True))

    assert answer.status_code == 502
    assert SECRET not in answer.text
    assert SECRET not in str(answer.headers)
    assert SECRET not in caplog.text


def assert_settled(access_log: Any, upstream: Upstream, outcome: str, status: int) -> None:
    """One line for the call, and as many attempts in it as the upstream has seen."""
    line = access_log.next()
    assert (line["outcome"], line["status"]) == (outcome, status)
    assert [attempt["model"] for attempt in line["attempts"]] == upstream.models
    assert access_log.empty


def body(model: str, *, stream: bool) -> dict[str, Any]:
    """A request's body."""
    return {"model": model, "messages": MESSAGES, "stream": stream}
