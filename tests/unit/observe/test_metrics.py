"""The names, labels and values of all metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.snapshot import Snapshot
from proxy.observe import live
from proxy.observe.metrics import Metrics
from proxy.observe.process import process_families
from proxy.observe.series import MOST_REQUEST_SERIES
from tests.support.calls import deployment, provider, snapshot

CONTRACT = {
    "signalbox_requests": {"route", "provider", "model", "status"},
    "signalbox_attempts": {"provider", "model", "outcome"},
    "signalbox_request_duration_seconds": set(),
    "signalbox_overhead_seconds": set(),
    "signalbox_time_to_first_token_seconds": set(),
    "signalbox_tokens": {"provider", "model", "kind"},
    "signalbox_usage_clamped": {"provider", "model"},
    "signalbox_cost_usd": {"provider", "model"},
    "signalbox_inflight_requests": set(),
    "signalbox_queue_depth": set(),
    "signalbox_retries_refused": set(),
    "signalbox_breaker_state": {"provider", "model", "key"},
    "signalbox_config_reload_success": set(),
    "signalbox_keys_in_cooldown": {"provider", "reason"},
    "signalbox_event_loop_lag_seconds": set(),
    "signalbox_provider_usable": {"provider"},
}


def row(provider: str, model: str, key: str, state: str) -> dict[str, Any]:
    return {"provider": provider, "model": model, "key": key, "state": state}


def rest(provider: str, key: str, reason: str = "key_rejected", model: str | None = None) -> dict[str, Any]:
    return {"provider": provider, "key": key, "model": model, "reason": reason, "seconds_left": 1.0}


CONFIGURED = snapshot(deployment("small"))


def filled() -> Metrics:
    metrics = Metrics()
    metrics.requests.labels("tier/low", "acme", "small", "200").inc()
    metrics.attempts.labels("acme", "small", "ok").inc()
    metrics.tokens.labels("acme", "small", "input").inc(5)
    metrics.usage_clamped.labels("acme", "small").inc()
    metrics.cost.labels("acme", "small").inc(0.5)
    metrics.duration.observe(1.0)
    metrics.overhead.observe(0.001)
    metrics.first_token.observe(0.2)
    metrics.inflight.set(3)
    metrics.queue_depth.set(2)
    metrics.watch(lambda: [live.breakers([row("acme", "small", "main", "open")], CONFIGURED)])
    metrics.watch(lambda: [live.retries_refused(7)])
    metrics.watch(lambda: [live.cooldowns([rest("acme", "main")], CONFIGURED)])
    metrics.watch(lambda: [live.providers(CONFIGURED)])
    metrics.watch(process_families)
    metrics.watch(lambda: [live.lag(0.125)])
    return metrics


def test_the_exposition_has_the_contract_s_metrics_and_no_other() -> None:
    families = {family.name: family for family in text_string_to_metric_families(filled().exposition()[0].decode())}

    assert {name for name in families if name.startswith("signalbox_")} == set(CONTRACT)
    for name, labels in CONTRACT.items():
        assert {label for sample in families[name].samples for label in sample.labels} - {"le"} == labels
        assert families[name].documentation


def test_refused_retries_are_read_when_they_are_asked_for() -> None:
    assert b"\nsignalbox_retries_refused_total 7.0\n" in filled().exposition()[0]


def test_another_process_is_added() -> None:
    other, metrics = Metrics(), filled()
    other.attempts.labels("acme", "small", "ok").inc(2)
    other.inflight.set(4)
    other.reload_success.set(0)

    text = metrics.exposition([other.export()])[0]

    assert b'signalbox_attempts_total{model="small",outcome="ok",provider="acme"} 3.0\n' in text
    assert b"\nsignalbox_inflight_requests 7.0\n" in text
    assert b"\nsignalbox_config_reload_success 0.0\n" in text


def test_a_fresh_configuration_is_a_good_one() -> None:
    assert b"signalbox_config_reload_success 1.0" in Metrics().exposition()[0]


def breakers(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], float]:
    metrics = Metrics()
    metrics.watch(lambda: [live.breakers(rows, CONFIGURED)])
    return {
        (sample.labels["provider"], sample.labels["model"], sample.labels["key"]): sample.value
        for family in text_string_to_metric_families(metrics.exposition()[0].decode())
        if family.name == "signalbox_breaker_state"
        for sample in family.samples
    }


@pytest.mark.parametrize(("state", "value"), [("closed", 0), ("half-open", 1), ("open", 2)])
def test_a_breaker_s_state_is_a_number(state: str, value: float) -> None:
    assert breakers([row("acme", "small", "main", state)]) == {("acme", "small", "main"): value}


def test_breakers_of_client_named_models_share_one_series() -> None:
    rows = [row("acme", f"m{number}", "main", "open" if number == 2 else "closed") for number in range(9)]

    assert breakers([*rows, row("acme", "small", "main", "half-open")]) == {
        ("acme", "other", "main"): 2,
        ("acme", "small", "main"): 1,
    }


def test_breakers_of_removed_providers_and_keys_have_no_series() -> None:
    rows = [
        row("gone", "small", "main", "open"),
        row("acme", "small", "gone", "open"),
        row("acme", "x", "main", "open"),
    ]

    assert breakers(rows) == {("acme", "other", "main"): 2}


def test_breakers_are_read_when_they_are_asked_for() -> None:
    rows: list[dict[str, Any]] = []
    metrics = Metrics()
    metrics.watch(lambda: [live.breakers(rows, CONFIGURED)])

    before = metrics.exposition()[0]
    rows.append(row("acme", "small", "main", "open"))

    assert b"acme" not in before
    assert b'signalbox_breaker_state{key="main",model="small",provider="acme"} 2.0' in metrics.exposition()[0]


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one metric, by the values of their labels in alphabetical order of the labels."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition()[0].decode())
        for sample in family.samples
        if sample.name == name
    }


def test_live_values_are_those_of_the_last_read() -> None:
    lag = [0.5]
    metrics = Metrics()
    metrics.watch(lambda: [live.lag(lag[0])])
    metrics.read()
    lag[0] = 1.5

    before = values(metrics, "signalbox_event_loop_lag_seconds")
    metrics.read()

    assert (before, values(metrics, "signalbox_event_loop_lag_seconds")) == ({(): 0.5}, {(): 1.5})


@pytest.mark.parametrize(
    "name",
    ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"],
)
def test_the_process_is_measured(name: str) -> None:
    assert values(filled(), name)[()] > 0


def test_garbage_collections_are_counted() -> None:
    assert set(values(filled(), "python_gc_collections_total")) == {("0",), ("1",), ("2",)}


SMALL = deployment("small", provider("acme", "one", "two"))
LARGE = deployment("large", provider("bolt", any_model=True))


@pytest.mark.parametrize(
    ("rests", "counts"),
    [
        ([], {}),
        ([rest("acme", "one")], {("acme", "key_rejected"): 1}),
        ([rest("acme", "one"), rest("acme", "two")], {("acme", "key_rejected"): 2}),
        ([rest("acme", "one", "rate_limited", model) for model in "ab"], {("acme", "rate_limited"): 1}),
        ([rest("bolt", "main", "model_missing", "x")], {("bolt", "model_missing"): 1}),
        ([rest("bolt", "key_of_a_user", "rate_limited", "x")], {}),
        ([rest("removed", "one")], {}),
    ],
)  # fmt: skip
def test_keys_in_cooldown_are_counted_for_every_provider(
    rests: list[dict[str, Any]], counts: dict[tuple[str, str], float]
) -> None:
    metrics = Metrics()
    metrics.watch(lambda: [live.cooldowns(rests, snapshot(SMALL, LARGE))])
    none = {(name, reason): 0.0 for name in ("acme", "bolt") for reason in ("key_rejected", "rate_limited")}

    assert values(metrics, "signalbox_keys_in_cooldown").items() >= (none | counts).items()
    assert sum(values(metrics, "signalbox_keys_in_cooldown").values()) == sum(counts.values())


def initialised(of: Snapshot) -> Metrics:
    metrics = Metrics()
    metrics.initialise(of)
    return metrics


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("signalbox_attempts_total", ("small", "key_rejected", "acme")),
        ("signalbox_attempts_total", ("small", "broken_stream", "acme")),
        ("signalbox_attempts_total", ("small", "ok", "acme")),
        ("signalbox_attempts_total", ("other", "connect", "bolt")),
        ("signalbox_tokens_total", ("output", "large", "bolt")),
        ("signalbox_requests_total", ("small", "acme", "acme/small", "502")),
        ("signalbox_requests_total", ("small", "acme", "tier/low", "503")),
        ("signalbox_requests_total", ("small", "acme", "auto", "504")),
        ("signalbox_requests_total", ("small", "acme", "mode/fast", "200")),
        ("signalbox_requests_total", ("other", "bolt", "other", "502")),
        ("signalbox_requests_total", ("other", "other", "other", "503")),
        ("signalbox_requests_total", ("small", "acme", "acme/small", "422")),
        ("signalbox_requests_total", ("other", "other", "acme/small", "502")),
        ("signalbox_requests_total", ("other", "other", "tier/low", "429")),
        ("signalbox_requests_total", ("other", "other", "auto", "503")),
        ("signalbox_requests_total", ("vectors", "acme", "auto", "200")),
    ],
)
def test_every_series_of_a_configuration_begins_at_0(name: str, labels: tuple[str, ...]) -> None:
    vectors = replace(deployment("vectors", SMALL.provider), kind="embedding")
    found = initialised(snapshot(replace(SMALL, tier="low"), LARGE, vectors))

    assert values(found, name)[labels] == 0.0


def test_initialising_again_keeps_the_counts() -> None:
    metrics = initialised(snapshot(SMALL))
    metrics.attempts.labels("acme", "small", "ok").inc()

    metrics.initialise(snapshot(SMALL, LARGE))

    assert values(metrics, "signalbox_attempts_total")["small", "ok", "acme"] == 1.0
    assert values(metrics, "signalbox_attempts_total")["large", "ok", "bolt"] == 0.0


def test_labels_are_escaped_in_series_that_have_not_counted() -> None:
    odd = 'a"b\\c'
    metrics = initialised(snapshot(deployment(odd)))
    before = values(metrics, "signalbox_attempts_total")
    metrics.attempts.labels("acme", odd, "ok").inc()

    assert before[odd, "ok", "acme"] == 0.0
    assert values(metrics, "signalbox_attempts_total") == before | {(odd, "ok", "acme"): 1.0}


@pytest.mark.parametrize("name", ["attempts", "tokens", "cost", "requests"])
def test_series_of_what_was_removed_stay_if_they_counted(name: str) -> None:
    metrics = initialised(snapshot(replace(SMALL, tier="low"), LARGE))
    of_small = {labels for labels in values(metrics, f"signalbox_{name}_total") if "small" in labels}
    metrics.attempts.labels("acme", "small", "ok").inc()

    metrics.initialise(snapshot(LARGE))

    left = {labels for labels in values(metrics, f"signalbox_{name}_total") if "small" in labels}
    assert left == ({("small", "ok", "acme")} if name == "attempts" else set())
    assert of_small >= left


def test_a_stand_in_has_the_series_of_the_mock() -> None:
    stand_in = replace(SMALL, provider=replace(SMALL.provider, stand_in=True))

    names = {labels[2] for labels in values(initialised(snapshot(stand_in)), "signalbox_attempts_total")}

    assert names == {"mock"}


def test_a_large_configuration_has_a_bounded_number_of_series() -> None:
    many = [deployment(f"m{number}", tier="low") for number in range(1000)]

    metrics = initialised(snapshot(*many))

    assert len(values(metrics, "signalbox_requests_total")) <= MOST_REQUEST_SERIES + 20


def test_a_provider_without_a_key_is_not_usable() -> None:
    stand_in = replace(LARGE, provider=replace(LARGE.provider, stand_in=True))
    metrics = Metrics()
    configured = replace(snapshot(SMALL, stand_in), left_out={"azure": "no key is set"})
    metrics.watch(lambda: [live.providers(configured)])

    found = values(metrics, "signalbox_provider_usable")

    assert found == {("acme",): 1.0, ("bolt",): 0.0, ("azure",): 0.0}
