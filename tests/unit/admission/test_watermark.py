"""Shedding above the watermark, and admitting calls again."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from proxy.admission.gate import Gate
from proxy.admission.memory import Reading
from proxy.admission.watermark import (
    COPIES,
    EVERY,
    LARGE,
    OFTEN,
    RELIEVE,
    BodyMemory,
    Watermark,
    free_memory,
    memory_families,
)
from proxy.core.errors import Unavailable
from tests.support.calls import live
from tests.support.fakes import FakeClock


class Script:
    """Readings one after another, with a watermark of 100; then the reading fails."""

    def __init__(self, *used: int) -> None:
        self._used = iter(used)

    def read(self) -> Reading:
        for used in self._used:
            return Reading(used, 100)
        raise OSError("the end")


class InFlight:
    """A call in flight."""

    def interrupt(self, why: str) -> None:
        raise AssertionError("nothing interrupts it")


class Watched(FakeClock):
    """A watermark over a gate with calls in flight, and what happened at each reading."""

    def __init__(self, *used: int, calls: int = 1) -> None:
        super().__init__()
        self.gate = Gate(live(max_in_flight=10))
        self.shed: list[bool] = []
        self.relieved = 0
        self.calls = ExitStack()
        for _ in range(calls):
            self.gate.enter(call := InFlight())
            self.calls.callback(self.gate.leave, call)
        self.watermark = Watermark(Script(*used), self.gate, self, self._relieve)

    def _relieve(self) -> None:
        self.relieved += 1

    async def sleep(self, seconds: float) -> None:
        self.shed.append(self.gate.shedding)
        await super().sleep(seconds)


async def test_calls_are_rejected_until_below_95_percent() -> None:
    watched = Watched(100, 101, 96, 95, 94, 99)

    await watched.watermark.run()

    assert watched.shed == [False, True, True, True, False, False]


async def test_without_calls_in_flight_calls_are_never_rejected() -> None:
    watched = Watched(200, 200, calls=0)

    await watched.watermark.run()

    assert watched.shed == [False, False]


async def test_memory_that_never_returns_does_not_stop_the_service() -> None:
    watched = Watched(200)
    await watched.watermark.run()
    watched.gate.shed(on=True)
    watched.calls.close()
    watched.watermark = Watermark(Script(200), watched.gate, watched, lambda: None)

    await watched.watermark.run()

    assert watched.shed == [True, False]


async def test_memory_is_read_more_often_near_the_watermark() -> None:
    watched = Watched(74, 75, 101)

    await watched.watermark.run()

    assert watched.slept == [EVERY, OFTEN, OFTEN]


async def test_memory_is_relieved_at_intervals_while_shedding() -> None:
    watched = Watched(50, *[200] * int(2 * RELIEVE / OFTEN))

    await watched.watermark.run()

    assert watched.relieved == 2


async def test_memory_that_cannot_be_read_is_not_watched(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(200)

    await watched.watermark.run()

    assert not watched.gate.shedding
    assert "memory in use cannot be read; it is not watched" in caplog.text


def test_small_bodies_are_not_weighed() -> None:
    memory = BodyMemory(Watched(99).watermark)

    memory.cover(LARGE)

    assert memory.covered == LARGE


def test_a_body_without_enough_memory_is_rejected() -> None:
    watermark = Watermark(Script(100 - COPIES * 10), Gate(live(max_in_flight=1)), FakeClock())

    with pytest.raises(Unavailable) as refused:
        watermark.set_aside(11)

    assert refused.value.error_code == "overloaded"
    assert "`server.memory_watermark`" in str(refused.value)


def test_bodies_being_read_count_until_they_are_released() -> None:
    watermark = Watermark(Script(*[100 - COPIES * 10] * 9), Gate(live(max_in_flight=1)), FakeClock())
    amount = watermark.set_aside(10)

    with pytest.raises(Unavailable):
        watermark.set_aside(1)
    watermark.give_back(amount)

    assert watermark.set_aside(10) == amount


def test_a_body_that_grows_is_weighed_by_what_it_adds() -> None:
    watermark = Watermark(Large(), Gate(live(max_in_flight=1)), FakeClock())
    memory = BodyMemory(watermark)

    memory.cover(2 * LARGE)
    memory.cover(3 * LARGE)
    with pytest.raises(Unavailable):
        memory.cover(5 * LARGE)
    memory.release()

    BodyMemory(watermark).cover(4 * LARGE)


class Large:
    """Memory for a body of four times `LARGE`."""

    def read(self) -> Reading:
        return Reading(0, COPIES * 4 * LARGE)


async def test_memory_is_relieved_after_a_body_was_rejected() -> None:
    watched = Watched(100, 50)
    with pytest.raises(Unavailable):
        watched.watermark.set_aside(100)

    await watched.watermark.run()

    assert watched.relieved == 1


def values(watched: Watched) -> Iterator[tuple[str, float]]:
    for family in memory_families(watched.watermark, watched.gate):
        yield from family.values.items()


async def test_the_last_reading_is_measured() -> None:
    watched = Watched(120)
    before = dict(values(watched))

    await watched.watermark.run()

    assert before == {}
    assert dict(values(watched)) == {
        "signalbox_memory_used_bytes": 120.0,
        "signalbox_memory_watermark_bytes": 100.0,
        "signalbox_memory_shedding": 0.0,
    }


def test_memory_can_be_freed_on_this_system() -> None:
    free_memory()


async def test_memory_is_watched_again_when_a_descriptor_is_free() -> None:
    watched = Watched()
    readings = iter([OSError(errno.EMFILE, "too many open files"), Reading(200, 100), OSError("the end")])

    def read() -> Reading:
        reading = next(readings)
        if isinstance(reading, OSError):
            raise reading
        return reading

    watched.watermark = Watermark(SimpleNamespace(read=read), watched.gate, watched, lambda: None)
    await watched.watermark.run()

    assert watched.shed == [False, True]
    assert watched.slept == [OFTEN, OFTEN]
