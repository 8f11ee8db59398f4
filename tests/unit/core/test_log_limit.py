"""Log lines that repeat."""

from __future__ import annotations

from proxy.core.log_limit import SECONDS, LogLimit


def test_one_line_passes_each_second_with_the_number_of_those_skipped() -> None:
    limit = LogLimit()

    passed = [limit.passes(1000.0 + number * SECONDS / 4) for number in range(9)]

    assert passed == [0, None, None, None, 3, None, None, None, 3]
