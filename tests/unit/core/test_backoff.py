"""The wait before a retry."""

from __future__ import annotations

import random

import pytest

from proxy.core.backoff import delay


class Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.mark.parametrize(("retry", "ceiling"), [(1, 0.2), (2, 0.4), (3, 0.8), (5, 3.2), (6, 5.0), (10_000, 5.0)])
def test_the_ceiling_doubles_up_to_the_limit(retry: int, ceiling: float) -> None:
    assert delay(0.2, 5.0, retry, Highest()) == pytest.approx(ceiling)


def test_the_jitter_is_full() -> None:
    rng = random.Random(1)

    waits = [delay(0.2, 5.0, 2, rng) for _ in range(1000)]

    assert 0.0 <= min(waits) < 0.02
    assert 0.38 < max(waits) <= 0.4
    assert sum(waits) / len(waits) == pytest.approx(0.2, abs=0.02)


def test_no_backoff_is_no_wait() -> None:
    assert delay(0.0, 5.0, 3, random.Random(1)) == 0.0
