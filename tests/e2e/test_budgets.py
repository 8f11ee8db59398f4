"""Budgets over real sockets: refusals, warnings, metrics, and concurrent calls with the upstream's log as the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.boxes import Box, boxed
from tests.support.upstreams import Upstream, completion, plain, running

PRICE = {"input": 100, "output": 200}  # USD per million tokens
CALL_USD = (7 * 100 + 3 * 200) / 1e6  # of the usage that the upstream reports


@pytest.fixture
def upstream() -> Any:
    with running(Upstream()) as found:
        yield found


def configuration(url: str, *budgets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": url, "keys": [{"id": "one", "value": "sk-one-00000000"}]}},
        "models": [{"id": "up/a", "price": PRICE, "max_output": 100}, {"id": "up/free"}],
        "budgets": list(budgets),
        **more,
    }


def metric(box: Box, name: str) -> float:
    lines = box.http.get(f"{box.url}/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_hard_budget_refuses_what_does_not_fit(tmp_path: Path, upstream: Upstream) -> None:
    config = configuration(upstream.url, {"scope": "provider", "id": "up", "usd": 0.03, "period": "day"})
    with boxed(tmp_path, config) as box:
        answers = [box.ask("up/a", max_tokens=10) for _ in range(20)]
        spent, reserved = metric(box, "signalbox_budget_spent_usd"), metric(box, "signalbox_budget_reserved_usd")
        refusals = metric(box, 'signalbox_budget_refusals_total{scope="provider"}')

    admitted = [answer for answer in answers if answer.status_code == 200]
    refused = answers[len(admitted) :]
    assert 0 < len(admitted) == len(upstream.requests) < 20
    assert {answer.status_code for answer in refused} == {429}
    error = refused[0].json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "The budget `provider/up` of 0.03 USD a day" in error["message"]
    assert refused[0].headers["x-should-retry"] == "false"
    assert int(refused[0].headers["retry-after"]) > 0
    assert spent == pytest.approx(CALL_USD * len(admitted), abs=1e-12)
    assert reserved == 0
    assert refusals == len(refused)


def test_a_soft_budget_warns_in_a_header(tmp_path: Path, upstream: Upstream) -> None:
    config = configuration(upstream.url, {"scope": "total", "usd": 0.001, "hard": False})
    with boxed(tmp_path, config) as box:
        first, second = box.ask("up/a"), box.ask("up/a")

    assert (first.status_code, second.status_code) == (200, 200)
    assert "x-router-budget" not in first.headers
    assert second.headers["x-router-budget"] == "total exceeded"


def test_a_model_without_price_is_refused_by_a_hard_budget(tmp_path: Path, upstream: Upstream) -> None:
    with boxed(tmp_path, configuration(upstream.url, {"scope": "total", "usd": 1})) as box:
        answer = box.ask("up/free")

    assert answer.status_code == 429
    assert "`up/free` has no price; configure its `price` (0 if it is free)" in answer.json()["error"]["message"]
    assert upstream.requests == []


def test_usage_above_the_bound_closes_the_budget(tmp_path: Path, upstream: Upstream) -> None:
    false = completion("hi") | {"usage": {"prompt_tokens": 7, "completion_tokens": 90, "total_tokens": 97}}
    upstream.script("a", plain(json.dumps(false).encode()))
    with boxed(tmp_path, configuration(upstream.url, {"scope": "total", "usd": 100})) as box:
        first, second = box.ask("up/a", max_tokens=1), box.ask("up/a", max_tokens=1)
        overruns = metric(box, "signalbox_budget_overruns_total")

    assert first.status_code == 200
    assert second.status_code == 429
    assert "is closed, because an attempt cost more than its bound" in second.json()["error"]["message"]
    assert overruns == 1
