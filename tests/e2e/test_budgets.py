"""Budgets over real sockets: refusals, warnings, metrics, and concurrent calls with the upstream's log as the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.boxes import Box, boxed
from tests.support.upstreams import Upstream, completion, plain, running

PEPPER = "canary-pepper-90aa-0123456789abcdef012345"
ADMIN = {"authorization": "Bearer admin"}
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


def created(box: Box, kind: str, **body: Any) -> dict[str, Any]:
    answer = box.http.post(f"{box.url}/admin/{kind}", json=body, headers=ADMIN)
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


def spent(box: Box) -> dict[str, tuple[float, float]]:
    """What is spent and reserved in each budget."""
    rows = box.http.get(f"{box.url}/admin/budgets", headers=ADMIN).json()["data"]
    return {f"{row['scope']}/{row['id']}": (row["spent_usd"], row["reserved_usd"]) for row in rows}


def until_refused(box: Box, key: str) -> int:
    """Call until the budget refuses; return how many calls were admitted."""
    for number in range(50):
        body = {"model": "up/a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
        headers = {"authorization": f"Bearer {key}"}
        answer = box.http.post(f"{box.url}/v1/chat/completions", json=body, headers=headers)
        if answer.status_code != 200:
            assert answer.json()["error"]["code"] == "insufficient_quota"
            return number
    raise AssertionError("the budget never refuses")


def test_users_have_the_default_budget_also_after_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    auth = {"mode": "keys", "pepper": PEPPER, "admin_token": "admin"}
    config = configuration(upstream.url, auth=auth, store="sqlite", defaults={"user_budget": {"usd": 0.03}})
    with boxed(tmp_path, config) as box:
        for user in ("alice", "bob"):
            created(box, "users", id=user)
        first, second = (created(box, "keys", name=name, user="alice")["key"] for name in ("one", "two"))
        other = created(box, "keys", name="three", user="bob")["key"]
        admitted = until_refused(box, first)
        assert 0 < admitted < 50
        assert until_refused(box, second) == 0  # both are keys of the same user
        before = spent(box)

    with boxed(tmp_path, config) as box:
        assert until_refused(box, first) == 0
        after = spent(box)
        assert until_refused(box, other) == admitted

    assert before["user/alice"] == after["user/alice"] == (pytest.approx(CALL_USD * admitted, abs=1e-12), 0)
    assert before["user/bob"] == (0, 0)


def test_a_key_has_a_budget_of_its_own(tmp_path: Path, upstream: Upstream) -> None:
    auth = {"mode": "keys", "pepper": PEPPER, "admin_token": "admin"}
    config = configuration(upstream.url, auth=auth, store="sqlite")
    with boxed(tmp_path, config) as box:
        row = created(box, "keys", name="one", budget={"usd": 0.03, "period": "total"})
        admitted = until_refused(box, row["key"])
        state = spent(box)

    assert admitted > 0
    assert state == {f"key/{row['id']}": (pytest.approx(CALL_USD * admitted, abs=1e-12), 0)}
