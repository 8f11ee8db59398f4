"""Look-ups: shared, kept for a short time, and never in each other's way."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from proxy.upstream.net import resolve as module
from proxy.upstream.net.resolve import Address, Resolver, literal_address, system_lookup
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

HERE = Address(socket.AF_INET, ("127.0.0.1", 0))
HERE_TOO = Address(socket.AF_INET6, ("::1", 0, 0, 0))


class Names:
    """A system's resolver: names that begin with `slow` hang until they are released, `missing` has no address."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()

    def __call__(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.release.wait(PATIENCE)
        if host.startswith("missing"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return (HERE, HERE_TOO)


async def test_addresses_come_with_the_port() -> None:
    assert await Resolver(Names()).addresses("acme.test", 8080) == [
        Address(socket.AF_INET, ("127.0.0.1", 8080)),
        Address(socket.AF_INET6, ("::1", 8080, 0, 0)),
    ]


async def test_result_is_kept_until_it_is_forgotten() -> None:
    names = Names()
    resolver = Resolver(names)

    for port in (1, 2, 3):
        await resolver.addresses("acme.test", port)
    resolver.forget("acme.test")
    await resolver.addresses("acme.test", 1)

    assert names.asked == ["acme.test"] * 2


async def test_result_is_kept_for_a_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0.0)
    names = Names()
    resolver = Resolver(names)

    for _ in range(2):
        await resolver.addresses("acme.test", 1)

    assert names.asked == ["acme.test"] * 2


async def test_running_look_up_is_shared() -> None:
    names = Names()
    resolver = Resolver(names)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(resolver.addresses("slow.test", 1)) for _ in range(50)]
        await asyncio.sleep(0)
        names.release.set()

    assert names.asked == ["slow.test"]
    assert all(len(task.result()) == 2 for task in tasks)


async def test_hanging_names_do_not_stop_others() -> None:
    names = Names()
    resolver = Resolver(names)

    async with asyncio.TaskGroup() as group:
        hanging = [group.create_task(resolver.addresses(f"slow{number}.test", 1)) for number in range(40)]
        await asyncio.sleep(0)

        async with asyncio.timeout(PATIENCE):
            assert len(await resolver.addresses("acme.test", 1)) == 2

        for task in hanging:
            task.cancel()
    names.release.set()


async def test_cancelled_caller_leaves_the_look_up_to_others() -> None:
    names = Names()
    resolver = Resolver(names)

    async with asyncio.TaskGroup() as group:
        one, two = (group.create_task(resolver.addresses("slow.test", 1)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        names.release.set()

    assert (one.cancelled(), len(two.result()), names.asked) == (True, 2, ["slow.test"])


async def test_number_of_look_ups_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOOKUPS", 2)
    names = Names()
    resolver = Resolver(names)

    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(resolver.addresses(f"slow{number}.test", 1))
        await asyncio.sleep(0)
        with pytest.raises(socket.gaierror, match="too many"):
            await resolver.addresses("acme.test", 1)
        names.release.set()

    assert len(await resolver.addresses("acme.test", 1)) == 2


async def test_number_of_names_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    names = Names()
    resolver = Resolver(names)

    for number in range(10):
        await resolver.addresses(f"acme{number}.test", 1)

    assert len(resolver._flights) <= 3  # noqa: SLF001


async def test_failure_is_not_kept() -> None:
    names = Names()
    resolver = Resolver(names)

    for _ in range(2):
        with pytest.raises(socket.gaierror, match="not known"):
            await resolver.addresses("missing.test", 1)

    assert names.asked == ["missing.test"] * 2


async def test_name_without_an_address_is_a_failure() -> None:
    with pytest.raises(socket.gaierror, match="no address"):
        await Resolver(lambda _: ()).addresses("acme.test", 1)


async def test_addresses_are_not_looked_up() -> None:
    names = Names()
    resolver = Resolver(names)

    found = [await resolver.addresses(host, 80) for host in ("127.0.0.1", "::1", "fe80::1%2")]

    assert [each[0].where for each in found] == [("127.0.0.1", 80), ("::1", 80, 0, 0), ("fe80::1", 80, 0, 2)]
    assert names.asked == []
    assert literal_address("acme.test") is None


def test_system_knows_this_machine() -> None:
    assert HERE in system_lookup("localhost") or HERE_TOO in system_lookup("localhost")


async def test_look_up_that_outlives_the_loop_harms_nothing() -> None:
    names = Names()
    resolver = Resolver(names)
    loop = asyncio.new_event_loop()
    flight = module._Flight()  # noqa: SLF001
    loop.close()

    resolver._run("acme.test", flight, loop)  # noqa: SLF001

    assert not flight.done.is_set()


async def test_look_up_without_a_thread_fails_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(Names())

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(socket.gaierror, match="no thread"):
            await resolver.addresses("acme.test", 1)

    assert len(await resolver.addresses("acme.test", 1)) == 2


@pytest.mark.parametrize("error", [ValueError("embedded null"), UnicodeError("label too long")])
async def test_name_that_cannot_be_looked_up_is_an_error(error: ValueError) -> None:
    def lookup(host: str) -> Sequence[Address]:
        raise error

    with pytest.raises(socket.gaierror, match="not valid"):
        await Resolver(lookup).addresses("acme.test", 1)
