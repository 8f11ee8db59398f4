"""The tables that decide: a row for each kind of failure."""

from __future__ import annotations

from typing import get_args

import pytest

from proxy.core.failures import (
    RULES,
    VERDICTS,
    FailureClass,
    FailureKind,
    Rank,
    UpstreamFailure,
    class_of,
    shown_by_list,
)

# kind: class, fall back, larger only, rank
TABLE = {
    "connect": ("server_error", True, False, Rank.TRANSIENT),
    "stale_connection": ("server_error", True, False, Rank.TRANSIENT),
    "first_token_timeout": ("timeout", True, False, Rank.TRANSIENT),
    "rate_limited": ("rate_limit", True, False, Rank.WAIT),
    "too_large": ("content", True, False, Rank.TRANSIENT),
    "overloaded": ("server_error", True, False, Rank.WAIT),
    "server_error": ("server_error", True, False, Rank.TRANSIENT),
    "malformed": ("unknown", True, False, Rank.TRANSIENT),
    "key_rejected": ("auth", True, False, Rank.OPERATOR),
    "forbidden": ("target", True, False, Rank.OPERATOR),
    "model_missing": ("target", True, False, Rank.OPERATOR),
    "wrong_address": ("target", True, False, Rank.OPERATOR),
    "conflict": ("content", True, False, Rank.TRANSIENT),
    "context_too_long": ("content", True, True, Rank.TRANSIENT),
    "content_filtered": ("content", False, False, Rank.REQUEST),
    "unsupported": ("content", True, False, Rank.UNSENT),
    "over_budget": ("content", True, False, Rank.UNSENT),
    "over_limit": ("content", True, False, Rank.WAIT),
    "bad_request": ("content", False, False, Rank.REQUEST),
    "broken_stream": ("server_error", False, False, Rank.TRANSIENT),
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
def test_every_kind_has_its_row(kind: FailureKind) -> None:
    failure_class, fall_back, larger_only, rank = TABLE[kind.value]

    verdict = VERDICTS[kind]
    assert (verdict.failure_class, verdict.fall_back, verdict.larger_only) == (failure_class, fall_back, larger_only)
    assert verdict.rank is rank
    assert UpstreamFailure(kind, "x").verdict is VERDICTS[kind]
    assert class_of(kind.value) == failure_class


@pytest.mark.parametrize("failure_class", get_args(FailureClass))
def test_every_class_has_its_rule(failure_class: FailureClass) -> None:
    rule = RULES[failure_class]

    assert (rule.retries, rule.breaker, rule.key) == CLASSES[failure_class]


@pytest.mark.parametrize("outcome", ["ok", "cancelled", "hedge_lost", "slow", ""])
def test_what_is_no_failure_has_no_class(outcome: str) -> None:
    assert class_of(outcome) is None


def test_few_kinds_have_the_other_columns() -> None:
    rows = VERDICTS.items()

    assert [kind for kind, row in rows if row.other_key] == [FailureKind.MODEL_MISSING]
    assert [kind for kind, row in rows if not row.sent] == [
        FailureKind.UNSUPPORTED,
        FailureKind.OVER_BUDGET,
        FailureKind.OVER_LIMIT,
    ]
    assert [kind for kind, row in rows if not row.known_cost] == [FailureKind.FIRST_TOKEN_TIMEOUT]
    assert [kind for kind, row in rows if row.shown_by_list] == [FailureKind.OVERLOADED, FailureKind.SERVER_ERROR]


@pytest.mark.parametrize(
    ("reason", "shown"), [("server_error", True), ("connect", False), ("slow", False), ("", False)]
)
def test_list_of_models_shows_failures_of_the_provider(reason: str, shown: bool) -> None:
    assert shown_by_list(reason) is shown


def test_the_table_has_no_row_too_many() -> None:
    assert set(VERDICTS) == set(FailureKind)
    assert {kind.value for kind in FailureKind} == set(TABLE)
