"""Settling: metrics and one access line for each finished record."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.learning import LearningRules
from proxy.core.model import Price
from proxy.core.record import AttemptRecord, Continued, Record
from proxy.core.usage import Usage
from proxy.observe.metrics import Metrics
from proxy.settle.settle import Settler
from tests.support.calls import STREAM, attempt, call, deployment, live, plan, provider, record, snapshot
from tests.support.fakes import FakeClock

PRICE = Price(input=1_000_000_000, output=2_000_000_000, cached_input=500_000_000, cache_write=1_000_000_000)
SMALL = deployment(price=PRICE)
USAGE = Usage(1000, 500, cached=200, reasoning=100)
UNLISTED = deployment("named-by-a-client", provider(any_model=True), listed=False)


class Bench:
    """A settler with its metrics; the clock is three seconds after the call's start."""

    def __init__(self, *, access_log: bool = False) -> None:
        self.metrics = Metrics()
        self.settler = Settler(self.metrics, FakeClock(1003.0), live(access_log=access_log))

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of one metric, by its labels' values in the order of their names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.metrics.exposition()[0].decode())
            for sample in family.samples
            if sample.name == name
        }


def answered(**fields: Any) -> Record:
    """A call that was answered by `acme/small`."""
    values = {
        "plan": plan(SMALL),
        "chosen": SMALL,
        "attempts": [attempt("server_error", SMALL, status=503), attempt("ok", SMALL, usage=USAGE)],
        "outcome": "ok",
        "status": 200,
        "upstream_seconds": 2.0,
        "client_seconds": 0.5,
        "first_token": 1001.5,
    }
    return record(call(STREAM, on=snapshot(SMALL)), **{**values, **fields})


def test_a_probe_is_counted_as_an_attempt_and_not_as_a_call() -> None:
    bench = Bench()

    bench.settler.probed(SMALL, "ok", Usage(1000, 500), 2_000_000)
    bench.settler.probed(UNLISTED, "server_error", None, None)

    assert bench.samples("signalbox_attempts_total") == {
        ("small", "ok", "acme"): 1,
        ("other", "server_error", "acme"): 1,
    }
    assert bench.samples("signalbox_tokens_total")[("output", "small", "acme")] == 500
    assert bench.samples("signalbox_cost_usd_total") == {("small", "acme"): pytest.approx(0.002)}
    assert bench.samples("signalbox_requests_total") == {}


def test_a_call_is_counted_with_its_attempts_tokens_and_cost() -> None:
    bench = Bench()

    bench.settler.settle(answered())

    assert bench.samples("signalbox_requests_total") == {("small", "acme", "tier/low", "200"): 1}
    assert bench.samples("signalbox_attempts_total") == {
        ("small", "server_error", "acme"): 1,
        ("small", "ok", "acme"): 1,
    }
    assert bench.samples("signalbox_tokens_total") == {
        ("input", "small", "acme"): 1000,
        ("output", "small", "acme"): 500,
        ("cached", "small", "acme"): 200,
        ("reasoning", "small", "acme"): 100,
    }
    assert bench.samples("signalbox_cost_usd_total") == {("small", "acme"): pytest.approx(0.0019)}


def test_calls_add_up_by_status_and_outcome() -> None:
    bench = Bench()
    failed = {"attempts": [attempt("server_error", SMALL)], "status": 502, "outcome": "error"}

    for fields in ({}, failed, {}, failed, {}):
        bench.settler.settle(answered(**fields))

    assert bench.samples("signalbox_requests_total") == {
        ("small", "acme", "tier/low", "200"): 3,
        ("small", "acme", "tier/low", "502"): 2,
    }
    assert bench.samples("signalbox_attempts_total") == {
        ("small", "server_error", "acme"): 5,
        ("small", "ok", "acme"): 3,
    }
    assert bench.samples("signalbox_tokens_total")["input", "small", "acme"] == 3000
    assert bench.samples("signalbox_cost_usd_total") == {("small", "acme"): pytest.approx(3 * 0.0019)}


def test_tokens_without_cached_or_reasoning_show_no_such_series() -> None:
    bench = Bench()

    bench.settler.settle(answered(attempts=[attempt("ok", deployment(), usage=Usage(20, 0))]))

    assert bench.samples("signalbox_tokens_total") == {("input", "small", "acme"): 20, ("output", "small", "acme"): 0}
    assert bench.samples("signalbox_cost_usd_total") == {}


def test_impossible_usage_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    bench.settler.settle(answered(attempts=[attempt("ok", SMALL, usage=Usage(1000, 500, source="clamped"))]))
    bench.settler.settle(answered(attempts=[attempt("ok", SMALL, usage=Usage(1000, 500))]))

    assert bench.samples("signalbox_usage_clamped_total") == {("small", "acme"): 1}
    [line] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert line.getMessage() == "an upstream reported more tokens than its answer can have"
    assert vars(line)["fields"] == {"provider": "acme", "model": "small", "input": 1000, "output": 500}


def test_failed_attempts_are_counted_at_their_own_deployment() -> None:
    bench = Bench()
    broken = attempt("broken_stream", SMALL, usage=Usage(100, 10, source="estimated"))
    other = deployment("large", price=PRICE)

    bench.settler.settle(
        answered(
            call=call(STREAM, on=snapshot(SMALL, other)),
            chosen=other,
            attempts=[broken, attempt("ok", other, usage=USAGE)],
        )
    )

    tokens = bench.samples("signalbox_tokens_total")
    assert (tokens["input", "small", "acme"], tokens["output", "small", "acme"]) == (100, 10)
    assert (tokens["input", "large", "acme"], tokens["output", "large", "acme"]) == (1000, 500)
    assert bench.samples("signalbox_cost_usd_total") == {
        ("small", "acme"): pytest.approx(0.00012),
        ("large", "acme"): pytest.approx(0.0019),
    }


def test_durations_are_observed() -> None:
    bench = Bench()

    bench.settler.settle(answered())

    assert bench.samples("signalbox_request_duration_seconds_sum") == {(): 3.0}
    assert bench.samples("signalbox_overhead_seconds_sum") == {(): 0.5}
    assert bench.samples("signalbox_time_to_first_token_seconds_sum") == {(): 1.5}


def test_time_to_first_token_is_of_streams_only() -> None:
    bench = Bench()

    bench.settler.settle(answered(call=call(on=snapshot(SMALL))))

    assert bench.samples("signalbox_time_to_first_token_seconds_count") == {(): 0}


def test_call_rejected_before_routing_is_counted() -> None:
    bench = Bench()

    bench.settler.settle(record(status=400, outcome="error"))

    assert bench.samples("signalbox_requests_total") == {("other", "other", "other", "400"): 1}


def test_no_client_can_make_a_label() -> None:
    bench = Bench()

    for number in range(50):
        odd = deployment(f"m{number}", UNLISTED.provider, listed=False)
        made = answered(
            plan=plan(odd, route=odd.name),
            chosen=odd,
            attempts=[attempt("ok", odd, usage=USAGE)],
            call=call(f'{{"model":"{odd.name}","messages":[{{"role":"user"}}]}}'.encode(), on=snapshot(SMALL)),
        )
        bench.settler.settle(made)

    assert bench.samples("signalbox_requests_total") == {("other", "acme", "other", "200"): 50}
    assert bench.samples("signalbox_attempts_total") == {("other", "ok", "acme"): 50}
    assert {labels[1] for labels in bench.samples("signalbox_tokens_total")} == {"other"}


def test_error_while_settling_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    broken = answered(attempts=[None])

    bench.settler.settle(broken)

    [logged] = caplog.records
    assert logged.message == "a call could not be settled"
    assert logged.__dict__["fields"] == {"id": "req_1", "unlogged": 0}
    assert logged.exc_info


class Rows:
    """A ledger that only notes which records are closed."""

    def __init__(self) -> None:
        self.closed: list[Record] = []

    def begin(self, record: Record, attempt: AttemptRecord) -> None:
        """Do nothing."""

    def close(self, record: Record) -> None:
        self.closed.append(record)


def routed(conversation: bytes | None) -> Record:
    """The record of an answered call; with `conversation`, that of a call of `auto`."""
    return answered(plan=replace(plan(SMALL), conversation=conversation))


def test_records_of_auto_are_passed_on() -> None:
    settler = Settler(Metrics(), FakeClock(1003.0), live(access_log=False))
    noted: list[Record] = []
    settler.answered = (noted.append,)

    settler.settle(routed(None))
    settler.settle(made := routed(b"c"))

    assert noted == [made]


@pytest.mark.parametrize("rules", [LearningRules(), None])
def test_records_of_other_calls_are_passed_on_where_learning_is_enabled(rules: LearningRules | None) -> None:
    settler = Settler(Metrics(), FakeClock(1003.0), live(access_log=False))
    named: list[Record] = []
    settler.named = named.append
    made = answered(call=call(on=replace(snapshot(SMALL), learning=rules)), plan=plan(SMALL))

    settler.settle(made)
    settler.settle(routed(b"c"))

    assert named == ([made] if rules else [])


def test_an_error_of_a_receiver_loses_no_row_of_the_ledger(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows()
    settler = Settler(Metrics(), FakeClock(1003.0), live(access_log=False), ledger=rows)
    settler.answered = ([].__getitem__,)  # type: ignore[assignment]

    settler.settle(made := routed(b"c"))

    assert [logged.message for logged in caplog.records] == ["a call could not be settled"]
    assert rows.closed == [made]


def test_a_call_that_runs_on_in_the_background_is_not_settled() -> None:
    rows, metrics = Rows(), Metrics()
    settler = Settler(metrics, FakeClock(1003.0), live(access_log=False), ledger=rows)

    settler.settle(answered(handed_over=True))

    assert rows.closed == []
    assert b"signalbox_requests_total{" not in metrics.exposition()[0]


def line(caplog: pytest.LogCaptureFixture, made: Record) -> dict[str, Any]:
    caplog.set_level(logging.INFO, "proxy.access")
    Bench(access_log=True).settler.settle(made)
    [logged] = caplog.records
    fields: dict[str, Any] = logged.__dict__["fields"]
    return fields


def test_the_access_line_has_ids_names_and_numbers(caplog: pytest.LogCaptureFixture) -> None:
    first = {"provider": "acme", "model": "small", "key": "main"}

    fields = line(caplog, answered())

    assert fields == {
        "id": "req_1",
        "request_id": "theirs",
        "client_id": None,
        "model": "auto",
        "route": "tier/low",
        "provider": "acme",
        "upstream_model": "small",
        "stream": True,
        "status": 200,
        "outcome": "ok",
        "code": None,
        "attempts": [
            {**first, "outcome": "server_error", "status": 503, "ms": 0.0},
            {**first, "outcome": "ok", "status": None, "ms": 0.0},
        ],
        "input_tokens": 1000,
        "output_tokens": 500,
        "cost_usd": 0.0019,
        "ms": 3000.0,
        "ttft_ms": 1500.0,
        "waited_ms": 0.0,
        "predicted_wait_ms": 0.0,
        "overhead_ms": 500.0,
    }


def test_access_line_has_queue_time_apart_from_overhead(caplog: pytest.LogCaptureFixture) -> None:
    fields = line(caplog, answered(queue_seconds=0.3, predicted_queue_seconds=0.25))

    assert (fields["waited_ms"], fields["predicted_wait_ms"], fields["overhead_ms"]) == (300.0, 250.0, 200.0)


def test_access_line_has_the_position_of_a_continuation(caplog: pytest.LogCaptureFixture) -> None:
    fields = line(caplog, answered(continued=Continued("acme", "small", 5)))

    assert fields["continued_after"] == 5


def test_access_line_and_metrics_count_the_same_tokens(caplog: pytest.LogCaptureFixture) -> None:
    broken = attempt("broken_stream", SMALL, usage=Usage(100, 10, source="estimated"))
    lost = attempt("hedge_lost", SMALL, usage=Usage(70, source="estimated"))
    bench = Bench(access_log=True)
    caplog.set_level(logging.INFO, "proxy.access")

    bench.settler.settle(answered(attempts=[broken, lost, attempt("ok", SMALL, usage=USAGE)]))

    fields = caplog.records[0].__dict__["fields"]
    assert (fields["input_tokens"], fields["output_tokens"]) == (1170, 510)
    tokens = bench.samples("signalbox_tokens_total")
    assert (tokens["input", "small", "acme"], tokens["output", "small", "acme"]) == (1170, 510)
    assert bench.samples("signalbox_cost_usd_total") == {("small", "acme"): pytest.approx(fields["cost_usd"])}


def test_access_line_has_tokens_of_a_lost_attempt_alone(caplog: pytest.LogCaptureFixture) -> None:
    lost = attempt("hedge_lost", usage=Usage(70, source="estimated"))

    fields = line(caplog, answered(attempts=[lost, attempt()]))

    assert (fields["input_tokens"], fields["output_tokens"]) == (70, 0)


def test_unknown_usage_and_cost_are_null(caplog: pytest.LogCaptureFixture) -> None:
    fields = line(caplog, answered(attempts=[attempt("ok", SMALL)]))

    assert (fields["input_tokens"], fields["output_tokens"], fields["cost_usd"]) == (None, None, None)


def test_the_access_line_has_no_content_and_no_credential(caplog: pytest.LogCaptureFixture) -> None:
    secret = b'{"model":"auto","messages":[{"role":"user","content":"private words"}],"user":"private-user"}'

    fields = line(caplog, answered(call=call(secret, on=snapshot(SMALL), headers={"idempotency-key": "private-key"})))

    assert "private" not in repr(fields)
    assert "sk-" not in repr(fields)


def test_a_long_name_does_not_make_a_long_line(caplog: pytest.LogCaptureFixture) -> None:
    raw = b'{"model":"' + b"x" * 100_000 + b'","messages":[{"role":"user"}]}'

    fields = line(caplog, record(call(raw), status=404, attempts=[attempt("ok", deployment("y" * 1000))]))

    assert len(repr(fields)) < 2000


def test_the_access_line_can_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.access")

    Bench(access_log=False).settler.settle(answered())

    assert caplog.records == []
