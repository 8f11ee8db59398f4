"""The decision record."""

from __future__ import annotations

from proxy.core.model import Price
from proxy.core.record import Continued
from proxy.core.usage import Usage
from proxy.surfaces.decision import decision_record
from tests.support.calls import attempt, deployment, plan, record


def test_a_record_without_a_plan_has_its_id() -> None:
    assert decision_record(record()) == {
        "id": "req_1",
        "wait": {"predicted_ms": 0.0, "real_ms": 0.0},
        "attempts": [],
        "cost_usd": None,
    }


def test_the_decision_its_attempts_and_its_cost_are_shown() -> None:
    dear = deployment(price=Price(1_000_000_000, 1_000_000_000, 0, 0))
    made = record(
        plan=plan(deployment(), chosen={"model": "small"}),
        attempts=[
            attempt("server_error", dear, status=500, ms=12.34567),
            attempt("started", dear, status=200, first_token=1000.003, usage=Usage(1500)),
        ],
    )

    decision = decision_record(made)

    assert decision["chosen"] == {"model": "small"}
    assert decision["cost_usd"] == 0.0015
    assert [(a["outcome"], a["status"], a["ms"]) for a in decision["attempts"]] == [
        ("server_error", 500, 12.346),
        ("ok", 200, 3.0),
    ]
    assert decision["attempts"][0].keys() == {"provider", "model", "key_id", "outcome", "status", "ms"}


def test_attempt_names_why_its_connection_failed() -> None:
    failed = attempt("connect", cause="tls", error="the upstream's certificate is not trusted: it has expired")

    [shown] = decision_record(record(attempts=[failed]))["attempts"]

    assert (shown["cause"], shown["error"]) == (failed.cause, failed.error)


def test_continuation_of_a_broken_answer_is_shown() -> None:
    made = record(continued=Continued("acme", "small", 5))

    assert decision_record(made)["continued"] == {"provider": "acme", "model": "small", "after_characters": 5}


def test_a_fallback_shows_that_it_left_the_family_of_the_tool_loop() -> None:
    first, second = deployment("first"), deployment("second")
    made = record(
        plan=plan(first, second, affinity={"family": "anthropic", "kept": True}),
        attempts=[attempt("server_error", first), attempt("ok", second)],
        chosen=second,
    )
    assert made.plan is not None
    made.plan.family = frozenset({first.name})

    assert decision_record(made)["affinity"] == {"family": "anthropic", "kept": False}
