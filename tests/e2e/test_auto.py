"""`auto` over real sockets: its target cost, its conversations and its filters, as clients and `POST /v1/route` see."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.boxes import ADMIN, Box, boxed
from tests.support.upstreams import Upstream, running

EASY, HARD = (
    "hello",
    "Prove rigorously that the integral converges; derive its asymptotic complexity step by step. " * 5,
)
WORDS = ("why", "proof", "of", "the", "integral", "code", "function", "derive", "list", "hello", "a", "or", "what")
MODELS = ("low", "medium", "high")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running(Upstream()) as found:
        yield found


def configuration(url: str, **routing: Any) -> dict[str, Any]:
    prices = {"low": 0.1, "medium": 1, "high": 10}
    return {
        "auth": {"admin_token": "admin"},
        "testing": True,
        "providers": {"up": {"base_url": url, "keys": [{"id": "one", "value": "sk-one-00000000"}]}},
        "models": [
            {"id": f"up/{tier}", "tier": tier, "price": {"input": prices[tier], "output": prices[tier]}}
            for tier in MODELS
        ],
        "routing": routing,
        "resilience": {"breaker": {"consecutive": 1}, "retry": {"same_target": 0}},
    }


def decided(box: Box, *texts: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
    answer = box.http.post(f"{box.url}/v1/route", json={"model": "auto", "messages": messages, **more})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def without_id(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "id"}


@pytest.mark.parametrize("kind", ["rules", "model"])
def test_half_of_the_calls_go_to_the_strong_model_if_that_is_the_target(
    tmp_path: Path, upstream: Upstream, kind: str
) -> None:
    rng = random.Random(3)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(700)]
    with boxed(tmp_path, configuration(upstream.url, cost=0.5, classifier={"kind": kind})) as box:
        records = [decided(box, text) for text in texts]

    strong = [record["chosen"] == "up/high" for record in records]
    assert sum(strong[:500]) / 500 == pytest.approx(0.5, abs=0.02)
    assert sum(strong[200:]) / 500 == pytest.approx(0.5, abs=0.02)
    assert records[-1]["ranking"]["calibration"]["version"] == 34
    assert upstream.requests == []


def test_the_same_request_gets_the_same_record(tmp_path: Path, upstream: Upstream) -> None:
    with boxed(tmp_path, configuration(upstream.url, cost=0.5, quality=0.6)) as box:
        first, second = decided(box, HARD), decided(box, HARD)

    assert without_id(first) == without_id(second)


def test_a_conversation_stays_with_its_model_until_it_needs_a_better_one(tmp_path: Path, upstream: Upstream) -> None:
    def model(box: Box, *texts: str) -> str:
        messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
        body = {"model": "auto", "messages": messages}
        return str(box.http.post(f"{box.url}/v1/chat/completions", json=body).headers["x-router-model"])

    with boxed(tmp_path, configuration(upstream.url)) as box:
        hard = [model(box, HARD), model(box, HARD, "It does.", "thanks")]
        easy = [model(box, EASY), model(box, EASY, "Hi!", HARD)]
        alone = model(box, "thanks")
        record = decided(box, HARD, "It does.", "thanks")

    assert hard == ["high", "high"]
    assert easy == ["low", "high"]
    assert alone == "low"
    assert record["ranking"]["warm"] == {"model": "up/high", "cached_tokens": 0}


def test_a_model_with_an_open_breaker_is_filtered_out(tmp_path: Path, upstream: Upstream) -> None:
    with boxed(tmp_path, configuration(upstream.url)) as box:
        box.http.post(f"{box.url}/admin/simulate/failure", headers=ADMIN, json=FAILURE)
        box.ask("up/low")
        record = decided(box, EASY)

    [low] = [row for row in record["candidates"] if row["model"] == "low"]
    assert record["chosen"] == "up/medium"
    assert (low["status"], low["filter"]) == ("rejected", "unavailable")


FAILURE = {"provider": "up", "model": "low", "kind": "error", "seconds": 60, "rate": 1}


def test_a_spent_budget_of_a_provider_sends_calls_to_another_one(tmp_path: Path, upstream: Upstream) -> None:
    config = configuration(upstream.url)
    config["providers"]["other"] = config["providers"]["up"]
    config["models"].append({"id": "other/dear", "tier": "low", "price": {"input": 20, "output": 20}})
    config["budgets"] = [{"scope": "provider", "id": "up", "usd": 0.00001, "period": "day"}]
    with boxed(tmp_path, config) as box:
        box.ask("up/low", max_tokens=50)
        record, answer = decided(box, EASY), box.ask("auto")

    assert record["chosen"] == "other/dear"
    assert {row["filter"] for row in record["candidates"] if row["provider"] == "up"} == {"budget"}
    assert answer.headers["x-router-model"] == "dear"


def test_the_reason_is_in_a_few_words(tmp_path: Path, upstream: Upstream) -> None:
    with boxed(tmp_path, configuration(upstream.url)) as box:
        reason = box.ask("auto").headers["x-router-reason"]

    assert reason == "balanced mode, task chat, needs tier low: best score of 3"
