"""The decision record, alone and in an answer."""

from __future__ import annotations

import json

import pytest

from proxy.core.model import Price
from proxy.core.record import Continued
from proxy.core.usage import Usage
from proxy.surfaces.decision import Embedding, decision_record
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


def embedded(*pieces: bytes) -> bytes:
    """A stream with the record."""
    out: list[bytes] = []

    def write(data: bytes) -> bool:
        out.append(data)
        return True

    embedding = Embedding(lambda: {"id": "req_1"})
    for piece in pieces:
        embedding.into(write)(piece)
    return b"".join(out) + embedding.end()


def test_a_whole_answer_gets_a_member() -> None:
    embedding = Embedding(lambda: {"id": "req_1"})

    assert embedding.whole(b'{"choices": []}') == b'{"choices": [],"router":{"id":"req_1"}}'


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data: [DONE]", b""])
def test_a_stream_gets_one_chunk_and_keeps_the_others(end: bytes) -> None:
    first = b'data: {"id":"c","choices":[{"delta":{"content":"x"}}]}\n\n'

    out = embedded(first[:9], first[9:] + end)

    assert out.startswith(first)
    assert out.endswith(end)
    middle = out.removeprefix(first).removesuffix(end)
    assert json.loads(middle.removeprefix(b"data: "))["router"] == {"id": "req_1"}
