"""Ridge regression by conjugate gradients."""

from __future__ import annotations

import pytest

from proxy.learning.ridge import Row, finish, solve


def rows(count: int) -> list[Row]:
    """Rows whose value is 3 + 2 a - b; `c` is in one row only."""
    made = []
    for number in range(count):
        a, b = (number * 37 % 11) / 11, (number * 53 % 7) / 7
        columns, values = [1, 5], [a, b]
        if number == 0:
            columns, values = [1, 5, 9], [a, b, 1.0]
        made.append(Row(columns, values, 3 + 2 * a - b, 1.0))
    return made


def predicted(solution: tuple[float, dict[int, float]], row: Row) -> float:
    intercept, weights = solution
    return intercept + sum(weights.get(at, 0.0) * value for at, value in zip(row.columns, row.values, strict=True))


def test_a_linear_rule_is_found_almost_exactly_with_a_small_penalty() -> None:
    given = rows(200)

    intercept, weights = finish(solve(given, 1e-6))

    assert weights[1] - weights[5] == pytest.approx(3.0, abs=0.8)  # the intercept is the mean, so both give a little
    assert intercept == pytest.approx(sum(row.value for row in given) / 200)


def test_columns_of_one_row_are_left_out() -> None:
    _, weights = finish(solve(rows(50), 1.0))

    assert sorted(weights) == [1, 5]


def test_a_large_penalty_leaves_the_mean() -> None:
    given = rows(50)

    solution = finish(solve(given, 1e9))

    assert predicted(solution, given[3]) == pytest.approx(sum(row.value for row in given) / 50, abs=1e-4)


def test_a_row_of_no_weight_changes_nothing() -> None:
    given = rows(50)
    false = Row([1, 5], [1.0, 1.0], 99.0, 0.0)

    solution, with_false = finish(solve(given, 1.0)), finish(solve([*given, false], 1.0))

    assert predicted(with_false, given[7]) == pytest.approx(predicted(solution, given[7]))


def test_work_is_done_in_many_slices() -> None:
    slices = sum(1 for _ in solve(rows(20_000), 1.0))

    assert slices > 20


def test_rows_without_known_columns_have_the_mean() -> None:
    given = [Row([number], [1.0], float(number), 1.0) for number in range(5)]

    assert finish(solve(given, 1.0)) == (2.0, {})
