"""The tables that decide: a row for each kind, as the architecture has it."""

from __future__ import annotations

from typing import get_args

import pytest

from proxy.core.failures import (
    RULES,
    VERDICTS,
    FailureClass,
    FailureKind,
    UpstreamFailure,
    Verdict,
    class_of,
)

# kind: class, fall back, larger only
TABLE = {
    "connect": ("server_error", True, False),
    "stale_connection": ("server_error", True, False),
    "first_token_timeout": ("timeout", True, False),
    "rate_limited": ("rate_limit", True, False),
    "too_large": ("content", True, False),
    "overloaded": ("server_error", True, False),
    "server_error": ("server_error", True, False),
    "malformed": ("unknown", True, False),
    "key_rejected": ("auth", True, False),
    "forbidden": ("target", True, False),
    "model_missing": ("target", True, False),
    "wrong_address": ("target", True, False),
    "conflict": ("content", True, False),
    "context_too_long": ("content", True, True),
    "content_filtered": ("content", False, False),
    "unsupported": ("content", True, False),
    "bad_request": ("content", False, False),
    "broken_stream": ("server_error", False, False),
}
# class: retries (None: `same_target`), breaker, key
CLASSES = {
    "rate_limit": (0, False, "model"),
    "server_error": (None, True, "none"),
    "auth": (0, False, "everywhere"),
    "timeout": (0, True, "none"),
    "target": (0, True, "none"),
    "content": (0, False, "none"),
    "unknown": (0, True, "none"),
}


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_has_the_row_of_the_architecture(kind: FailureKind) -> None:
    failure_class, fall_back, larger_only = TABLE[kind.value]

    other_key = kind is FailureKind.MODEL_MISSING
    assert VERDICTS[kind] == Verdict(failure_class, fall_back, larger_only, other_key)
    assert UpstreamFailure(kind, "x").verdict is VERDICTS[kind]
    assert class_of(kind.value) == failure_class


@pytest.mark.parametrize("failure_class", get_args(FailureClass))
def test_every_class_has_its_rule(failure_class: FailureClass) -> None:
    rule = RULES[failure_class]

    assert (rule.retries, rule.breaker, rule.key) == CLASSES[failure_class]


@pytest.mark.parametrize("outcome", ["ok", "cancelled", "hedge_lost", "slow", ""])
def test_what_is_no_failure_has_no_class(outcome: str) -> None:
    assert class_of(outcome) is None


def test_the_table_has_no_row_too_many() -> None:
    assert set(VERDICTS) == set(FailureKind)
    assert {kind.value for kind in FailureKind} == set(TABLE)
