"""Limits of clients over HTTP: every path of a call gives back what it reserved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from proxy.admission.keys import Peppers
from proxy.core.accounts import User, VirtualKey
from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.core.model import LimitValues
from proxy.store.accounts import Accounts
from proxy.store.database import Database
from tests.support.servers import signalbox
from tests.support.waiting import PATIENCE, until

PEPPER = "canary-pepper-8e41-0123456789abcdef"
CONFIG: dict[str, Any] = {
    "store": "sqlite",
    "auth": {"mode": "keys", "pepper": PEPPER},
    "defaults": {"key_limits": {"rpm": 1}},
    "providers": {
        "mock": {"dialect": "mock"},
        "slow": {"dialect": "mock", "latency": "30s"},
        "broken": {"dialect": "mock", "failure_rate": 1.0},
    },
    "models": [{"id": "mock/small"}, {"id": "slow/small"}, {"id": "broken/small"}],
    "resilience": {
        "breaker": {"consecutive": 1000, "window_failures": 1000},
        "retry": {"attempts": 2, "same_target": 0},
    },
}
LIMITS = {
    "three": LimitValues(rpm=3, tpm=100_000),
    "one": LimitValues(concurrency=1, tpm=2500),
    "free": LimitValues(rpd=1000),
    "default": LimitValues(),
    "models": LimitValues(rpd=1000),
}


async def _create(folder: Path) -> dict[str, str]:
    location = locate("sqlite", str(folder / "data"))
    assert location is not None
    database, issued = Database(location, SystemClock()), {}
    accounts, peppers = Accounts(database, SystemClock()), Peppers([PEPPER])
    try:
        await accounts.create(User(id="alice", limits=LimitValues(rpm=2)), "test")
        for name, limits in {**LIMITS, "alice1": LIMITS["free"], "alice2": LIMITS["free"]}.items():
            key, digest, pepper_id, prefix, last4 = peppers.issue()
            row = VirtualKey(
                id=name,
                name=name,
                digest=digest,
                pepper_id=pepper_id,
                prefix=prefix,
                last4=last4,
                limits=limits,
                user="alice" if name.startswith("alice") else None,
                model_limits={"mock/*": LimitValues(rpm=2)} if name == "models" else {},
            )
            await accounts.create(row, "test")
            issued[name] = key
    finally:
        await database.close()
    return issued


@pytest.fixture
def box(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    (tmp_path / "data").mkdir()
    keys = asyncio.run(_create(tmp_path))
    with signalbox(CONFIG, tmp_path) as running:
        yield running.url, keys


def chat(http: httpx.Client, url: str, key: str, model: str = "mock/small", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
    return http.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def test_a_limit_is_kept_and_reported(box: tuple[str, dict[str, str]], http: httpx.Client) -> None:
    url, keys = box

    answers = [chat(http, url, keys["three"], stream=number == 1) for number in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    assert answers[0].headers["x-ratelimit-reset-requests"] == "1m0s"
    assert int(answers[0].headers["x-ratelimit-remaining-tokens"]) < 100_000
    error = answers[3].json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "3 requests per minute (`rpm`) of the key `three`" in error["message"]
    assert 0 < int(answers[3].headers["retry-after"]) <= 61


def test_counts_of_tokens_are_limited_apart_from_calls(box: tuple[str, dict[str, str]], http: httpx.Client) -> None:
    url, keys = box
    headers = {"x-api-key": keys["three"]}
    hello = [{"role": "user", "content": "Hello"}]
    counts: list[tuple[str, dict[str, Any]]] = [
        ("/v1/messages/count_tokens", {"model": "mock/small", "messages": hello}),
        ("/v1beta/models/mock/small:countTokens", {"contents": "Hello"}),
        ("/v1/responses/input_tokens", {"model": "mock/small", "input": "Hello"}),
    ]

    counted = [http.post(url + path, json=body, headers=headers) for path, body in (*counts, *counts)]
    answer = chat(http, url, keys["three"])

    assert [each.status_code for each in counted] == [200, 200, 200, 429, 429, 429]
    assert [each.headers["x-ratelimit-remaining-requests"] for each in counted[:4]] == ["2", "1", "0", "0"]
    assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (200, "2")


def test_defaults_and_users_limit_too(box: tuple[str, dict[str, str]], http: httpx.Client) -> None:
    url, keys = box

    of_default = [chat(http, url, keys["default"]).status_code for _ in range(2)]
    of_user = [chat(http, url, keys[name]) for name in ("alice1", "alice2", "alice1", "alice2")]

    assert of_default == [200, 429]
    assert [answer.status_code for answer in of_user] == [200, 200, 429, 429]
    assert "of the user `alice`" in of_user[2].json()["error"]["message"]


def test_every_end_of_a_call_frees_what_it_reserved(box: tuple[str, dict[str, str]], http: httpx.Client) -> None:
    url, keys = box
    one = keys["one"]

    failed = chat(http, url, one, "broken/small").status_code
    missing = chat(http, url, one, "none/small").status_code
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key=one, max_retries=0, timeout=PATIENCE) as client,
        client.chat.completions.create(
            model="mock/small", messages=[{"role": "user", "content": "Hello"}], stream=True
        ) as stream,
    ):
        next(iter(stream))
    left = httpx.Client(timeout=0.3, trust_env=False)
    with pytest.raises(httpx.TimeoutException):
        chat(left, url, one, "slow/small")
    left.close()

    until(lambda: chat(http, url, one, max_tokens=10).status_code == 200)
    assert (failed >= 500, missing) == (True, 404)


def test_concurrent_calls_are_limited(box: tuple[str, dict[str, str]]) -> None:
    url, keys = box

    async def ask() -> list[int]:
        async with httpx.AsyncClient(timeout=0.5, trust_env=False) as client:

            async def one(model: str) -> int:
                body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
                try:
                    answer = await client.post(
                        f"{url}/v1/chat/completions", json=body, headers={"x-api-key": keys["one"]}
                    )
                except httpx.TimeoutException:
                    return 0
                return answer.status_code

            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(one("slow/small")) for _ in range(3)]
            return sorted(call.result() for call in calls)

    assert asyncio.run(ask()) == [0, 429, 429]


def test_fallbacks_count_for_the_limit_of_their_own_model(box: tuple[str, dict[str, str]], http: httpx.Client) -> None:
    url, keys = box
    fallbacks = {"fallbacks": ["mock/small"]}

    answers = [chat(http, url, keys["models"], "broken/small", router=fallbacks) for _ in range(3)]
    direct = chat(http, url, keys["models"])

    assert [answer.status_code for answer in (*answers, direct)] == [200, 200, 429, 429]
    assert [answer.headers.get("x-ratelimit-remaining-requests") for answer in answers] == ["1", "0", "0"]
    error = answers[2].json()["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert "2 requests per minute (`rpm`) of the key `models` for `mock/*` is reached" in error["message"]
    assert "Also failed: `broken/small`" in error["message"]
    assert 0 < int(answers[2].headers["retry-after"]) <= 61
