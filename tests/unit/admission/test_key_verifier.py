"""Keys are verified from a cache with a stated staleness, and guesses do not reach the store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import structs

from proxy.admission.accounts import DIGESTS_SECONDS, FRESH, MAX_ENTRIES, STALE, TTL, AccountCache
from proxy.admission.guesses import Guesses
from proxy.admission.key_verifier import KeyVerifier
from proxy.admission.keys import IssuedKey, Peppers, new_key
from proxy.core.accounts import Budget, Team, User
from proxy.core.errors import NotAllowed, NotAuthenticated, ProxyError, RateLimited, Unavailable
from proxy.core.model import LimitValues
from proxy.core.principal import Identified
from tests.support.accounts import PEPPER, FakeAccounts
from tests.support.fakes import FakeClock, turn

pytestmark = pytest.mark.anyio

HERE = "192.0.2.7"


@dataclass
class Bench:
    """A verifier over a store in memory."""

    store: FakeAccounts = field(default_factory=FakeAccounts)
    clock: FakeClock = field(default_factory=FakeClock)
    peppers: tuple[str, ...] = (PEPPER,)
    key_limits: LimitValues = field(default_factory=LimitValues)
    stale: float = STALE

    def __post_init__(self) -> None:
        self.cache = AccountCache(self.store, self.clock, stale=self.stale)
        self.guesses = Guesses(self.clock)
        self.verifier = KeyVerifier(self.cache, Peppers(self.peppers), self.guesses, self.clock, self.key_limits)

    async def verify(self, key: str, address: str | None = HERE) -> Identified:
        """The caller, found as the pipeline finds it."""
        return self.verifier.at_once(key) or await self.verifier.look_up(key, address)

    async def refused(self, key: str, address: str | None = HERE) -> ProxyError:
        """The error for a key."""
        with pytest.raises(ProxyError) as caught:
            await self.verify(key, address)
        return caught.value

    def change(self, issued: IssuedKey, **values: Any) -> None:
        """Change a key in the store, as another process does."""
        self.store.keys[issued.digest] = structs.replace(self.store.keys[issued.digest], **values)


async def test_a_key_identifies_its_caller() -> None:
    bench = Bench()
    budget = Budget(5_000_000_000)
    bench.store.teams["t"] = Team(id="t", models=("openai/*",), limits=LimitValues(tpm=9), budget=budget)
    bench.store.users["u"] = User(id="u", role="auditor", team="t", limits=LimitValues(rpd=7))
    issued = bench.store.add(user="u", models=("tier/*", "mock/a"), limits=LimitValues(rpm=3), budget=budget)

    caller = await bench.verify(issued.key)

    assert (caller.name, caller.key_id, caller.user, caller.team, caller.role) == (
        "key_1",
        "key_1",
        "u",
        "t",
        "auditor",
    )
    assert caller.models == (("tier/*", "mock/a"), ("openai/*",))
    assert caller.limits == (
        (("key", "key_1"), LimitValues(rpm=3)),
        (("user", "u"), LimitValues(rpd=7)),
        (("team", "t"), LimitValues(tpm=9)),
    )
    assert caller.budgets == (("key", "key_1", budget), ("team", "t", budget))


async def test_a_key_without_limits_has_the_default_ones() -> None:
    bench = Bench(key_limits=LimitValues(rpm=2))
    plain, own = bench.store.add(), bench.store.add("key_2", limits=LimitValues(tpm=8))

    assert (await bench.verify(plain.key)).limits == ((("key", "key_1"), LimitValues(rpm=2)),)
    assert (await bench.verify(own.key)).limits == ((("key", "key_2"), LimitValues(tpm=8)),)


async def test_a_cached_key_is_verified_at_once() -> None:
    bench = Bench()
    issued = bench.store.add()

    first = await bench.verify(issued.key)

    assert bench.verifier.at_once(issued.key) is first
    assert bench.store.look_ups == 1


async def test_calls_at_the_same_time_share_one_look_up() -> None:
    bench = Bench()
    bench.store.gate = asyncio.Event()
    issued = bench.store.add()

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(bench.verify(issued.key)) for _ in range(20)]
        await turn()
        calls[0].cancel()  # the call that waits for the store
        await turn()
        bench.store.gate.set()

    assert {call.result().name for call in calls[1:]} == {"key_1"}
    assert bench.store.look_ups == 2


@pytest.mark.parametrize(
    "key",
    ["", "sb-", "sk-proj-1", "sb-" + "x" * 49, new_key()[:-1], new_key() + "A", "\u00e9" * 52],
    ids=["empty", "prefix", "other prefix", "checksum", "short", "long", "not ASCII"],
)
async def test_a_malformed_key_is_rejected_without_a_look_up(key: str) -> None:
    bench = Bench()

    error = await bench.refused(key)

    assert (error.http_status, error.error_code, bench.store.look_ups) == (401, "invalid_api_key", 0)


async def test_an_unknown_key_is_looked_up_once() -> None:
    bench, key = Bench(), new_key()

    errors = [await bench.refused(key) for _ in range(50)]

    assert {error.http_status for error in errors} == {401}
    assert bench.store.look_ups == 1


@pytest.mark.parametrize("addresses", [1, 4000])
async def test_guesses_cost_at_most_50_look_ups_a_second(addresses: int) -> None:
    bench = Bench()
    good = [bench.store.add(f"key_{number}") for number in range(10)]
    for issued in good:
        await bench.verify(issued.key)
    start = bench.store.look_ups
    most = 0

    for _ in range(3):
        before = bench.store.look_ups
        for number in range(2000):
            error = await bench.refused(new_key(), f"192.0.2.{number % addresses}")
            assert isinstance(error, NotAuthenticated | RateLimited)
            assert bench.verifier.at_once(good[number % 10].key) is not None
            bench.clock.pass_(0.0005)
        most = max(most, bench.store.look_ups - before)

    assert bench.store.look_ups - start > 0
    assert most <= 50


async def test_guesses_at_the_same_time_cost_at_most_50_look_ups() -> None:
    bench = Bench()
    bench.store.gate = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        for number in range(2000):
            group.create_task(bench.refused(new_key(), f"192.0.2.{number}"))
        await turn(10)
        bench.store.gate.set()

    assert 0 < bench.store.look_ups <= 50


async def test_guesses_of_one_address_do_not_delay_another() -> None:
    bench = Bench()
    issued = bench.store.add()
    for _ in range(100):
        await bench.refused(new_key(), HERE)

    assert isinstance(await bench.refused(new_key(), HERE), RateLimited)
    assert (await bench.verify(issued.key, "192.0.2.9")).name == "key_1"


async def test_guesses_do_not_keep_a_key_from_its_first_use() -> None:
    bench = Bench()
    first = bench.store.add()
    for _ in range(100):
        await bench.refused(new_key())
    assert isinstance(await bench.refused(new_key()), RateLimited)
    second = bench.store.add("key_2")

    assert (await bench.verify(first.key)).name == "key_1"
    assert isinstance(await bench.refused(second.key), RateLimited)
    bench.clock.pass_(DIGESTS_SECONDS)
    for _ in range(100):
        await bench.refused(new_key())
    assert (await bench.verify(second.key)).name == "key_2"


async def test_first_uses_at_the_same_time_wait_for_the_digests_of_keys() -> None:
    bench = Bench()
    keys = [bench.store.add(f"key_{number}").key for number in range(5)]
    bench.guesses.failed(b"guess", HERE, 100)
    bench.store.gate = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.verify(key)) for key in keys]
        await turn(10)
        bench.store.gate.set()

    assert {task.result().name for task in tasks} == {f"key_{number}" for number in range(5)}


async def test_a_guess_that_leaves_does_not_keep_the_digests_from_being_read() -> None:
    bench = Bench()
    issued = bench.store.add()
    bench.guesses.failed(b"guess", HERE, 100)
    bench.store.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        guess = group.create_task(bench.verify(new_key()))
        await turn(10)
        guess.cancel()
    bench.store.gate.set()

    assert (await bench.verify(issued.key)).name == "key_1"


async def test_a_key_that_was_just_made_is_known_during_guesses() -> None:
    bench = Bench()
    for _ in range(100):
        await bench.refused(new_key())
    made = bench.store.add()
    bench.cache.expire()  # as `/admin/keys` does

    assert (await bench.verify(made.key)).name == "key_1"


async def test_without_the_store_guesses_are_refused_as_before() -> None:
    bench = Bench()
    issued = bench.store.add()
    for _ in range(100):
        await bench.refused(new_key())
    bench.clock.pass_(DIGESTS_SECONDS)
    for _ in range(100):
        await bench.refused(new_key())
    bench.store.down = True
    bench.cache.expire()

    assert isinstance(await bench.refused(new_key()), RateLimited)
    assert isinstance(await bench.refused(issued.key), Unavailable)


async def test_a_change_during_guesses_does_not_stop_keys_in_use() -> None:
    bench = Bench()
    issued, deleted = bench.store.add(), bench.store.add("key_2")
    for each in (issued, deleted):
        await bench.verify(each.key)
    for _ in range(100):
        await bench.refused(new_key())
    del bench.store.keys[deleted.digest]

    bench.cache.expire()

    assert (await bench.verify(issued.key)).name == "key_1"
    assert isinstance(await bench.refused(deleted.key), NotAuthenticated)


async def test_keys_that_exist_are_looked_up_without_limit() -> None:
    bench = Bench()
    keys = [bench.store.add(f"key_{number}").key for number in range(500)]

    callers = [await bench.verify(key) for key in keys]

    assert len({caller.name for caller in callers}) == 500


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({"disabled": True}, 403, "key_disabled"),
        ({"user": "u"}, 403, "key_disabled"),
        ({"team": "t"}, 403, "key_disabled"),
        ({"expires_at": 1_800_000_999.0}, 401, "invalid_api_key"),
    ],
)
async def test_a_key_that_may_not_be_used_is_refused(values: dict[str, Any], status: int, code: str) -> None:
    bench = Bench()
    bench.store.users["u"] = User(id="u", disabled=True)
    bench.store.teams["t"] = Team(id="t", disabled=True)
    issued = bench.store.add(**values)

    errors = [await bench.refused(issued.key) for _ in range(3)]

    assert {(error.http_status, error.error_code) for error in errors} == {(status, code)}
    assert bench.store.look_ups == 1


async def test_expiry_is_checked_at_each_use() -> None:
    bench = Bench()
    issued = bench.store.add(expires_at=1_800_001_002.0)
    await bench.verify(issued.key)

    bench.clock.pass_(1.9)
    assert bench.verifier.at_once(issued.key) is not None

    bench.clock.pass_(0.2)
    with pytest.raises(NotAuthenticated):
        bench.verifier.at_once(issued.key)


async def test_a_change_in_another_process_takes_effect_within_the_ttl() -> None:
    bench = Bench()
    issued = bench.store.add()
    await bench.verify(issued.key)
    bench.change(issued, disabled=True)

    bench.clock.pass_(TTL - 0.1)
    assert (await bench.verify(issued.key)).name == "key_1"

    bench.clock.pass_(0.2)
    assert isinstance(await bench.refused(issued.key), NotAllowed)


async def test_a_change_in_this_process_takes_effect_at_once() -> None:
    bench = Bench()
    issued = bench.store.add()
    await bench.verify(issued.key)
    bench.change(issued, disabled=True)

    bench.cache.expire()

    assert isinstance(await bench.refused(issued.key), NotAllowed)


async def test_a_look_up_during_a_change_is_repeated() -> None:
    bench = Bench()
    bench.store.gate = asyncio.Event()
    issued = bench.store.add()

    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.refused(issued.key))
        await turn()
        bench.cache.expire()
        bench.store.gate.set()
        bench.change(issued, disabled=True)

    assert isinstance(call.result(), NotAllowed)


async def test_a_deleted_key_is_unknown() -> None:
    bench = Bench()
    issued = bench.store.add()
    await bench.verify(issued.key)
    del bench.store.keys[issued.digest]

    bench.clock.pass_(TTL)
    await bench.refused(issued.key)

    assert isinstance(await bench.refused(issued.key), NotAuthenticated)
    assert bench.store.look_ups == 2


async def test_a_key_in_use_is_refreshed_in_the_background() -> None:
    bench = Bench()
    issued = bench.store.add()
    await bench.verify(issued.key)
    bench.change(issued, limits=LimitValues(rpm=1))

    async with asyncio.TaskGroup() as group:
        refreshing = group.create_task(bench.cache.run())
        bench.clock.pass_(FRESH)
        before = bench.verifier.at_once(issued.key)
        await turn()
        after = bench.verifier.at_once(issued.key)
        refreshing.cancel()

    assert before is not None
    assert after is not None
    assert (before.limits, after.limits) == ((), ((("key", "key_1"), LimitValues(rpm=1)),))


async def test_a_slow_look_up_in_the_background_does_not_delay_others() -> None:
    bench = Bench()
    keys = [bench.store.add(f"key_{number}").key for number in range(3)]
    for key in keys:
        await bench.verify(key)
    bench.store.gate = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        refreshing = group.create_task(bench.cache.run())
        bench.clock.pass_(FRESH)
        for key in keys * 2:
            assert bench.verifier.at_once(key) is not None
        await turn()
        looked_up = bench.store.look_ups
        refreshing.cancel()

    assert looked_up == 6


async def test_cached_keys_work_while_the_store_is_unavailable() -> None:
    bench = Bench()
    issued = bench.store.add()
    await bench.verify(issued.key)
    bench.store.down = True

    bench.clock.pass_(TTL)
    assert (await bench.verify(issued.key)).name == "key_1"
    looked_up = bench.store.look_ups
    assert bench.verifier.at_once(issued.key) is not None
    assert isinstance(await bench.refused(bench.store.add("key_2").key), Unavailable)
    assert bench.store.look_ups == looked_up  # none for a second

    bench.clock.pass_(STALE)
    error = await bench.refused(issued.key)
    assert (error.http_status, error.error_code) == (503, "store_unavailable")


async def test_keys_work_again_when_the_store_is_back() -> None:
    bench = Bench()
    issued, new = bench.store.add(), bench.store.add("key_2")
    await bench.verify(issued.key)
    bench.store.down = True
    await bench.refused(new.key)

    bench.store.down = False
    bench.change(issued, disabled=True)
    bench.clock.pass_(TTL)

    assert (await bench.verify(new.key)).name == "key_2"
    assert isinstance(await bench.refused(issued.key), NotAllowed)


async def test_a_closed_policy_serves_no_stale_key() -> None:
    bench = Bench(stale=TTL)
    issued = bench.store.add()
    await bench.verify(issued.key)
    bench.store.down = True

    bench.clock.pass_(TTL)

    assert isinstance(await bench.refused(issued.key), Unavailable)


async def test_a_key_under_an_older_pepper_is_found_and_refreshed() -> None:
    old = Peppers(["o" * 32])
    bench = Bench(peppers=(PEPPER, "o" * 32))
    issued = bench.store.add(peppers=old)
    await bench.verify(issued.key)
    assert bench.store.look_ups == 2

    bench.clock.pass_(TTL)
    assert (await bench.verify(issued.key)).name == "key_1"
    assert isinstance(await Bench(bench.store).refused(issued.key), NotAuthenticated)


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_key_in_use_moves_to_the_newest_pepper(*, read_only: bool) -> None:
    bench = Bench(peppers=(PEPPER, "o" * 32))
    bench.cache.pepper_id = "newest"
    bench.store.read_only = read_only
    issued = bench.store.add(peppers=Peppers(["o" * 32]))

    async with asyncio.TaskGroup() as group:
        refreshing = group.create_task(bench.cache.run())
        await bench.verify(issued.key)
        await turn()
        refreshing.cancel()

    [row] = bench.store.keys.values()
    moved = Peppers([PEPPER]).digest(issued.key)
    assert (row.digest, row.pepper_id) == ((issued.digest, issued.pepper_id) if read_only else (moved, "newest"))
    assert (await bench.verify(issued.key)).name == "key_1"


async def test_the_cache_is_bounded() -> None:
    bench = Bench()
    entries = bench.cache._entries  # noqa: SLF001, its size is not visible otherwise
    keys = [bench.store.add(f"key_{number}").key for number in range(MAX_ENTRIES + 5)]

    for key in keys:
        await bench.verify(key)

    assert len(entries) == MAX_ENTRIES
    assert bench.verifier.at_once(keys[-1]) is not None
