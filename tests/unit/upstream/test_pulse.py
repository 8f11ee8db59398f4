"""How late the process is, by a clock that passes more time than it was asked to."""

from __future__ import annotations

import asyncio

import pytest

from proxy.upstream.pulse import INTERVAL_SECONDS, LAG_WINDOW_SECONDS, Pulse
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


class Oversleeping(FakeClock):
    """Each sleep takes as much longer as the script says; after the last one it lasts for ever."""

    def __init__(self, *late: float) -> None:
        super().__init__()
        self.late = list(late)

    async def sleep(self, seconds: float) -> None:
        if not self.late:
            raise asyncio.CancelledError
        self.pass_(seconds + self.late.pop(0))


async def pulse_of(*late: float) -> tuple[Pulse, Oversleeping]:
    clock = Oversleeping(*late)
    pulse = Pulse(clock)
    with pytest.raises(asyncio.CancelledError):
        await pulse.run()
    return pulse, clock


async def test_who_is_in_time_is_not_late() -> None:
    pulse, _ = await pulse_of(0.0, 0.0, 0.0)

    assert pulse.lag == pytest.approx(0.0)


async def test_the_longest_delay_counts() -> None:
    pulse, _ = await pulse_of(0.01, 0.3, 0.02)

    assert pulse.lag == pytest.approx(0.3)


async def test_a_delay_counts_for_a_while_and_is_forgotten_then() -> None:
    pulse, clock = await pulse_of(0.3)

    clock.pass_(LAG_WINDOW_SECONDS)
    assert pulse.lag == pytest.approx(0.3)
    clock.pass_(LAG_WINDOW_SECONDS)
    assert pulse.lag == 0.0


async def test_after_a_long_silence_nothing_is_left() -> None:
    pulse, clock = await pulse_of(0.3)

    clock.pass_(100 * LAG_WINDOW_SECONDS)

    assert pulse.lag == 0.0


async def test_a_delay_longer_than_the_history_counts_at_its_end() -> None:
    pulse, _ = await pulse_of(0.0, 60.0, INTERVAL_SECONDS)

    assert pulse.lag == pytest.approx(60.0)
