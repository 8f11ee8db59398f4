"""Limits of providers and the queue before them, as clients, operators and upstreams see them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import upstreams
from tests.support.boxes import ANSWER, HELLO, KEYS, boxed
from tests.support.clocks import ServerClock
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, plain, refuse, words
from tests.support.waiting import PATIENCE, until

PATIENT = {"max_wait": "5m"}  # for calls that wait until the test gives them room


def configuration(url: str, limits: dict[str, Any], **resilience: Any) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": url, "keys": KEYS[:1]}, "pool": {"base_url": url, "keys": KEYS}},
        "models": [
            {"id": "up/a", "limits": limits},
            {"id": "up/b", "limits": limits},
            {"id": "up/free"},
            {"id": "pool/a", "limits": limits},
        ],
        "routing": {"scenarios": {"both": ["up/a", "up/b"], "spare": ["up/a", "up/free"]}},
        "resilience": resilience,
    }


def test_a_limit_is_exact_and_gives_a_retry_after(upstream: Upstream, tmp_path: Path) -> None:
    with boxed(tmp_path, configuration(upstream.url, {"rpm": 5}), ServerClock()) as box:
        answers = [box.ask("up/a") for _ in range(8)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert len(upstream.requests) == 5
    refused = answers[-1]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 59 < float(refused.headers["retry-after-ms"]) / 1000 <= 61
    assert "x-should-retry" not in refused.headers  # another try, later, may do


def test_every_key_has_the_limit_for_itself(upstream: Upstream, tmp_path: Path) -> None:
    with boxed(tmp_path, configuration(upstream.url, {"rpm": 3})) as box:
        statuses = [box.ask("pool/a").status_code for _ in range(7)]
        rows = {row["key"]: (row["used"], row["limit"]) for row in box.admin("limits") if row["provider"] == "pool"}

    assert statuses == [200] * 6 + [429]
    assert rows == {"one": (3, 3), "two": (3, 3)}


def test_a_full_target_is_passed_over(upstream: Upstream, tmp_path: Path) -> None:
    with boxed(tmp_path, configuration(upstream.url, {"rpm": 1})) as box:
        answers = [box.ask("scenario/spare") for _ in range(3)]

    assert [answer.headers["x-router-model"] for answer in answers] == ["a", "free", "free"]
    assert [answer.headers["x-router-attempts"] for answer in answers] == ["1"] * 3


def test_a_call_waits_for_a_place_and_both_waits_are_told(upstream: Upstream, tmp_path: Path, access_log: Any) -> None:
    upstream.script("a", upstreams.held_plain(ANSWER), plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"concurrency": 1}, queue=PATIENT)) as box:
        first = box.begin("up/a")
        holder = upstream.next()
        second = box.begin("up/a", caller="x", router={"debug": True})
        until(lambda: box.depth() == 1)
        waiting = box.admin("queues")
        routed = box.http.post(f"{box.url}/v1/route", json={"model": "up/a", "messages": HELLO}).json()
        holder.release()
        answers = [first.result(PATIENCE), second.result(PATIENCE)]
        lines_by_id = {line["id"]: line for line in (access_log.next(), access_log.next())}
        lines = [lines_by_id[answer.headers["x-router-id"]] for answer in answers]

    assert [answer.status_code for answer in answers] == [200, 200]
    [row] = waiting
    assert row["waiting"] == 1
    assert row["caller"].startswith("key-")
    assert routed["candidates"][0]["estimated_wait_ms"] > 0
    assert answers[1].json()["router"]["wait"]["predicted_ms"] > 0
    assert lines[1]["waited_ms"] > lines[0]["waited_ms"]
    assert lines[1]["predicted_wait_ms"] > 0


def test_the_earliest_place_of_all_targets_is_taken(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held_plain(ANSWER), plain(ANSWER))
    upstream.script("b", upstreams.held_plain(ANSWER), plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"concurrency": 1}, queue=PATIENT)) as box:
        held = [box.begin("scenario/both"), box.begin("scenario/both")]
        by_model = {request.model: request for request in (upstream.next(), upstream.next())}
        third = box.begin("scenario/both")
        until(lambda: box.depth() == 1)
        by_model["b"].release()
        answer = third.result(PATIENCE)
        by_model["a"].release()
        for each in held:
            each.result(PATIENCE)

    assert answer.headers["x-router-model"] == "b"


@pytest.mark.parametrize("router", [{"max_wait_seconds": 0}, {"max_wait_seconds": 0.001}])
def test_who_may_not_wait_is_refused_at_once(upstream: Upstream, tmp_path: Path, router: dict[str, Any]) -> None:
    upstream.script("a", upstreams.held_plain(ANSWER), plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"concurrency": 1})) as box:
        first = box.begin("up/a")
        holder = upstream.next()
        refused = box.ask("up/a", router=router)
        holder.release()
        first.result(PATIENCE)

    assert refused.status_code == 429
    assert float(refused.headers["retry-after-ms"]) > 0
    assert len(upstream.requests) == 1


def test_a_full_queue_says_so(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held_plain(ANSWER), plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"concurrency": 1}, queue={"size": 1, **PATIENT})) as box:
        calls = [box.begin("up/a")]
        holder = upstream.next()
        calls.append(box.begin("up/a"))
        until(lambda: box.depth() == 1)
        full = box.ask("up/a")
        holder.release()
        statuses = [call.result(PATIENCE).status_code for call in calls]

    assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")
    assert "retry-after" in full.headers
    assert statuses == [200, 200]


def test_callers_take_turns(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held_plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"concurrency": 1}, queue=PATIENT)) as box:
        calls = [box.begin("up/a", caller="greedy")]
        turns = [upstream.next()]
        for waiting, caller in enumerate(["greedy", "greedy", "greedy", "modest"], 1):
            calls.append(box.begin("up/a", caller=caller))
            until(lambda waiting=waiting: box.depth() == waiting)  # type: ignore[misc]
        for _ in range(4):
            turns[-1].release()
            turns.append(upstream.next())
        turns[-1].release()
        statuses = [call.result(PATIENCE).status_code for call in calls]

    assert statuses == [200] * 5
    order = [turn.json["messages"][0]["content"] for turn in turns]
    assert order.index("modest") <= 2  # and not behind all the others who came before


def test_a_client_that_leaves_the_queue_leaves_nothing_behind(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held_plain(ANSWER), plain(ANSWER))

    body = json.dumps({"model": "up/a", "messages": HELLO}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"

    with boxed(tmp_path, configuration(upstream.url, {"concurrency": 1}, queue=PATIENT)) as box:
        first = box.begin("up/a")
        holder = upstream.next()
        url = httpx.URL(box.url)
        with socket.create_connection((url.host, url.port), timeout=PATIENCE) as client:
            client.sendall(head.encode() + body)
            until(lambda: box.depth() == 1)
        until(lambda: box.depth() == 0)
        holder.release()
        statuses = [first.result(PATIENCE).status_code, box.ask("up/a").status_code]

    assert statuses == [200, 200]
    assert len(upstream.requests) == 2


def test_a_stream_holds_its_place_to_the_end(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held([ROLE, *words("a")], [FINISH, DONE]), plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"concurrency": 1})) as box:
        body = {"model": "up/a", "messages": HELLO, "stream": True}
        with box.http.stream("POST", f"{box.url}/v1/chat/completions", json=body) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            refused = box.ask("up/a", router={"max_wait_seconds": 0})
            upstream.next().release()
            rest = b"".join(chunks)
        after = box.ask("up/a")

    assert refused.status_code == 429
    assert rest.endswith(DONE)
    assert after.status_code == 200


def test_a_rate_limit_is_waited_out_where_the_call_may(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("free", refuse(429, headers={"retry-after-ms": "300"}), plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"rpm": 100})) as box:
        answer = box.ask("up/free")

    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "2")


def test_a_rate_limit_too_long_to_wait_for_is_passed_on(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("free", refuse(429, headers={"retry-after": "30"}), plain(ANSWER))

    with boxed(tmp_path, configuration(upstream.url, {"rpm": 100}), ServerClock()) as box:
        first, second = box.ask("up/free"), box.ask("up/free")

    assert (first.status_code, first.headers["x-router-attempts"]) == (429, "1")
    assert (second.status_code, second.headers["x-router-attempts"]) == (429, "0")
    assert 20 < float(second.headers["retry-after"]) <= 30


def test_a_learned_limit_is_kept_before_the_first_429(upstream: Upstream, tmp_path: Path) -> None:
    limit_headers = {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1h6m40s",  # until all 100 are back: one every 40 s
    }
    upstream.script("free", plain(ANSWER, headers=limit_headers))

    with boxed(tmp_path, configuration(upstream.url, {"rpm": 100}), ServerClock()) as box:
        statuses = [box.ask("up/free").status_code for _ in range(2)]
        rows = {row["kind"]: row for row in box.admin("limits") if row["model"] == "free"}
        [health] = [row["health"] for row in box.admin("providers") if row["id"] == "up"]

    assert statuses == [200, 429]
    assert len(upstream.requests) == 1
    assert 30 < rows["rest"]["rest_seconds_left"] <= 40
    assert health["pattern"] == "limits"


def test_tokens_are_reserved_before_and_corrected_after(upstream: Upstream, tmp_path: Path) -> None:
    answer = {
        **upstreams.completion("hello"),
        "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
    }
    upstream.script("a", plain(json.dumps(answer).encode()))

    with boxed(tmp_path, configuration(upstream.url, {"tpm": 2000})) as box:
        box.ask("up/a")
        unused, row = sorted(
            (row for row in box.admin("limits") if row["provider"] == "up"), key=lambda row: int(row["used"])
        )

    assert (row["kind"], row["limit"], row["used"]) == ("tpm", 2000, 50)
    assert (unused["model"], unused["limit"], unused["used"]) == ("b", 2000, 0)  # what is configured is listed too
