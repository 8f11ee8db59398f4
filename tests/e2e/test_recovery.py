"""What helps when providers fail: second targets, fresh connections, presets, drills, probes, and state that lasts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support import upstreams
from tests.support.boxes import ADMIN, ANSWER, HELLO, KEYS, Box, boxed
from tests.support.clocks import ServerClock
from tests.support.servers import signalbox_process
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, plain, refuse, stream, words
from tests.support.waiting import PATIENCE, until


def configuration(url: str, **more: Any) -> dict[str, Any]:
    keyed = {"base_url": url, "keys": KEYS[:1]}
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"first": keyed, "second": keyed},
        "models": [
            {"id": "first/a", "price": {"input": 1, "output": 2}},
            {"id": "second/b", "price": {"input": 10, "output": 20}},
        ],
        "routing": {"scenarios": {"all": ["first/a", "second/b"], "strict": ["first/a", "second/b"]}},
        **more,
    }


# Hedging


def test_a_slow_stream_is_overtaken_and_both_are_accounted(upstream: Upstream, tmp_path: Path, access_log: Any) -> None:
    upstream.script("a", *[stream([ROLE, *words("a"), FINISH, DONE])] * 5, upstreams.stall)
    upstream.script("b", stream([ROLE, *words("b"), FINISH, DONE]))
    config = configuration(upstream.url, resilience={"hedge": {"enabled": True, "samples": 5}})

    with boxed(tmp_path, config) as box:
        usual = [box.ask("scenario/all", stream=True) for _ in range(5)]
        overtaken = box.ask("scenario/all", stream=True)
        lines = [access_log.next() for _ in range(6)]

    assert all("a2" in answer.text for answer in usual)
    assert "b2" in overtaken.text
    assert "a0" not in overtaken.text
    assert [(row["provider"], row["outcome"]) for row in lines[-1]["attempts"]] == [
        ("first", "hedge_lost"),
        ("second", "ok"),
    ]
    assert lines[-1]["provider"] == "second"
    assert lines[-1]["cost_usd"] > 0
    upstream.requests[5].left()  # the loser's connection was closed


def test_nothing_is_hedged_unless_it_is_wanted(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", stream([ROLE, *words("a"), FINISH, DONE]))

    with boxed(tmp_path, configuration(upstream.url)) as box:
        for _ in range(30):
            box.ask("scenario/all", stream=True)

    assert upstream.models == ["a"] * 30


# Failure classes


def test_a_class_of_failures_may_be_told_what_follows(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(500))
    resilience = {
        "failures": {"server_error": {"retries": 2, "backoff": "1ms", "max_backoff": "1ms", "breaker": False}},
        "retry": {"attempts": 5},
    }

    with boxed(tmp_path, configuration(upstream.url, resilience=resilience)) as box:
        answers = [box.ask("scenario/all") for _ in range(4)]
        breakers = box.admin("breakers")

    assert [answer.status_code for answer in answers] == [200] * 4
    assert upstream.models == ["a", "a", "a", "b"] * 4
    assert breakers == []


def test_a_preset_is_what_is_not_given(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(500))
    resilience = {"preset": "bkvy", "retry": {"backoff": "1ms", "max_backoff": "1ms"}}

    with boxed(tmp_path, configuration(upstream.url, resilience=resilience)) as box:
        answer = box.ask("scenario/all")

    assert answer.status_code == 200
    assert upstream.models == ["a"] * 3 + ["b"]  # three retries, were it not for the breaker


def test_content_refusals_fall_back_only_if_the_scenario_allows(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(400, code="content_filter"))
    config = configuration(upstream.url)
    config["routing"]["content_fallback"] = ["all"]

    with boxed(tmp_path, config) as box:
        allowed, strict = box.ask("scenario/all"), box.ask("scenario/strict")

    assert (allowed.status_code, allowed.headers["x-router-provider"]) == (200, "second")
    assert (strict.status_code, strict.json()["error"]["code"]) == (400, "content_filter")
    assert upstream.models == ["a", "b", "a"]


def test_retries_are_paid_from_one_budget(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(503))
    upstream.script("b", refuse(503))
    resilience = {
        "breaker": {"consecutive": 1000, "window_failures": 1000},
        "retry": {"backoff": "1ms", "max_backoff": "1ms", "budget": {"share": 0.2, "floor": 0}},
    }

    with boxed(tmp_path, configuration(upstream.url, resilience=resilience), ServerClock()) as box:
        answers = [box.ask("scenario/all") for _ in range(50)]
        metrics = box.http.get(f"{box.url}/metrics").text

    assert {answer.status_code for answer in answers} == {503}
    assert 50 < len(upstream.requests) <= 60
    assert "signalbox_retries_refused_total 4" in metrics or "signalbox_retries_refused_total 5" in metrics


# Connections


class Closing:
    """An upstream that serves one request a connection well, and closes it when the next one arrives."""

    def __init__(self) -> None:
        self.served = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            self._ready.set()
            await self._stop.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
        try:
            await self._request(reader)
            self.served += 1
            writer.write(head + ANSWER)
            await writer.drain()
            await reader.read(1)
        finally:
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)


@pytest.fixture
def closing() -> Iterator[Closing]:
    found = Closing()
    yield found
    found.stop()


def test_a_dead_pooled_connection_is_unseen(closing: Closing, tmp_path: Path, access_log: Any) -> None:
    with boxed(tmp_path, configuration(closing.url)) as box:
        statuses = [box.ask("first/a").status_code for _ in range(10)]
        lines = [access_log.next() for _ in range(10)]

    assert statuses == [200] * 10
    assert closing.served == 10
    outcomes = [[row["outcome"] for row in line["attempts"]] for line in lines]
    assert outcomes[0] == ["ok"]
    assert ["stale_connection", "ok"] in outcomes


def test_the_second_sending_can_be_turned_off(closing: Closing, tmp_path: Path, access_log: Any) -> None:
    resilience = {"retry": {"stale_post": False, "attempts": 1}}

    with boxed(tmp_path, configuration(closing.url, resilience=resilience)) as box:
        statuses = [box.ask("first/a").status_code for _ in range(2)]

    assert statuses == [200, 502]


# Drills


def test_a_simulated_failure_seems_real_and_ends(upstream: Upstream, tmp_path: Path) -> None:
    with boxed(tmp_path, configuration(upstream.url, testing=True)) as box:
        begun = box.simulate(provider="first", kind="error", seconds=60)
        during = box.ask("scenario/all")
        ended = box.simulate(provider="first", kind="error", seconds=0)
        after = box.ask("scenario/all")

    assert [row["kind"] for row in begun.json()["active"]] == ["error"]
    assert ended.json() == {"active": []}
    assert during.headers["x-router-provider"] == "second"
    assert after.headers["x-router-provider"] == "first"
    assert upstream.models == ["b", "a"]


@pytest.mark.parametrize(("testing", "headers", "status"), [(False, ADMIN, 404), (True, {}, 401)])
def test_nobody_simulates_who_may_not(
    upstream: Upstream, tmp_path: Path, testing: bool, headers: dict[str, str], status: int
) -> None:
    with boxed(tmp_path, configuration(upstream.url, testing=testing)) as box:
        body = {"provider": "first", "kind": "error", "seconds": 60}
        answer = httpx.post(
            f"{box.url}/admin/simulate/failure", headers=headers, json=body, trust_env=False, timeout=PATIENCE
        )

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"provider": "nobody", "kind": "error", "seconds": 1}, "provider"),
        ({"provider": "first", "model": "nothing", "kind": "error", "seconds": 1}, "model"),
        ({"provider": "first", "kind": "fire", "seconds": 1}, "kind"),
        ({"provider": "first", "kind": "error", "seconds": -1}, "seconds"),
        ({"provider": "first", "kind": "error", "seconds": 1, "rate": 2}, "rate"),
        ({"provider": "first", "kind": "error", "seconds": 1, "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_drill_is_refused_by_its_field(
    upstream: Upstream, tmp_path: Path, body: dict[str, Any], param: str
) -> None:
    with boxed(tmp_path, configuration(upstream.url, testing=True)) as box:
        answer = box.simulate(**body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


# Probes and health


def test_a_breaker_closes_by_a_probe_before_a_client_is_risked(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("a", refuse(500), plain(ANSWER))
    resilience = {"breaker": {"consecutive": 1, "open": "5m"}, "retry": {"same_target": 0}}
    config = configuration(upstream.url, testing=True, resilience=resilience)
    config["providers"]["first"] = {"dialect": "mock"}
    clock = ServerClock()

    with boxed(tmp_path, config, clock) as box:
        box.simulate(provider="first", kind="error", seconds=60)
        box.ask("scenario/all")
        opened = box.admin("breakers")
        unwell = {row["id"]: row["health"] for row in box.admin("providers")}["first"]
        box.simulate(provider="first", kind="error", seconds=0)
        clock.pass_(300)
        until(lambda: {row["state"] for row in box.admin("breakers")} <= {"closed"})
        health = {row["id"]: row["health"]["status"] for row in box.admin("providers")}
        calls = len(upstream.requests)
        metrics = box.http.get(f"{box.url}/metrics").text

    assert [row["state"] for row in opened] == ["open"]
    assert (unwell["status"], unwell["pattern"]) == ("unhealthy", "widespread")
    assert unwell["advice"]
    assert health["first"] == "healthy"
    assert calls == 1  # the fallback of the one call: no client was asked to try
    assert 'signalbox_attempts_total{model="a",outcome="ok",provider="first"} 1.0' in metrics  # the probe


# State


def test_what_is_known_of_providers_outlives_kill_9(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(500))
    upstream.script("limited", refuse(429, headers={"retry-after": "300"}))
    resilience = {"breaker": {"consecutive": 1, "open": "5m"}, "retry": {"same_target": 0}}
    config = configuration(upstream.url, resilience=resilience)
    config["models"].append({"id": "first/limited"})
    state = tmp_path / "data" / "state.json"

    with signalbox_process(config, tmp_path) as process, httpx.Client(trust_env=False, timeout=PATIENCE) as http:
        box = Box(process.url, http)
        box.ask("first/a")
        box.ask("first/limited")
        until(lambda: bool(box.admin("breakers")) and state.exists() and "limited" in state.read_text())
        process.popen.kill()
        process.popen.wait(PATIENCE)
    asked = len(upstream.requests)
    with signalbox_process(config, tmp_path) as process, httpx.Client(trust_env=False, timeout=PATIENCE) as http:
        box = Box(process.url, http)
        breakers = {row["id"]: row["state"] for row in box.admin("breakers")}
        limited = box.ask("first/limited")
        fallen = box.ask("scenario/all")

    assert breakers == {"first/a#one": "open"}
    assert (limited.status_code, limited.headers["x-router-attempts"]) == (429, "0")
    assert fallen.headers["x-router-provider"] == "second"
    assert upstream.models[asked:] == ["b"]
    assert "sk-" not in state.read_text()


def test_a_limit_of_a_day_is_not_one_of_a_restart(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", plain(ANSWER))
    config = configuration(upstream.url)
    config["models"][0]["limits"] = {"rpd": 3}
    answers = []

    for calls in (2, 1, 1):
        with signalbox_process(config, tmp_path) as process, httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            box = Box(process.url, http)
            answers += [box.ask("first/a", router={"max_wait_seconds": 0}) for _ in range(calls)]
            process.popen.terminate()
            assert process.popen.wait(PATIENCE) == 0

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 86_000 < int(answers[-1].headers["retry-after"]) <= 86_400 + 675 + 1
    assert upstream.models == ["a"] * 3


def test_a_torn_state_is_a_warning_and_nothing_else(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "state.json").write_text('{"version": 1, "hea')

    with boxed(tmp_path, configuration(upstream.url)) as box:
        answer = box.ask("first/a")

    assert answer.status_code == 200


# Deadlines, as the SDK sees them


def test_the_hard_deadline_holds_inside_attempts(upstream: Upstream, tmp_path: Path, access_log: Any) -> None:
    upstream.script("a", upstreams.stall)
    upstream.script("b", upstreams.stall)
    config = configuration(upstream.url, resilience={"deadline": {"soft": "500ms", "hard": "1s"}})

    with boxed(tmp_path, config) as box, openai.OpenAI(base_url=f"{box.url}/v1", api_key="x", max_retries=0) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            sdk.chat.completions.create(model="scenario/all", messages=HELLO)
        line = access_log.next()

    assert caught.value.status_code == 504
    assert caught.value.code == "deadline_exceeded"
    assert [row["outcome"] for row in line["attempts"]] == ["deadline_exceeded"]


# Silence


def test_a_silent_stream_is_kept_alive_by_comments(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held([ROLE, *words("a")], [FINISH, DONE]))
    config = configuration(upstream.url, server={"stream_keep_alive": "50ms"})

    with boxed(tmp_path, config) as box, openai.OpenAI(base_url=f"{box.url}/v1", api_key="x", max_retries=0) as sdk:
        body = {"model": "first/a", "messages": HELLO, "stream": True}
        with box.http.stream("POST", f"{box.url}/v1/chat/completions", json=body) as answer:
            chunks = answer.iter_raw()
            seen = next(chunks)
            while seen.count(b": keep-alive\n\n") < 2:
                seen += next(chunks)
            upstream.next().release()
            seen += b"".join(chunks)
        parts = sdk.chat.completions.create(model="first/a", messages=HELLO, stream=True)
        texts = []
        for part in parts:
            texts.append(part.choices[0].delta.content or "")
            if len(texts) == 4:
                upstream.next().release()

    assert seen.count(b": keep-alive\n\n") >= 2
    assert seen.replace(b": keep-alive\n\n", b"") == b"".join([ROLE, *words("a"), FINISH, DONE])
    assert "".join(texts) == upstreams.text_of("a")


@pytest.mark.parametrize("setting", ["0s", "1h"])
def test_a_stream_that_need_not_be_kept_alive_is_left_as_it_is(
    upstream: Upstream, tmp_path: Path, setting: str
) -> None:
    upstream.script("a", stream([ROLE, *words("a"), FINISH, DONE]))

    with boxed(tmp_path, configuration(upstream.url, server={"stream_keep_alive": setting})) as box:
        answer = box.ask("first/a", stream=True)

    assert answer.content == b"".join([ROLE, *words("a"), FINISH, DONE])


def test_client_errors_do_not_use_the_retry_budget(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(400, code="context_length_exceeded"))
    config = configuration(upstream.url, resilience={"retry": {"budget": {"share": 0, "floor": 0}}})

    with boxed(tmp_path, config) as box:
        answers = [box.ask("scenario/all") for _ in range(30)]

    assert {answer.headers["x-router-provider"] for answer in answers} == {"second"}


def test_a_call_that_the_budget_cuts_short_may_be_tried_again(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(500))
    config = configuration(upstream.url, resilience={"retry": {"budget": {"share": 0, "floor": 0}}})

    with boxed(tmp_path, config) as box:
        cut_short, whole = box.ask("scenario/all"), box.ask("first/a", router={"max_wait_seconds": 0})

    assert (cut_short.status_code, cut_short.headers["x-router-attempts"]) == (502, "1")
    assert "x-should-retry" not in cut_short.headers
    assert whole.status_code == 502
