"""The machine's clock keeps what it promises."""

from __future__ import annotations

import pytest

from proxy.core.clock import SystemClock


def test_monotonic_time_never_goes_back() -> None:
    clock = SystemClock()

    times = [clock.monotonic() for _ in range(100)]

    assert times == sorted(times)


def test_time_is_seconds_since_the_epoch() -> None:
    assert SystemClock().time() > 1_700_000_000


@pytest.mark.anyio
async def test_sleeping_takes_no_less_than_asked() -> None:
    clock = SystemClock()
    began = clock.monotonic()

    await clock.sleep(0.001)

    assert clock.monotonic() - began >= 0.001
