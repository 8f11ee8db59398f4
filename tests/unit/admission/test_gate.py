"""Room for calls, and the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.admission.gate import Gate
from proxy.core.errors import Unavailable
from tests.support.calls import live, snapshot


class InFlight:
    """A call in flight, and why it was interrupted."""

    def __init__(self) -> None:
        self.interrupted: str | None = None

    def interrupt(self, why: str) -> None:
        self.interrupted = why


@contextmanager
def inside(gate: Gate) -> Iterator[InFlight]:
    call = InFlight()
    gate.enter(call)
    try:
        yield call
    finally:
        gate.leave(call)


def enter_and(gate: Gate, *, fail: bool = False) -> None:
    with inside(gate):
        if fail:
            raise KeyError


def test_calls_inside_are_counted() -> None:
    gate = Gate(live(max_in_flight=2))

    with inside(gate):
        assert gate.inside == 1
        with inside(gate):
            assert gate.inside == 2

    assert gate.inside == 0


def test_a_call_over_the_maximum_is_rejected() -> None:
    gate = Gate(live(max_in_flight=1))

    with inside(gate), pytest.raises(Unavailable) as refused:
        enter_and(gate)

    assert refused.value.error_code == "overloaded"
    assert "`server.max_in_flight`" in str(refused.value)
    assert refused.value.response_headers()["retry-after"] == "1"
    enter_and(gate)


def test_a_call_that_fails_gives_its_room_back() -> None:
    gate = Gate(live(max_in_flight=1))

    with pytest.raises(KeyError):
        enter_and(gate, fail=True)

    assert gate.inside == 0


def test_a_closed_gate_lets_nobody_in_but_those_inside_stay() -> None:
    gate = Gate(live(max_in_flight=5))

    with inside(gate):
        gate.close()
        with pytest.raises(Unavailable) as refused:
            enter_and(gate)
        assert gate.inside == 1

    assert refused.value.error_code == "draining"
    assert gate.closed


def test_those_inside_can_be_interrupted() -> None:
    gate = Gate(live(max_in_flight=5))

    with inside(gate) as first, inside(gate) as second:
        gate.interrupt()
    with inside(gate) as later:
        pass

    gate.interrupt()
    assert [first.interrupted, second.interrupted, later.interrupted] == ["draining", "draining", None]


@pytest.mark.anyio
async def test_an_empty_gate_is_empty_at_once() -> None:
    assert await Gate(live(max_in_flight=1)).emptied(0.0)


@pytest.mark.anyio
async def test_whoever_waits_learns_that_the_last_call_has_left() -> None:
    gate = Gate(live(max_in_flight=5))
    told: list[bool] = []

    async def wait() -> None:
        told.append(await gate.emptied(60.0))

    async with asyncio.TaskGroup() as group:
        with inside(gate):
            with inside(gate):
                group.create_task(wait())
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert told == []

    assert told == [True]


@pytest.mark.anyio
async def test_waiting_ends_although_somebody_stays() -> None:
    gate = Gate(live(max_in_flight=5))

    with inside(gate):
        assert not await gate.emptied(0.001)


@pytest.mark.anyio
async def test_a_gate_that_was_empty_and_is_not_any_more_is_not_empty() -> None:
    gate = Gate(live(max_in_flight=5))
    enter_and(gate)

    with inside(gate):
        assert not await gate.emptied(0.0)


def test_a_shedding_gate_rejects_new_calls() -> None:
    gate = Gate(live(max_in_flight=5))

    with inside(gate):
        gate.shed(on=True)
        with pytest.raises(Unavailable) as refused:
            enter_and(gate)
        assert gate.inside == 1
    gate.shed(on=False)

    enter_and(gate)
    assert refused.value.error_code == "overloaded"
    assert "`server.memory_watermark`" in str(refused.value)
    assert refused.value.response_headers()["retry-after"] == "2"


def test_another_maximum_counts_at_once() -> None:
    config = live(max_in_flight=5)
    gate = Gate(config)
    config.snapshot = snapshot(max_in_flight=1)

    with inside(gate), pytest.raises(Unavailable):
        enter_and(gate)


def test_a_shedding_gate_stays_closed_with_another_maximum() -> None:
    config = live(max_in_flight=5)
    gate = Gate(config)
    gate.shed(on=True)
    config.snapshot = snapshot(max_in_flight=9)

    with pytest.raises(Unavailable):
        enter_and(gate)
