"""What calls and attempts add to the sums."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.ledger import AttemptRow, CallRow
from proxy.store.sums import DAY, HOUR, QUARTER, Sums, is_error, supersedes, unique_attempts

CALL = CallRow(id="req_1", request_id="x", time=5 * DAY + HOUR + 1, endpoint="/v1/chat/completions", key_id="k")
ATTEMPT = AttemptRow(
    id="req_1-1",
    call_id="req_1",
    number=1,
    time=5 * DAY + HOUR + QUARTER + 1,
    provider="acme",
    model="small",
    provider_key="main",
    outcome="ok",
    input_tokens=10,
    output_tokens=5,
    cost_nusd=7,
    key_id="k",
)

OUTCOMES = st.sampled_from(["started", "unknown", "ok", "timeout"])
ROWS = st.builds(
    lambda outcome, cost, own_key: msgspec.structs.replace(ATTEMPT, outcome=outcome, cost_nusd=cost, own_key=own_key),
    OUTCOMES,
    st.none() | st.integers(0, 10**12),
    st.booleans(),
)


def test_a_call_and_an_attempt_add_to_their_hour_and_day() -> None:
    sums = Sums()

    sums.add_call(CALL)
    sums.add_attempt(ATTEMPT)

    call, attempt = ("k", "", "", "", "", ""), ("k", "", "", "acme", "small", "")
    assert sums.hours == {
        (5 * DAY + HOUR, call): [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        (5 * DAY + HOUR, attempt): [0, 0, 1, 10, 0, 0, 5, 0, 0, 7, 0],
    }
    assert set(sums.days()) == {(5 * DAY, call), (5 * DAY, attempt)}


def test_spend_is_counted_for_each_scope() -> None:
    sums = Sums()

    sums.add_attempt(msgspec.structs.replace(ATTEMPT, user="ann", team="red"))

    slot = 5 * DAY + HOUR + QUARTER
    scopes = [("total", ""), ("provider", "acme"), ("team", "red"), ("user", "ann"), ("key", "k")]
    assert sums.spend() == {(scope, slot): 7 for scope in scopes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": 200}, False),
        ({"status": 200, "outcome": "partial"}, True),
        ({"status": 0, "outcome": "error"}, True),
        ({"status": 499, "outcome": "client_closed"}, True),
        ({"status": 200, "outcome": "client_closed"}, False),
        ({"status": 429, "outcome": "error"}, True),
    ],
)
def test_a_failed_call_is_an_error(changes: dict[str, object], *, expected: bool) -> None:
    assert is_error(msgspec.structs.replace(CALL, **changes)) is expected


@given(st.lists(ROWS))
def test_what_is_added_and_taken_away_leaves_nothing(rows: Sequence[AttemptRow]) -> None:
    sums = Sums()

    for row in rows:
        sums.add_attempt(row)
    for row in reversed(rows):
        sums.add_attempt(row, -1)

    assert all(not any(measures) for measures in (*sums.hours.values(), *sums.days().values()))
    assert set(sums.spend().values()) <= {0}


@given(st.lists(ROWS, min_size=1), st.integers(0, 20))
def test_batches_give_the_same_row_as_one(rows: Sequence[AttemptRow], cut: int) -> None:
    """As the store does it: what a later batch has replaces what the earlier one has, if it supersedes it."""
    first, second = unique_attempts(rows[:cut]), unique_attempts(rows[cut:])

    merged = dict(first)
    for id, row in second.items():
        if supersedes(row, merged.get(id)):
            merged[id] = row

    assert merged == unique_attempts(rows)


@given(st.lists(ROWS, min_size=1))
def test_repeating_rows_changes_nothing(rows: Sequence[AttemptRow]) -> None:
    assert unique_attempts([*rows, *rows]) == unique_attempts(rows)
