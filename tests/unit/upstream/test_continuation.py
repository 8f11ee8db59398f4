"""A stream that breaks off is gone on with by another target where that is possible, and else ends as it always did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.json_text import compact
from proxy.core.model import Deployment, LimitValues, Price, Timeouts
from proxy.core.plan import Plan, Target
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, RetryPolicy
from proxy.core.record import Record
from proxy.core.snapshot import Snapshot
from proxy.core.usage import Usage
from proxy.upstream import joint
from proxy.upstream.continuation import continued
from tests.support.calls import call, plan, record, retry_budget
from tests.support.clocks import VirtualClock, idle
from tests.support.fakes import Answer, Piece, Stall, Wait
from tests.unit.upstream.bench import CUT, DONE, E500, TOO_LONG, Bench, bench, on, outcomes, refusal, running, target

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


ABLE = frozenset({"prefill"})
A = target("a", timeouts=Timeouts(idle=0.01))
B, C = target("b", capabilities=ABLE), target("c", capabilities=ABLE)
BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Greet"}], "stream": True}
PRICE = Price(input=1_000_000_000, output=2_000_000_000, cached_input=0, cache_write=0)


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: dict[str, Any], of: str = "first", finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": of, "created": 1, "model": of, "choices": [choice]})


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "Hello"})
ERROR = event({"error": {"message": "overloaded", "code": "busy"}})
REST = [
    chunk({"role": "assistant", "content": ""}, "second"),
    chunk({"content": ", "}, "second"),
    chunk({"content": "world"}, "second"),
    chunk({}, "second", "stop"),
    DONE,
]
BROKEN, WHOLE = Answer([ROLE, HELLO, CUT]), Answer(REST)


@dataclass
class Got:
    """What the client got, and what was written down."""

    out: bytes
    record: Record
    bench: Bench

    @property
    def values(self) -> list[Any]:
        """The events' values."""
        data = [event.removeprefix("data: ") for event in self.out.decode().split("\n\n") if event]
        return [each if each == "[DONE]" else json.loads(each) for each in data]

    @property
    def text(self) -> str:
        """What they say together."""
        choices = [choice for value in self.values if isinstance(value, dict) for choice in value.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The error events."""
        return [value["error"] for value in self.values if isinstance(value, dict) and value.get("error")]

    def asked(self, number: int = -1) -> dict[str, Any]:
        """The body of a request that an upstream got."""
        found: dict[str, Any] = json.loads(self.bench.transport.requests[number].content)
        return found


def wanting(*deployments: Deployment, body: dict[str, Any] | None = None, **policies: Any) -> Call:
    """A call whose configuration lets others go on."""
    snapshot: Snapshot = on(*deployments, **{"mid_stream": "continue", **policies})
    return call(json.dumps({**BODY, **(body or {})}).encode(), on=snapshot)


async def got(
    script: dict[str, Sequence[Answer]],
    *deployments: Deployment,
    of: Call | None = None,
    planned: Plan | None = None,
    **parts: Any,
) -> Got:
    """One call with these upstreams, read to its end; nothing may stay open."""
    made_bench = bench(script, **parts)
    out, made = await made_bench.run(of or wanting(*deployments), planned or plan(*deployments))
    assert not isinstance(out, ProxyError)
    assert (made_bench.transport.open, made_bench.transport.reading) == (0, 0)
    return Got(out, made, made_bench)


# Going on


async def test_another_target_goes_on_where_the_answer_broke_off() -> None:
    it = await got({"a": [BROKEN], "b": [WHOLE]}, A, B)

    assert it.text == "Hello, world"
    assert it.asked()["messages"] == [*BODY["messages"], {"role": "assistant", "content": "Hello"}]
    assert it.errors == []
    assert it.out.startswith(ROLE + HELLO)
    *chunks, last, done = it.values
    assert {(value["id"], value["created"], value["model"]) for value in [*chunks, last]} == {("first", 1, "first")}
    assert [value["choices"][0]["delta"].get("role") for value in chunks] == ["assistant", None, None, None, None]
    assert [value["choices"][0]["finish_reason"] for value in chunks] == [None, None, None, None, "stop"]
    assert last["choices"] == []
    assert last["router"] == {"continued": {"provider": "b", "model": "m", "after_characters": 5}}
    assert done == "[DONE]"


async def test_the_record_tells_of_both() -> None:
    it = await got({"a": [BROKEN], "b": [WHOLE]}, A, B)

    assert outcomes(it.record) == ["a broken_stream", "b ok"]
    assert (it.record.outcome, it.record.code, it.record.chosen) == ("ok", None, B)
    assert it.record.continued
    assert (it.record.continued.provider, it.record.continued.after_characters) == ("b", 5)
    assert [row["failures"] for row in it.bench.health.breaker_rows()] == [1]


async def test_an_answer_that_is_whole_stays_as_it_is() -> None:
    pieces = [ROLE, HELLO, chunk({}, finish="stop"), DONE]

    it = await got({"a": [Answer(pieces)]}, A, B)

    assert it.out == b"".join(pieces)
    assert it.record.continued is None


BREAKS: dict[str, list[Piece]] = {
    "cut": [ROLE, HELLO, CUT],
    "cut at the commit point": [ROLE + HELLO, CUT],
    "an end without a finish": [ROLE, HELLO],
    "a stall": [ROLE, HELLO, Stall()],
    "no JSON": [ROLE, HELLO, b"data: {\n\n"],
    "no JSON behind text": [ROLE, chunk({"content": "Hel"}), chunk({"content": "lo"}) + b"data: {\n\n"],
    "no JSON at the commit point": [ROLE + HELLO + b"data: {\n\n"],
    "half an event": [ROLE, HELLO, chunk({"content": " you"})[:20]],
    "an error event": [ROLE, HELLO, ERROR],
    "an error event behind text": [ROLE, chunk({"content": "Hel"}), chunk({"content": "lo"}) + ERROR + DONE],
    "an error event at the commit point": [ROLE + HELLO + ERROR],
    "an error event without its empty line": [ROLE, HELLO, ERROR.rstrip()],
}


@pytest.mark.parametrize("pieces", BREAKS.values(), ids=BREAKS)
async def test_no_fault_is_seen_however_the_answer_breaks_off(pieces: list[Piece]) -> None:
    it = await got({"a": [Answer(pieces)], "b": [WHOLE]}, A, B)

    assert it.text == "Hello, world"
    assert it.errors == []
    assert it.out.endswith(DONE)
    assert outcomes(it.record) == ["a broken_stream", "b ok"]
    assert (it.record.outcome, it.record.code) == ("ok", None)


async def test_a_broken_attempt_is_released_before_the_next_starts() -> None:
    alone = replace(B, limits=LimitValues(concurrency=1), timeouts=Timeouts(idle=0.01))

    it = await got({"b": [Answer([ROLE, HELLO, Stall()]), WHOLE]}, alone)

    assert it.text == "Hello, world"
    assert outcomes(it.record) == ["b broken_stream", "b ok"]


async def test_the_hard_deadline_ended_at_the_commit_point() -> None:
    late = wanting(A, B, deadline=DeadlinePolicy(soft=1.0, hard=5.0))

    it = await got({"a": [Answer([ROLE, HELLO, Wait(100.0), CUT])], "b": [WHOLE]}, A, B, of=late)

    assert it.text == "Hello, world"


async def test_time_to_first_content_is_that_of_the_first_part() -> None:
    it = await got({"a": [Answer([Wait(2.0), ROLE, HELLO, Wait(9.0), CUT])], "b": [WHOLE]}, A, B)

    assert it.record.timings.first_token == it.record.timings.started + 2.0


async def test_an_upstream_that_sends_no_done_gets_none() -> None:
    it = await got({"a": [BROKEN], "b": [Answer(REST[:-1])]}, A, B)

    assert "router" in it.values[-1]
    assert it.record.outcome == "ok"


async def test_options_of_our_own_stay_with_us() -> None:
    it = await got({"a": [BROKEN], "b": [WHOLE]}, A, B, of=wanting(A, B, body={"router": {"debug": True}}))

    assert it.asked().keys() == {*BODY, "stream_options"}


# Who may go on


@pytest.mark.parametrize("capabilities", [None, frozenset(), frozenset({"tools"})])
async def test_a_target_of_which_it_is_not_known_is_not_asked(capabilities: frozenset[str] | None) -> None:
    unknown = replace(B, capabilities=capabilities)

    it = await got({"a": [BROKEN]}, A, unknown)

    assert [error["code"] for error in it.errors] == ["upstream_error"]
    assert it.out.startswith(ROLE + HELLO)
    assert DONE not in it.out
    assert (outcomes(it.record), it.record.outcome) == (["a broken_stream"], "partial")


async def test_the_one_that_broke_off_is_not_asked_if_there_is_another() -> None:
    it = await got({"b": [BROKEN], "c": [WHOLE]}, B, C)

    assert outcomes(it.record) == ["b broken_stream", "c ok"]


async def test_the_only_one_is_asked_again() -> None:
    it = await got({"b": [BROKEN, WHOLE]}, B, A)

    assert outcomes(it.record) == ["b broken_stream", "b ok"]


async def test_the_only_one_is_left_alone_if_its_breaker_is_open() -> None:
    it = await got({"b": [BROKEN]}, B, A, policy=BreakerPolicy(consecutive=1))

    assert outcomes(it.record) == ["b broken_stream"]
    assert len(it.errors) == 1


async def test_who_has_failed_before_comes_last() -> None:
    once = wanting(B, A, C, retry=RetryPolicy(same_target=0))

    it = await got({"b": [E500], "a": [BROKEN], "c": [WHOLE]}, B, A, C, of=once)

    assert outcomes(it.record) == ["b server_error", "a broken_stream", "c ok"]


async def test_if_the_first_cannot_the_next_goes_on() -> None:
    it = await got({"a": [BROKEN], "b": [refusal(429)], "c": [WHOLE]}, A, B, C)

    assert it.text == "Hello, world"
    assert outcomes(it.record) == ["a broken_stream", "b rate_limited", "c ok"]


@pytest.mark.parametrize(("broken", "said"), [(CUT, "closed the connection"), (ERROR, "overloaded")])
async def test_if_nobody_can_the_client_is_told_of_the_first_fault(broken: Piece, said: str) -> None:
    it = await got({"a": [Answer([ROLE, HELLO, broken])], "b": [refusal(429)], "c": [refusal(400)]}, A, B, C)

    assert it.out.startswith(ROLE + HELLO)
    assert len(it.values) == 3
    [error] = it.errors
    assert said in error["message"]
    assert outcomes(it.record) == ["a broken_stream", "b rate_limited", "c bad_request"]
    assert (it.record.outcome, it.record.chosen, it.record.continued) == ("partial", A, None)
    usage = it.record.attempts[0].usage
    assert usage is not None
    assert (usage.output, usage.source) == (2, "estimated")


async def test_a_broken_target_is_not_retried_after_another_failed() -> None:
    it = await got({"b": [BROKEN], "c": [refusal(429)]}, B, C)

    assert outcomes(it.record) == ["b broken_stream", "c rate_limited"]
    assert len(it.errors) == 1


async def test_one_that_was_too_small_before_still_is() -> None:
    small, large = replace(B, context_window=100), replace(A, context_window=1000)

    it = await got({"b": [TOO_LONG], "a": [BROKEN]}, small, large)

    assert outcomes(it.record) == ["b context_too_long", "a broken_stream"]
    assert len(it.errors) == 1


async def test_who_has_no_patience_does_not_wait_for_one() -> None:
    hasty = wanting(A, B, body={"router": {"max_wait_seconds": 0}})

    it = await got({"a": [BROKEN], "b": [refusal(429, headers={"retry-after": "3"})]}, A, B, of=hasty)

    assert outcomes(it.record) == ["a broken_stream", "b rate_limited"]
    assert len(it.errors) == 1


@pytest.mark.parametrize(("attempts", "made"), [(1, ["a broken_stream"]), (2, ["a broken_stream", "b rate_limited"])])
async def test_the_attempts_of_the_call_are_not_exceeded(attempts: int, made: list[str]) -> None:
    few = wanting(A, B, C, retry=RetryPolicy(attempts=attempts))

    it = await got({"a": [BROKEN], "b": [refusal(429)]}, A, B, C, of=few)

    assert outcomes(it.record) == made
    assert len(it.errors) == 1


async def test_the_retry_budget_is_not_exceeded() -> None:
    it = await got({"a": [BROKEN]}, A, B, budget=retry_budget(0.0, 0.0))

    assert outcomes(it.record) == ["a broken_stream"]
    assert len(it.errors) == 1


# What can be gone on with


JSON_WANTED = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
MORE_THAN_TEXT: list[dict[str, Any]] = [
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"functions": [{"name": "f"}]},
    {"response_format": {"type": "json_object"}},
    {"response_format": JSON_WANTED},
    {"n": 2},
    {"logprobs": True},
    {"modalities": ["text", "audio"], "audio": {"voice": "x"}},
    {"guided_json": {}, "guided_regex": "x"},
    {"messages": [*BODY["messages"], {"role": "assistant", "content": "Well, "}]},
]


@pytest.mark.parametrize("more", MORE_THAN_TEXT, ids=repr)
async def test_a_call_that_asks_for_more_than_text_ends_with_the_fault(more: dict[str, Any]) -> None:
    it = await got({"a": [BROKEN]}, A, B, of=wanting(A, B, body=more))

    assert len(it.errors) == 1
    assert outcomes(it.record) == ["a broken_stream"]


@pytest.mark.parametrize("whose", [0, 1])
async def test_so_does_one_of_which_the_scenario_asks_more(whose: int) -> None:
    more = [{"response_format": JSON_WANTED}, {}]
    planned = replace(plan(A, B), targets=(Target(A, more[whose]), Target(B, more[1 - whose])))

    it = await got({"a": [BROKEN]}, A, B, planned=planned)

    assert len(it.errors) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [], "n": 1, "logprobs": False, "response_format": {"type": "text"}, "modalities": ["text"]},
        {"tools": None, "response_format": None, "stop": ["x"], "temperature": 0.5},
    ],
    ids=repr,
)
async def test_what_asks_for_nothing_is_no_obstacle(more: dict[str, Any]) -> None:
    it = await got({"a": [BROKEN], "b": [WHOLE]}, A, B, of=wanting(A, B, body=more))

    assert it.text == "Hello, world"


@pytest.mark.parametrize("more", [{"reasoning_content": "hm"}, {"tool_calls": [{"index": 0}]}, {"refusal": "I"}])
@pytest.mark.parametrize("broken", [CUT, ERROR])
async def test_an_answer_that_is_more_than_text_ends_with_the_fault(more: dict[str, Any], broken: Piece) -> None:
    pieces = [ROLE, HELLO, chunk(more)]

    it = await got({"a": [Answer([*pieces, broken])]}, A, B)

    assert it.out.startswith(b"".join(pieces))
    assert len(it.values) == 4
    assert len(it.errors) == 1
    assert it.record.outcome == "partial"


async def test_an_error_after_a_complete_answer_is_not_continued() -> None:
    it = await got({"a": [Answer([ROLE, HELLO, chunk({}, finish="stop"), ERROR, DONE])]}, A, B)

    assert it.out == ROLE + HELLO + chunk({}, finish="stop") + ERROR + DONE
    assert (it.record.outcome, it.record.code) == ("ok", None)


async def test_nobody_is_asked_unless_the_configuration_says_so() -> None:
    it = await got({"a": [Answer([ROLE, HELLO, ERROR])]}, A, B, of=wanting(A, B, mid_stream="terminate"))

    assert it.out == ROLE + HELLO + ERROR


async def test_a_text_that_is_too_long_to_keep_ends_with_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "LONGEST", 4)

    it = await got({"a": [BROKEN]}, A, B)

    assert len(it.errors) == 1


@pytest.mark.parametrize(
    "error", [{"message": "no", "code": "content_filter"}, {"message": "no", "type": "invalid_request_error"}]
)
async def test_nobody_is_talked_into_what_the_upstream_refused(error: dict[str, str]) -> None:
    it = await got({"a": [Answer([ROLE, HELLO, event({"error": error})])]}, A, B)

    assert it.errors == [error]


async def test_unless_the_scenario_wants_that() -> None:
    error = event({"error": {"message": "no", "code": "content_filter"}})

    it = await got(
        {"a": [Answer([ROLE, HELLO, error])], "b": [WHOLE]}, A, B, planned=replace(plan(A, B), content_fallback=True)
    )

    assert it.text == "Hello, world"


# A second break


@pytest.mark.parametrize("broken", [CUT, ERROR, b"data: {\n\n"])
async def test_a_rest_that_breaks_off_too_ends_with_one_error(broken: Piece) -> None:
    it = await got({"a": [BROKEN], "b": [Answer([*REST[:3], broken])]}, A, B, C)

    assert it.text == "Hello, world"
    assert "error" in it.values[-1]
    assert len(it.errors) == 1
    assert DONE not in it.out
    assert b'"router"' not in it.out
    assert outcomes(it.record) == ["a broken_stream", "b broken_stream"]
    assert it.record.outcome == "partial"
    assert it.record.code in ("upstream_error", "busy")
    assert it.record.continued


# White space


async def test_the_text_is_sent_without_the_white_space_at_its_end() -> None:
    broken = Answer([ROLE, chunk({"content": "One.\n"}), chunk({"content": "\n"}), CUT])
    rest = Answer([chunk({"content": "\n\nTwo"}), chunk({"content": ".\n"}), *REST[3:]])

    it = await got({"a": [broken], "b": [rest]}, A, B)

    assert it.asked()["messages"][-1] == {"role": "assistant", "content": "One."}
    assert it.text == "One.\n\nTwo.\n"


async def test_of_nothing_but_white_space_nothing_is_sent() -> None:
    broken = Answer([ROLE, chunk({"content": "\n"}), CUT])

    it = await got({"a": [broken], "b": [Answer([chunk({"content": "\nHi"}), *REST[3:]])]}, A, B)

    assert it.asked()["messages"] == BODY["messages"]
    assert it.text == "\nHi"


# Usage and cost


def usage(read: int, written: int) -> bytes:
    return event({"id": "x", "choices": [], "usage": {"prompt_tokens": read, "completion_tokens": written}})


async def test_usage_is_of_both_parts_and_the_broken_one_is_estimated() -> None:
    dear, cheap = replace(A, price=PRICE), replace(B, price=replace(PRICE, output=1_000_000_000))
    asking = wanting(dear, cheap, body={"stream_options": {"include_usage": True}})
    rest = Answer([*REST[:-1], usage(14, 3), DONE])

    it = await got(
        {"a": [BROKEN], "b": [rest]}, dear, cheap, of=asking, planned=replace(plan(dear, cheap), count_input=lambda: 10)
    )

    *_, told, notice, _ = it.values
    assert told["usage"] == {"prompt_tokens": 24, "completion_tokens": 5, "total_tokens": 29}
    assert told["id"] == "first"
    assert "router" in notice
    assert it.record.attempts[0].usage == Usage(10, 2, source="estimated")
    assert it.record.attempts[0].cost_nusd == 10 * 1000 + 2 * 2000
    assert it.record.attempts[1].usage == Usage(14, 3)
    assert it.record.cost_nusd == 14_000 + 14_000 + 3_000


async def test_without_being_asked_no_usage_is_told() -> None:
    it = await got({"a": [BROKEN], "b": [Answer([*REST[:-1], usage(14, 3), DONE])]}, A, B)

    assert b"usage" not in it.out
    assert it.record.attempts[1].usage == Usage(14, 3)


async def test_what_the_broken_one_has_told_of_its_usage_counts() -> None:
    broken = Answer([ROLE, usage(8, 1), HELLO, CUT])

    it = await got({"a": [broken], "b": [WHOLE]}, A, B, planned=replace(plan(A, B), count_input=lambda: 10))

    assert it.record.attempts[0].usage == Usage(8, 2, source="estimated")


# The request


async def test_ceilings_are_lowered_by_what_has_been_said() -> None:
    asking = wanting(A, B, body={"max_tokens": 100, "max_completion_tokens": 2})
    planned = replace(plan(A, B), targets=(Target(A), Target(B, {"max_tokens": 50})))

    it = await got({"a": [BROKEN], "b": [WHOLE]}, A, B, of=asking, planned=planned)

    assert (it.asked()["max_tokens"], it.asked()["max_completion_tokens"]) == (48, 1)


REWRITTEN = [
    (
        b'{"model":"auto","messages":[{"role":"user","content":"Hi"}],"stream":true}',
        b'{"model":"auto","messages":[{"role":"user","content":"Hi"},NEW],"stream":true}',
    ),
    (
        b' { "max_tokens" : 1000, "messages" : [ {"role":"us\xc3\xa9r"} ] ,"stream":true,\n"model":"auto" } ',
        b' { "max_tokens" : 997, "messages" : [ {"role":"us\xc3\xa9r"} ,NEW] ,"stream":true,\n"model":"auto" } ',
    ),
    (
        b'{"stream":true,"router":{"debug":true},"messages":[{"role":"user"}],"max_tokens":3,"model":"auto","user":"u"}',
        b'{"stream":true,"router":{"debug":true},"messages":[{"role":"user"},NEW],"max_tokens":1,"model":"auto","user":"u"}',
    ),
]


@pytest.mark.parametrize(("raw", "expected"), REWRITTEN)
def test_unchanged_members_keep_their_bytes_and_positions(raw: bytes, expected: bytes) -> None:
    before = call(raw)
    new = {"role": "assistant", "content": 'Say "é😀"'}

    after = continued(before, new["content"], 3)

    document = parse(after.raw)
    assert after.raw == expected.replace(b"NEW", compact(new))
    assert after.spans == document.spans
    assert after.body == {name: value for name, value in document.body.items() if name != "router"}
    assert (before.raw, len(before.body["messages"])) == (raw, 1)


def test_a_call_without_member_positions_is_scanned() -> None:
    before = replace(call(json.dumps(BODY).encode()), spans={})

    after = continued(before, "Hello", 2)

    assert parse(after.raw).spans == after.spans


# A client who leaves


async def left(script: dict[str, Sequence[Answer]], *deployments: Deployment, after: int) -> tuple[Bench, Record]:
    """The client reads so many pieces and goes."""
    b = bench(script)
    of = wanting(*deployments)
    made = record(of, started=b.clock.now)
    async with running(b, of, plan(*deployments), made) as reply, aclosing(reply.chunks) as chunks:
        for _ in range(after):
            await anext(chunks)
    return b, made


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_client_who_leaves_keeps_nothing_open(after: int) -> None:
    b, made = await left({"a": [BROKEN], "b": [Answer([*REST[:3], Stall()])]}, A, B, after=after)

    assert (b.transport.open, b.transport.reading) == (0, 0)
    assert outcomes(made) == (["a cancelled"] if after == 1 else ["a broken_stream", "b cancelled"])


@pytest.mark.parametrize("before", [[Stall()], []], ids=["before its head", "before its first content"])
async def test_nor_does_one_who_is_cut_off_while_the_rest_begins(before: list[Stall]) -> None:
    limited = replace(B, limits=LimitValues(concurrency=1))
    b = bench({"a": [BROKEN], "b": [Answer([ROLE, Stall()], before=before), WHOLE]}, clock=VirtualClock())
    of = wanting(A, limited)

    async with anyio.create_task_group() as group:
        group.start_soon(b.run, of, plan(A, limited))
        await idle()
        assert b.transport.open == 1
        group.cancel_scope.cancel()

    assert (b.transport.open, b.transport.reading) == (0, 0)
    _, again = await b.run(wanting(limited), plan(limited))
    assert outcomes(again) == ["b ok"]
