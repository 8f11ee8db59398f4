"""Every fault of an Anthropic or Gemini upstream, wherever it strikes, as the OpenAI SDK sees it through Signalbox.

Before the commit point a fault is unseen: the next target, of the other API, says its whole text. After it the SDK
raises. A short text that looks whole never arrives, and a finish that the upstream did not send is never made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from tests.support import upstreams
from tests.support.faults import (
    BAD,
    SECRET,
    Faults,
    after_content,
    after_finish,
    before_content,
    broken_body,
    statuses,
    unanswered,
)
from tests.support.natives import ANTHROPIC, GEMINI, NativeUpstream, WireFormat, google
from tests.support.sdk import MESSAGES, completed, streamed
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import Script, Wire, plain, stream

GOOD = upstreams.text_of("good")
PACES = ("fault", "first_token", "idle", "total", "total_stream")
OTHER = {"anthropic": "gemini", "gemini": "anthropic"}
WIRE_FORMATS = (ANTHROPIC, GEMINI)


def configuration(url: str, nowhere: str) -> dict[str, Any]:
    """Each API as a provider that fails, falling back to the other one; breakers that never open."""
    keys = [{"id": "main", "value": SECRET}]
    models: list[dict[str, Any]] = []
    scenarios: dict[str, list[str]] = {}
    for dialect in OTHER:
        models += [{"id": f"{dialect}/fault"}, {"id": f"{dialect}/good"}, {"id": f"nowhere-{dialect}/fault"}]
        models += [{"id": f"{dialect}/{pace}", "timeouts": {pace: "250ms"}} for pace in PACES[1:4]]
        models.append({"id": f"{dialect}/total_stream", "timeouts": {"total": "2s"}})  # for the words to arrive
        scenarios |= {f"{dialect}-{pace}": [f"{dialect}/{pace}", f"{OTHER[dialect]}/good"] for pace in PACES}
        scenarios[f"{dialect}-nowhere"] = [f"nowhere-{dialect}/fault", f"{OTHER[dialect]}/good"]
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {
            **{dialect: {"dialect": dialect, "base_url": url, "keys": keys} for dialect in OTHER},
            **{f"nowhere-{name}": {"dialect": name, "base_url": nowhere, "keys": keys} for name in OTHER},
        },
        "models": models,
        "routing": {"scenarios": scenarios},
        "resilience": without_breakers(),
    }


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        nowhere = stack.enter_context(upstreams.refusing())
        config = configuration(module_natives.url, nowhere.removesuffix("/v1"))
        yield stack.enter_context(signalbox(config, tmp_path_factory.mktemp("box")))


@pytest.fixture
def upstream(module_natives: NativeUpstream, box: Running, http: httpx.Client) -> NativeUpstream:
    """The module's, with nothing left in it, and no key of ours resting."""
    module_natives.clear()
    module_natives.keeps = False  # else the transport may send again what a kept connection lost
    http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
    return module_natives


def assert_settled(access_log: Any, upstream: NativeUpstream, outcome: str) -> None:
    """One line for the call, and as many attempts in it as the upstream has seen."""
    line = access_log.next()
    assert (line["outcome"], line["status"]) == (outcome, 200)
    assert [attempt["model"] for attempt in line["attempts"]] == upstream.models
    assert access_log.empty


def cases(*tables: Callable[[WireFormat], Faults]) -> pytest.MarkDecorator:
    """Every fault once for each API."""
    table = {
        f"{wire_format.name}-{name}": (wire_format, *fault)
        for wire_format in WIRE_FORMATS
        for each in tables
        for name, fault in each(wire_format).items()
    }
    return pytest.mark.parametrize(("wire_format", "pace", "script", "tries"), table.values(), ids=table.keys())


@cases(statuses, unanswered, before_content)
def test_a_stream_fails_over_unseen_before_the_commit_point(
    sdk: openai.OpenAI,
    upstream: NativeUpstream,
    access_log: Any,
    wire_format: WireFormat,
    pace: str,
    script: Script,
    tries: int,
) -> None:
    upstream.script(pace, script)
    seen: list[str] = []

    finish, headers = streamed(sdk, f"scenario/{wire_format.name}-{pace}", seen)

    assert ("".join(seen), finish) == (GOOD, "stop")
    assert upstream.models == [pace] * tries + ["good"]
    assert headers["x-router-provider"] == OTHER[wire_format.name]
    assert headers["x-router-attempts"] == str(tries + 1)
    assert_settled(access_log, upstream, "ok")


@cases(statuses, unanswered, broken_body)
def test_an_answer_that_is_not_streamed_fails_over_unseen(
    sdk: openai.OpenAI,
    upstream: NativeUpstream,
    access_log: Any,
    wire_format: WireFormat,
    pace: str,
    script: Script,
    tries: int,
) -> None:
    upstream.script(pace, script)

    text, finish, headers = completed(sdk, f"scenario/{wire_format.name}-{pace}")

    assert (text, finish) == (GOOD, "stop")
    assert upstream.models == [pace] * tries + ["good"]
    assert headers["x-router-attempts"] == str(tries + 1)
    assert_settled(access_log, upstream, "ok")


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("dialect", OTHER)
def test_a_target_that_refuses_connections_is_passed_over(
    sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str, *, streams: bool
) -> None:
    seen: list[str] = []

    if streams:
        streamed(sdk, f"scenario/{dialect}-nowhere", seen)
    else:
        seen = [completed(sdk, f"scenario/{dialect}-nowhere")[0]]

    assert "".join(seen) == GOOD
    assert upstream.models == ["good"]


@cases(after_content)
def test_a_stream_that_breaks_after_the_commit_point_is_an_error(
    sdk: openai.OpenAI,
    upstream: NativeUpstream,
    access_log: Any,
    wire_format: WireFormat,
    pace: str,
    script: Script,
    tries: int,
) -> None:
    upstream.script(pace, script)
    seen: list[str] = []

    with pytest.raises(openai.APIError) as raised:
        streamed(sdk, f"scenario/{wire_format.name}-{pace}", seen)

    assert raised.value.body is not None
    assert "".join(seen) == BAD
    assert upstream.models == [pace] * tries
    assert_settled(access_log, upstream, "partial")


@cases(lambda wire_format: {name: fault for name, fault in after_content(wire_format).items() if fault[0] == "fault"})
def test_a_broken_stream_ends_with_one_error_event_and_no_done(
    http: httpx.Client,
    box: Running,
    upstream: NativeUpstream,
    wire_format: WireFormat,
    pace: str,
    script: Script,
    tries: int,
) -> None:
    upstream.script(pace, script)
    body = {"model": f"{wire_format.name}/{pace}", "messages": MESSAGES, "stream": True}

    answer = http.post(f"{box.url}/v1/chat/completions", json=body)

    events = [json.loads(item.removeprefix("data: ")) for item in answer.text.removesuffix("\n\n").split("\n\n")]
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
    assert [choice["finish_reason"] for item in events[:-1] for choice in item["choices"]] == [None] * len(events[:-1])
    assert upstream.models == [pace] * tries


@cases(after_finish)
def test_an_answer_with_its_finish_is_complete(
    sdk: openai.OpenAI,
    upstream: NativeUpstream,
    access_log: Any,
    wire_format: WireFormat,
    pace: str,
    script: Script,
    tries: int,
) -> None:
    upstream.script(pace, script)
    seen: list[str] = []

    finish, _ = streamed(sdk, f"scenario/{wire_format.name}-{pace}", seen)

    assert ("".join(seen), finish) == (BAD, "stop")
    assert upstream.models == [pace] * tries
    assert_settled(access_log, upstream, "ok")


@pytest.mark.parametrize("then", [Wire.end, Wire.reset, Wire.eof, Wire.stall], ids=["end", "reset", "eof", "stall"])
@pytest.mark.parametrize("counted", [True, False], ids=["counted", "uncounted"])
def test_a_late_gemini_finish_reaches_the_client(
    sdk: openai.OpenAI, upstream: NativeUpstream, then: Script, *, counted: bool
) -> None:
    chunks = [gemini_text("BAD", counted=counted), gemini_text("BAD", "STOP", counted=counted)]
    pace = "idle" if then is Wire.stall else "fault"
    upstream.script(pace, stream(chunks, then))
    seen: list[str] = []

    finish, _ = streamed(sdk, f"gemini/{pace}", seen)

    assert ("".join(seen), finish) == ("BADBAD", "stop")


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("then", [Wire.reset, Wire.eof, Wire.stall], ids=["reset", "eof", "stall"])
def test_a_gemini_stop_in_every_chunk_does_not_end_the_stream(
    sdk: openai.OpenAI, upstream: NativeUpstream, then: Script, chunks: int
) -> None:
    sent = [gemini_text("BAD", "STOP", counted=True)] * chunks
    upstream.script("good", stream(sent))
    pace = "idle" if then is Wire.stall else "fault"
    upstream.script(pace, stream(sent, then))
    seen: list[str] = []

    whole = streamed(sdk, "gemini/good", seen)[0]
    with pytest.raises(openai.APIError):
        streamed(sdk, f"gemini/{pace}", seen)

    assert (whole, "".join(seen)) == ("stop", "BAD" * chunks * 2)


def gemini_text(text: str, finish: str | None = None, *, counted: bool) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
    usage = {"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}} if counted else {}
    return google({"candidates": [{**candidate, "finishReason": finish} if finish else candidate], **usage})


# One target alone: what the SDK raises when nobody is left

SINGLE: dict[str, tuple[int, type[openai.APIStatusError], int, str | None]] = {
    "500": (500, openai.InternalServerError, 502, "upstream_error"),
    "503": (503, openai.InternalServerError, 503, "overloaded"),
    "529": (529, openai.InternalServerError, 503, "overloaded"),
    "429": (429, openai.RateLimitError, 429, "rate_limit_exceeded"),
    "401": (401, openai.InternalServerError, 502, "upstream_error"),
    "403": (403, openai.InternalServerError, 502, "upstream_error"),
    "404": (404, openai.NotFoundError, 404, "model_not_found"),
    "400": (400, openai.BadRequestError, 400, None),
}


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize(("given", "kind", "status", "code"), SINGLE.values(), ids=SINGLE.keys())
@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.name)
def test_the_last_failure_is_the_error_that_the_sdk_has_for_it(
    sdk: openai.OpenAI,
    upstream: NativeUpstream,
    wire_format: WireFormat,
    given: int,
    kind: type[openai.APIStatusError],
    status: int,
    code: str | None,
    *,
    streams: bool,
) -> None:
    upstream.script("fault", plain(wire_format.refusal(given, f"The words of the provider, to {SECRET}."), given))

    with pytest.raises(kind) as raised:
        sdk.chat.completions.create(model=f"{wire_format.name}/fault", messages=MESSAGES, stream=streams)

    error = raised.value
    assert (type(error), error.status_code) == (kind, status)
    assert error.code == (code or ("invalid_argument" if wire_format is GEMINI else None))
    assert error.response.headers["x-should-retry"] == "false"
    assert SECRET not in error.response.text
    if given == 400:
        assert error.body is not None
        assert "The words of the provider, to ***." in error.message
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.name)
@pytest.mark.parametrize("pace", ["first_token", "total"])
def test_a_target_that_never_answers_is_a_504(
    sdk: openai.OpenAI, upstream: NativeUpstream, wire_format: WireFormat, pace: str
) -> None:
    upstream.script(pace, upstreams.stall)

    with pytest.raises(openai.InternalServerError) as raised:
        sdk.chat.completions.create(model=f"{wire_format.name}/{pace}", messages=MESSAGES, stream=pace == "first_token")

    assert (raised.value.status_code, raised.value.code) == (504, "upstream_timeout")
    assert upstream.requests[0].left() > 0
