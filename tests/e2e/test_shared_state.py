"""Replicas that share their limits in a real Redis, and what remains when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.boxes import ADMIN, ANSWER, Box, boxed, patient_client
from tests.support.redis_server import RedisServer, redis_server_at
from tests.support.redis_server import redis as redis
from tests.support.redis_server import shared_redis as shared_redis
from tests.support.servers import signalbox_process
from tests.support.upstreams import Upstream, held_plain, refuse, running
from tests.support.waiting import until

DEGRADED = "signalbox_state_degraded"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running(Upstream()) as found:
        yield found


def configuration(upstream: Upstream, state: str, *, fail: str = "open", wait: str = "0s", **limits: int) -> Any:
    keys = [{"id": "one", "value": "sk-one-00000000"}]
    return {
        "auth": {"admin_token": "admin"},
        "state": state,
        "dependencies": {"state": {"fail": fail}},
        "providers": {"up": {"base_url": upstream.url, "keys": keys}},
        "models": [{"id": "up/a", "limits": limits}, {"id": "up/free"}],
        "routing": {"scenarios": {"both": ["up/a", "up/free"]}},
        "resilience": {"queue": {"max_wait": wait}},
    }


@contextmanager
def replicas(folder: Path, config: Any, count: int = 2) -> Iterator[list[Box]]:
    with ExitStack() as stack:
        boxes = []
        for number in range(count):
            own = folder / str(number)
            own.mkdir()
            boxes.append(stack.enter_context(boxed(own, config)))
        yield boxes


def degraded(box: Box) -> int:
    return box.metric(DEGRADED)


def test_a_limit_holds_over_replicas(tmp_path: Path, upstream: Upstream, redis: RedisServer) -> None:
    with replicas(tmp_path, configuration(upstream, redis.url, rpm=5), 3) as boxes:
        statuses = [box.ask("up/a").status_code for _ in range(4) for box in boxes]

        assert statuses == [200] * 5 + [429] * 7
        assert [[row["used"] for row in box.admin("limits")] for box in boxes] == [[5]] * 3
        assert len(upstream.requests) == 5


@pytest.mark.parametrize("limits", [{"limits": {"rpm": 5}}, {"model_limits": {"up/*": {"rpm": 5}}}])
def test_a_limit_of_a_key_holds_over_replicas(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, limits: dict[str, Any]
) -> None:
    auth = {"mode": "keys", "pepper": "p" * 32, "admin_token": "admin"}
    shared = {**configuration(upstream, redis.url), "auth": auth, "store": f"sqlite:///{tmp_path / 'shared.db'}"}
    with replicas(tmp_path, shared, 2) as boxes, patient_client() as http:
        http.post(f"{boxes[0].url}/admin/users", headers=ADMIN, json={"id": "ann"})
        row = {"name": "ours", "user": "ann", **limits}
        created = http.post(f"{boxes[0].url}/admin/keys", headers=ADMIN, json=row).json()
        headers = {"authorization": f"Bearer {created['key']}"}
        body = {"model": "up/free", "messages": [{"role": "user", "content": "Hello"}]}
        answers = [
            http.post(f"{box.url}/v1/chat/completions", headers=headers, json=body) for _ in range(4) for box in boxes
        ]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["4", "3", "2", "1"] + ["0"] * 4
    assert len(upstream.requests) == 5


def test_a_slot_that_another_replica_frees_serves_a_waiting_call(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    upstream.script("a", held_plain(ANSWER))
    with replicas(tmp_path, configuration(upstream, redis.url, wait="60s", concurrency=1)) as (one, two):
        first = one.begin("up/a")
        running_call = upstream.next()
        second = two.begin("up/a")
        until(lambda: two.depth() == 1)

        running_call.release()

        assert first.result().status_code == 200
        upstream.next().release()
        assert second.result().status_code == 200


def test_an_open_breaker_and_its_reset_are_seen_by_the_other_replica(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    upstream.script("free", refuse(500))
    with replicas(tmp_path, configuration(upstream, redis.url)) as (one, two):
        for _ in range(3):
            one.ask("up/free")
        assert one.breakers()

        until(lambda: two.breakers().keys() == one.breakers().keys())

        two.http.post(f"{two.url}/admin/breakers/reset", headers=ADMIN).raise_for_status()
        until(lambda: not one.breakers())


def test_a_limit_holds_over_the_workers_of_one_service(tmp_path: Path, upstream: Upstream, redis: RedisServer) -> None:
    config = configuration(upstream, redis.url, rpm=5) | {"server": {"workers": 2}}
    with signalbox_process(config, tmp_path) as process, patient_client(keeps_connections=False) as http:
        box = Box(process.url, http)

        statuses = [box.ask("up/a").status_code for _ in range(10)]

    assert statuses == [200] * 5 + [429] * 5


def test_calls_without_limits_need_no_redis(tmp_path: Path, upstream: Upstream) -> None:
    with replicas(tmp_path, configuration(upstream, "redis://127.0.0.1:1/0", fail="closed", rpm=5), 1) as [box]:
        assert box.ask("up/free").status_code == 200
        assert box.http.get(f"{box.url}/readyz").status_code == 200
        assert degraded(box) == 1


@pytest.mark.parametrize("failure", ["stop", "freeze"])
def test_each_replica_counts_by_itself_while_redis_is_away(tmp_path: Path, upstream: Upstream, failure: str) -> None:
    (tmp_path / "redis").mkdir()
    with redis_server_at(tmp_path / "redis") as server:
        config = configuration(upstream, server.impatient_url, rpm=2)
        with replicas(tmp_path, config) as boxes:
            assert [box.ask("up/a").status_code for box in boxes] == [200, 200]
            assert degraded(boxes[0]) == 0
            getattr(server, failure)()

            statuses = [[box.ask("up/a").status_code for _ in range(3)] for box in boxes]

            assert statuses == [[200, 200, 429]] * 2
            assert [degraded(box) for box in boxes] == [1, 1]
            if failure == "stop":
                server.start()
            else:
                server.thaw()
            until(lambda: [degraded(box) for box in boxes] == [0, 0])


def test_calls_under_limits_are_rejected_if_the_policy_is_closed(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "redis").mkdir()
    with (
        redis_server_at(tmp_path / "redis") as server,
        replicas(tmp_path, configuration(upstream, server.url, fail="closed", rpm=9), 1) as [box],
    ):
        assert box.ask("up/a").status_code == 200
        server.stop()
        until(lambda: degraded(box) == 1)

        answer = box.ask("up/a")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert answer.headers["retry-after"] == "2"
        assert box.ask("up/free").status_code == 200
        assert box.ask("scenario/both").headers["x-router-model"] == "free"
        assert box.http.get(f"{box.url}/admin/limits", headers=ADMIN).status_code == 503

        server.start()
        until(lambda: degraded(box) == 0)
        assert box.ask("up/a").status_code == 200


def test_a_conversation_of_auto_stays_with_its_model_at_another_replica(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    tiers = [{"id": f"up/{tier}", "tier": tier, "price": {"input": 1, "output": 1}} for tier in ("low", "high")]
    messages = [{"role": "user", "content": "Prove rigorously that the integral converges, step by step. " * 5}]
    later = [*messages, {"role": "assistant", "content": "It does."}, {"role": "user", "content": "thanks"}]
    config = {**configuration(upstream, redis.url), "models": tiers, "routing": {}}
    with replicas(tmp_path, config) as boxes:
        first = boxes[0].ask("auto", messages=messages).headers["x-router-model"]

        def warm() -> Any:
            record = boxes[1].http.post(f"{boxes[1].url}/v1/route", json={"model": "auto", "messages": later}).json()
            return record["ranking"]["warm"]

        assert until(warm) == {"model": "up/high", "cached_tokens": 0}
        redis.stop()
        second = boxes[1].ask("auto", messages=later).headers["x-router-model"]

    assert (first, second) == ("high", "high")
