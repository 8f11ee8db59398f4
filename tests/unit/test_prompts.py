"""The service that writes prompts to the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxy.core.call import Call
from proxy.core.principal import Identified
from proxy.prompts import EVERY, MAX_WAITING, StoredPrompts
from proxy.routing.classify.rules import RULES
from proxy.store.errors import StoreUnavailable
from proxy.store.prompts import PromptRow
from tests.support.calls import snapshot
from tests.support.clocks import VirtualClock, idle
from tests.support.fakes import FakeClock
from tests.unit.routing.build import call

STORES = snapshot(store_prompts=True)


class Store:
    """A store that may be away."""

    def __init__(self) -> None:
        self.rows: list[PromptRow] = []
        self.away = False

    async def write(self, rows: Sequence[PromptRow]) -> None:
        if self.away:
            raise StoreUnavailable
        self.rows += rows

    @property
    def ids(self) -> list[str]:
        return [row.id for row in self.rows]


def asked(id: str = "req_1", text: str = "Prove it.") -> Call:
    principal = Identified("ann", user="ann")
    return replace(call("auto", text, on=STORES), id=id, principal=principal)


def note(prompts: StoredPrompts, of: Call) -> None:
    prompts.note(of, RULES.classify(of))


async def test_a_prompt_is_written_with_its_profile() -> None:
    store, clock = Store(), FakeClock()
    prompts = StoredPrompts(store, clock)

    note(prompts, asked(text="Prove it.\0\ud800"))
    await prompts.flush()

    [row] = store.rows
    item = json.loads(row.json)
    assert (row.id, row.tenant, row.time) == ("req_1", "user:ann", int(clock.time() * 1e6))
    assert (item["id"], item["prompt"], item["characters"]) == ("req_1", "Prove it.\0?", 11)
    assert item["profile"].keys() == {
        "task", "tier", "score", "confidence", "classifier", "features", "needs", "fallback",
    }  # fmt: skip


async def test_nothing_is_kept_unless_the_configuration_asks_for_it() -> None:
    store = Store()
    prompts = StoredPrompts(store, FakeClock())

    note(prompts, replace(asked(), snapshot=snapshot()))
    await prompts.flush()

    assert store.rows == []


async def test_prompts_wait_while_the_store_is_away() -> None:
    store = Store()
    prompts = StoredPrompts(store, FakeClock())
    for number in range(3):
        note(prompts, asked(str(number)))
    store.away = True
    with pytest.raises(StoreUnavailable):
        await prompts.flush()

    store.away = False
    await prompts.flush()

    assert store.ids == ["0", "1", "2"]


async def test_the_oldest_are_lost_if_too_many_wait() -> None:
    store = Store()
    prompts = StoredPrompts(store, FakeClock())

    for number in range(MAX_WAITING + 2):
        note(prompts, asked(str(number)))
    await prompts.flush()

    assert prompts.lost == 2
    assert (store.ids[0], len(store.ids)) == ("2", MAX_WAITING)


@pytest.mark.anyio
@pytest.mark.virtual_time
async def test_prompts_are_written_every_second_and_at_the_end() -> None:
    store, clock = Store(), VirtualClock()
    prompts = StoredPrompts(store, clock)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(prompts.run())
        await idle()
        note(prompts, asked("a"))
        await clock.advance(EVERY)
        first = list(store.ids)
        note(prompts, asked("b"))
        running.cancel()

    assert first == ["a"]
    assert store.ids == ["a", "b"]
