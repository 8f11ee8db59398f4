"""The one table that decides: a row for each kind, as the architecture has it."""

from __future__ import annotations

import pytest

from proxy.core.failures import VERDICTS, FailureKind, UpstreamFailure, Verdict

# kind: retry, fall back, larger only, trip, rest
TABLE = {
    "connect": (True, True, False, True, None),
    "first_token_timeout": (False, True, False, True, None),
    "rate_limited": (False, True, False, False, "model"),
    "overloaded": (True, True, False, True, None),
    "server_error": (True, True, False, True, None),
    "malformed": (False, True, False, True, None),
    "key_rejected": (False, True, False, False, "everywhere"),
    "model_missing": (False, True, False, False, None),
    "context_too_long": (False, True, True, False, None),
    "content_filtered": (False, False, False, False, None),
    "unsupported": (False, True, False, False, None),
    "bad_request": (False, False, False, False, None),
    "broken_stream": (False, False, False, True, None),
}


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_has_the_row_of_the_architecture(kind: FailureKind) -> None:
    retry, fall_back, larger_only, trip, rest = TABLE[kind.value]

    assert VERDICTS[kind] == Verdict(retry=retry, fall_back=fall_back, larger_only=larger_only, trip=trip, rest=rest)
    assert UpstreamFailure(kind, "x").verdict is VERDICTS[kind]


def test_the_table_has_no_row_too_many() -> None:
    assert set(VERDICTS) == set(FailureKind)
    assert {kind.value for kind in FailureKind} == set(TABLE)


def test_a_key_that_the_upstream_repeats_is_taken_out() -> None:
    failure = UpstreamFailure(FailureKind.KEY_REJECTED, "no sk-secret-1 here", native=b'{"m":"sk-secret-1"}')

    failure.redact("sk-secret-1")

    assert str(failure) == "no *** here"
    assert failure.native == b'{"m":"***"}'


def test_a_short_key_is_no_reason_to_cut_words() -> None:
    failure = UpstreamFailure(FailureKind.KEY_REJECTED, "none of these", native=b"none")

    failure.redact("no")
    failure.redact("")

    assert str(failure) == "none of these"
    assert failure.native == b"none"
