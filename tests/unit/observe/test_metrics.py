"""The metrics' names and labels are the contract's, and a registry of their own."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from proxy.observe.metrics import Metrics

CONTRACT = {
    "signalbox_requests": {"route", "provider", "model", "status"},
    "signalbox_attempts": {"provider", "model", "outcome"},
    "signalbox_request_duration_seconds": set(),
    "signalbox_overhead_seconds": set(),
    "signalbox_time_to_first_token_seconds": set(),
    "signalbox_tokens": {"provider", "model", "kind"},
    "signalbox_cost_usd": {"provider", "model"},
    "signalbox_inflight_requests": set(),
    "signalbox_queue_depth": set(),
    "signalbox_retries_refused": set(),
    "signalbox_breaker_state": {"provider", "model", "key"},
    "signalbox_config_reload_success": set(),
}


def row(provider: str, model: str, key: str, state: str) -> dict[str, Any]:
    return {"provider": provider, "model": model, "key": key, "state": state}


def filled() -> Metrics:
    metrics = Metrics()
    metrics.requests.labels("tier/low", "acme", "small", "200").inc()
    metrics.attempts.labels("acme", "small", "ok").inc()
    metrics.tokens.labels("acme", "small", "input").inc(5)
    metrics.cost.labels("acme", "small").inc(0.5)
    metrics.duration.observe(1.0)
    metrics.overhead.observe(0.001)
    metrics.first_token.observe(0.2)
    metrics.inflight.set(3)
    metrics.queue_depth.set(2)
    metrics.watch_breakers(lambda: [row("acme", "small", "main", "open")], lambda: ["acme/small"])
    metrics.watch_retries(lambda: 7)
    return metrics


def test_the_exposition_has_the_contract_s_metrics_and_no_other() -> None:
    families = {family.name: family for family in text_string_to_metric_families(filled().text().decode())}

    assert set(families) == set(CONTRACT)
    for name, labels in CONTRACT.items():
        assert {label for sample in families[name].samples for label in sample.labels} - {"le"} == labels
        assert families[name].documentation


def test_refused_retries_are_read_when_they_are_asked_for() -> None:
    assert b"\nsignalbox_retries_refused_total 7.0\n" in filled().text()


def test_nothing_is_in_the_process_s_own_registry() -> None:
    before = {metric.name for metric in REGISTRY.collect()}

    filled()

    assert {metric.name for metric in REGISTRY.collect()} == before


def test_a_fresh_configuration_is_a_good_one() -> None:
    assert b"signalbox_config_reload_success 1.0" in Metrics().text()


def breakers(rows: list[dict[str, Any]], known: list[str]) -> dict[tuple[str, ...], float]:
    metrics = Metrics()
    metrics.watch_breakers(lambda: rows, lambda: known)
    return {
        (sample.labels["provider"], sample.labels["model"], sample.labels["key"]): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        if family.name == "signalbox_breaker_state"
        for sample in family.samples
    }


@pytest.mark.parametrize(("state", "value"), [("closed", 0), ("half-open", 1), ("open", 2)])
def test_a_breaker_s_state_is_a_number(state: str, value: float) -> None:
    assert breakers([row("acme", "small", "main", state)], ["acme/small"]) == {("acme", "small", "main"): value}


def test_breakers_of_models_that_clients_named_are_one_series_with_the_worst_state() -> None:
    rows = [row("acme", f"m{number}", "main", "open" if number == 2 else "closed") for number in range(9)]

    assert breakers([*rows, row("acme", "small", "main", "half-open")], ["acme/small"]) == {
        ("acme", "other", "main"): 2,
        ("acme", "small", "main"): 1,
    }


def test_breakers_are_read_when_they_are_asked_for() -> None:
    rows: list[dict[str, Any]] = []
    metrics = Metrics()
    metrics.watch_breakers(lambda: rows, lambda: ["acme/small"])

    before = metrics.text()
    rows.append(row("acme", "small", "main", "open"))

    assert b"acme" not in before
    assert b'signalbox_breaker_state{key="main",model="small",provider="acme"} 2.0' in metrics.text()
