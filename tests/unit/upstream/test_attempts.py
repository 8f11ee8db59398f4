"""Native attempts in the attempt loop: unseen failover in both directions, and the errors that clients receive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from proxy.core.call import Call
from proxy.core.clean import Cleaner
from proxy.core.errors import InvalidRequest, ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment, Price
from proxy.core.record import Outcome, Record
from proxy.upstream.relay import Relay
from tests.support.calls import plan, record
from tests.support.fakes import Answer, Script
from tests.support.native_calls import native_call, native_target
from tests.support.natives import anthropic_stream, google, named
from tests.unit.upstream.bench import CUT, DONE, E500, STOP, TEXT, B, Bench, bench, on, outcomes

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
WHOLE = anthropic_stream({"type": "text", "text": "Hello world, how are you?"})
HEAD, WORDS = WHOLE[:3], WHOLE[3:6]
GOOD = Answer(WHOLE, headers={**EVENTS, "anthropic-ratelimit-tokens-remaining": "5", "set-cookie": "x=1"})
CHAT = Answer([TEXT, STOP, DONE], headers=EVENTS)
A = native_target("messages", price=Price(1_000_000, 2_000_000, 100_000, 1_250_000))


def refusal(status: int, kind: str, message: str = "Because.", **headers: str) -> Answer:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_a"}).encode()
    return Answer([body], status, {"content-type": "application/json", **headers})


class Client:
    """What one client receives."""

    def __init__(self) -> None:
        self.body = b""
        self.headers: dict[str, str] = {}
        self.native = False
        self.error: ProxyError | None = None

    async def ask(self, b: Bench, call: Call, targets: Sequence[Deployment]) -> Record:
        made = record(call, started=b.clock.now)
        try:
            relay = await b.executor.run(call, plan(*targets), made)
            try:
                await self._read(relay)
            finally:
                await relay.aclose()
        except ProxyError as error:
            self.error = error
        return made

    async def _read(self, relay: Relay) -> None:
        self.native, self.headers = relay.native, dict(relay.headers)

        def write(data: bytes) -> bool:
            self.body += data
            return True

        async def drain() -> None: ...

        await relay.run(write, drain)


async def asked(script: dict[str, list[Any]], *targets: Deployment, stream: bool = True) -> tuple[Client, Record]:
    client = Client()
    b = bench(cast("dict[str, Script]", script))
    return client, await client.ask(b, native_call("messages", stream=stream, on=on(*targets)), targets)


async def test_a_native_answer_passes_with_its_headers_and_is_charged() -> None:
    client, made = await asked({"a": [GOOD]}, A)

    assert client.body == b"".join(WHOLE)
    assert client.native
    assert client.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "anthropic-ratelimit-tokens-remaining": "5",
    }
    assert (made.outcome, made.cost_nusd, made.finish_reason) == (
        Outcome.OK,
        7 + 3 * 2,
        "end_turn",
    )


async def test_a_native_target_fails_over_to_a_translated_one_unseen() -> None:
    client, made = await asked({"a": [Answer([*HEAD, CUT], headers=EVENTS)] * 4, "b": [CHAT]}, A, B)

    assert client.body.startswith(TEXT)
    assert not client.native
    assert made.outcome is Outcome.OK


async def test_a_translated_target_fails_over_to_a_native_one_unseen() -> None:
    client, made = await asked({"b": [E500] * 4, "a": [GOOD]}, B, A)

    assert (client.body, client.native) == (b"".join(WHOLE), True)
    assert outcomes(made)[-1] == "a ok"


async def test_what_chat_cannot_express_is_named_unless_the_target_is_native() -> None:
    b = bench({"a": [GOOD], "b": [CHAT]})
    call = replace(native_call("messages", stream=True, on=on(A, B)), dropped=("cache_control",))

    native, translated = await Client().ask(b, call, [A]), await Client().ask(b, call, [B])

    assert (native.dropped, translated.dropped) == ((), ("cache_control",))


async def test_only_native_targets_serve_what_chat_cannot_express() -> None:
    b = bench({"a": [GOOD], "b": []})
    refused = InvalidRequest("`tool_choice` forces a hosted tool.", param="tool_choice")
    call = replace(native_call("messages", stream=True, on=on(A, B)), refused=refused)
    client, other = Client(), Client()

    await client.ask(b, call, [B, A])
    await other.ask(b, call, [B])

    assert client.native
    assert other.error is not None
    assert (other.error.http_status, str(other.error)) == (400, str(refused))


async def test_a_cut_in_the_content_is_an_error_and_charged_by_estimate() -> None:
    client, made = await asked({"a": [Answer([*HEAD, *WORDS, CUT], headers=EVENTS)]}, A)

    assert client.body == b"".join([*HEAD, *WORDS])
    assert client.error is not None
    assert (client.error.http_status, client.error.native_event) == (502, b"")
    usage = made.attempts[0].usage
    assert usage is not None
    assert (usage.source, usage.input, 2 < usage.output < 10) == ("estimated", 7, True)


async def test_the_upstreams_own_error_event_is_the_last_one() -> None:
    event = named("error", error={"type": "overloaded_error", "message": "sk-main-secret is overloaded"})

    client, made = await asked({"a": [Answer([*HEAD, *WORDS, event], headers=EVENTS)]}, A)

    assert client.error is not None
    assert client.error.native_format == "messages"
    assert client.error.native_event == event.replace(b"sk-main-secret", b"***")
    assert made.outcome is Outcome.PARTIAL


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (refusal(400, "invalid_request_error", "max_tokens: too large"), 400),
        (refusal(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), 400),
        (refusal(413, "request_too_large"), 413),
        (
            refusal(429, "rate_limit_error", **{"retry-after": "70", "anthropic-ratelimit-unified-status": "rejected"}),
            429,
        ),
        (refusal(500, "api_error"), 500),
        (refusal(529, "overloaded_error", **{"x-should-retry": "true"}), 529),
    ],
)
async def test_errors_pass_unchanged(answer: Answer, status: int) -> None:
    client, made = await asked({"a": [answer] * 4}, A)

    error = client.error
    assert error is not None
    assert (error.http_status, error.native_body, error.native_format) == (status, answer.body[0], "messages")
    passed = {name: value for name, value in answer.headers.items() if name != "content-type"}
    assert error.response_headers() | passed == error.response_headers()
    assert error.response_headers().get("x-should-retry", "true") == "true"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_rejected_key_is_ours_to_explain(status: int) -> None:
    answer = refusal(status, "permission_error", "sk-main-secret is invalid", **{"x-should-retry": "true"})

    client, _ = await asked({"a": [answer]}, A)

    error = client.error
    assert error is not None
    assert (error.http_status, error.error_code, error.native_body) == (502, "upstream_error", None)
    assert error.native_headers == {}


async def test_several_failed_targets_are_all_named() -> None:
    client, _ = await asked(
        {"a": [refusal(529, "overloaded_error", **{"retry-after": "3"})] * 4, "b": [E500] * 4}, A, B
    )

    error = client.error
    assert error is not None
    assert (error.http_status, error.native_body) == (503, None)
    assert "`a/m`" in str(error)
    assert "`b/m`" in str(error)
    assert error.response_headers()["retry-after"] == "3"


async def test_an_error_in_a_200_has_the_status_of_its_type() -> None:
    event = named("error", error={"type": "overloaded_error", "message": "Overloaded"})

    client, _ = await asked({"a": [Answer([*HEAD, event], headers=EVENTS)] * 4}, A)

    assert client.error is not None
    assert client.error.http_status == 529
    assert json.loads(client.error.native_body or b"")["error"]["type"] == "overloaded_error"


async def test_googles_array_keeps_its_type() -> None:
    target = native_target("generate")
    value = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
    body = json.dumps([value]).encode()
    client, events = Client(), Client()
    b = bench({"a": [Answer([body], headers={"content-type": "application/json; charset=UTF-8"})]})

    await client.ask(b, native_call("generate", stream=True, query="", on=on(target)), [target])
    b = bench({"a": [Answer([google(value)], headers={"content-type": "application/json"})]})
    await events.ask(b, native_call("generate", stream=True, on=on(target)), [target])

    assert (client.body, client.headers["content-type"]) == (body, "application/json; charset=UTF-8")
    assert events.headers["content-type"] == "text/event-stream"


def test_headers_of_failures_are_cleaned() -> None:
    failure = UpstreamFailure(FailureKind.RATE_LIMITED, "no", status=429)
    failure.headers = {"retry-after": "7", "anthropic-ratelimit-x": "sk-main-secret", "x-should-retry": "\x00"}

    cleaned = Cleaner(["sk-main-secret"]).failure(failure)

    assert cleaned.headers == {"retry-after": "7", "anthropic-ratelimit-x": "***"}
