"""The machine's clock keeps what it promises."""

from __future__ import annotations

import asyncio
import math

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


@pytest.mark.anyio
async def test_waiting_for_an_event_ends_with_it_or_with_the_time() -> None:
    clock, event = SystemClock(), asyncio.Event()

    assert not await clock.wait_for(event, 0.001)
    event.set()

    assert await clock.wait_for(event, 100.0)
    assert await clock.wait_for(event, math.inf)
