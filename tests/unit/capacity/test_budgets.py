"""The service of budgets: which ones apply, seeding, errors and renewal."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budget_rules import rules
from proxy.capacity.budget_store import (
    BudgetCharge,
    BudgetCounter,
    BudgetReservation,
    Granted,
    Refused,
    Spending,
    Unseeded,
)
from proxy.capacity.budgets import LEASE_SECONDS, PATIENCE_SECONDS, REFRESH_SECONDS, RENEW_SECONDS, Budgets, FailOpen
from proxy.core.accounts import Budget, BudgetScope
from proxy.core.budgets import BudgetPolicy, BudgetRule
from proxy.core.errors import BudgetExceeded, StateUnavailable, Unavailable
from proxy.core.model import Price
from proxy.core.plan import Room
from proxy.core.principal import Identified, Principal
from tests.support import calls
from tests.support.fakes import FakeClock, turn

USD = 1_000_000_000
PRICE = Price(input=150_000_000, output=600_000_000, cached_input=75_000_000, cache_write=150_000_000)
SMALL = calls.deployment(price=PRICE, max_output=1000)
TOTAL = BudgetRule("total", "", USD)
ALICE = Identified("alice", user="alice", team="red", key_id="k_1")

pytestmark = pytest.mark.anyio


class Ledger:
    """A ledger with one sum for everything, which answers when it is `open`."""

    is_complete = True

    def __init__(self, nusd: int) -> None:
        self.nusd = nusd
        self.asked: list[tuple[str, str, int, int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        self.asked.append((scope, id, start, end))
        await self.open.wait()
        return self.nusd


def policy(*found: BudgetRule, user: Budget | None = None) -> BudgetPolicy:
    grouped: dict[tuple[BudgetScope, str], tuple[BudgetRule, ...]] = {}
    for rule in found:
        grouped[rule.scope, rule.id] = (*grouped.get((rule.scope, rule.id), ()), rule)
    return BudgetPolicy(grouped, user)


def budgets(clock: FakeClock, *found: BudgetRule, ledger: Ledger | None = None, user: Budget | None = None) -> Budgets:
    live = calls.live(SMALL, budgets=policy(*found, user=user))
    return Budgets(MemoryBudgets(clock), clock, live, id="p1", ledger=ledger)


async def reserve(service: Budgets, nusd: int | None, *found: BudgetRule, principal: Principal = ALICE):
    charges = service.charges(principal, SMALL, policy(*found))
    return await service.reserve(charges, SMALL, nusd)


def test_budgets_of_every_scope_apply() -> None:
    mine: list[tuple[BudgetScope, str]] = [
        ("total", ""),
        ("provider", "acme"),
        ("team", "red"),
        ("user", "alice"),
        ("key", "k_1"),
    ]
    others: list[tuple[BudgetScope, str]] = [("provider", "other"), ("team", "blue"), ("user", "bob"), ("key", "k_2")]
    configured = policy(*(BudgetRule(scope, id, USD) for scope, id in mine + others))

    assert [(rule.scope, rule.id) for rule in rules(ALICE, SMALL, configured)] == mine


def test_budgets_of_the_principal_apply() -> None:
    principal = Identified("k", key_id="k_1", budgets=(("key", "k_1", Budget(5, "day")),))

    assert rules(principal, SMALL, policy()) == [BudgetRule("key", "k_1", 5, "day")]


def test_the_default_is_for_users_without_a_budget() -> None:
    with_one = Identified("b", user="bob", budgets=(("user", "bob", Budget(5)),))
    default = policy(user=Budget(USD))

    assert rules(ALICE, SMALL, default) == [BudgetRule("user", "alice", USD)]
    assert rules(with_one, SMALL, default) == [BudgetRule("user", "bob", 5)]
    assert rules(Identified("k", key_id="k_1"), SMALL, default) == []


def test_an_anonymous_caller_without_rules_charges_nothing() -> None:
    service = budgets(FakeClock())

    assert service.charges(Principal("-"), SMALL, None) == ()


def test_rules_of_one_counter_are_charged_once() -> None:
    service = budgets(FakeClock())
    found = (
        BudgetRule("user", "alice", 50),
        BudgetRule("user", "alice", 40, hard=False),
        BudgetRule("user", "alice", 60),
    )

    [charge] = service.charges(ALICE, SMALL, policy(*found))

    assert (charge.hard, charge.soft) == (50, 40)


def test_periods_have_their_own_counters() -> None:
    service = budgets(FakeClock())
    found = [BudgetRule("total", "", 50, period) for period in ("day", "week", "month", "total")]

    charges = service.charges(ALICE, SMALL, policy(*found))

    assert len({charge.counter for charge in charges}) == 4


async def test_a_refusal_names_everything_that_helps() -> None:
    service = budgets(FakeClock())
    await reserve(service, 980_000_000, TOTAL)

    with pytest.raises(BudgetExceeded) as caught:
        await reserve(service, 30_000_000, TOTAL)

    assert str(caught.value) == (
        "The budget `total` of 1.00 USD a month does not allow this call, which may cost 0.03 USD: 0.00 USD are spent "
        "and 0.98 USD are reserved by running calls. It resets at 2027-02-01T00:00:00Z."
    )
    assert caught.value.http_status == 429
    assert caught.value.error_code == "insufficient_quota"
    assert caught.value.response_headers()["x-should-retry"] == "false"
    assert service.refused == {"total": 1}


async def test_a_cost_without_bound_is_refused_by_hard_budgets_only() -> None:
    service = budgets(FakeClock())
    soft = TOTAL._replace(hard=False)

    with pytest.raises(BudgetExceeded, match="the most tokens of this call to `acme/small` are unknown"):
        await reserve(service, None, TOTAL)
    reservation, exceeded = await reserve(service, None, soft)

    assert reservation.nusd == 0
    assert exceeded == ()


async def test_an_unpriced_model_is_named() -> None:
    service = budgets(FakeClock())
    unpriced = calls.deployment("free")
    charges = service.charges(ALICE, unpriced, policy(TOTAL))

    with pytest.raises(BudgetExceeded, match="`acme/free` has no price; configure its `price`"):
        await service.reserve(charges, unpriced, None)


async def test_models_without_bound_are_named() -> None:
    service = budgets(FakeClock())
    image = calls.deployment("painter", kind="image", price=PRICE)
    charges = service.charges(ALICE, image, policy(TOTAL))

    with pytest.raises(BudgetExceeded, match="the cost of `acme/painter` has none; only soft budgets allow images"):
        await service.reserve(charges, image, None)


async def test_an_exceeded_soft_budget_is_named() -> None:
    service = budgets(FakeClock())
    soft = BudgetRule("user", "alice", 10, hard=False)
    first, _ = await reserve(service, 5, soft)
    service.settle(first, 10, SMALL)

    _, exceeded = await reserve(service, 5, soft)

    assert exceeded == ("user/alice",)
    assert service.exceeded == {"user": 1}


async def test_the_first_use_of_a_window_asks_the_ledger() -> None:
    ledger = Ledger(990_000_000)
    service = budgets(FakeClock(), ledger=ledger)

    with pytest.raises(BudgetExceeded):
        await reserve(service, 20_000_000, TOTAL)
    await reserve(service, 10_000_000, TOTAL)

    [(scope, id, start, end)] = ledger.asked
    assert (scope, id) == ("total", "")
    assert start <= FakeClock().time() * 1e6 < end


async def test_concurrent_first_uses_ask_the_ledger_once() -> None:
    ledger = Ledger(0)
    ledger.open.clear()
    service = budgets(FakeClock(), ledger=ledger)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(reserve(service, 1, TOTAL)) for _ in range(5)]
        await turn()
        assert not any(task.done() for task in tasks)  # nothing is granted before the counter is seeded
        ledger.open.set()

    assert len(ledger.asked) == 1


async def test_a_cancelled_first_use_does_not_block_others() -> None:
    ledger = Ledger(0)
    ledger.open.clear()
    service = budgets(FakeClock(), ledger=ledger)

    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(reserve(service, 1, TOTAL)) for _ in range(2))
        await turn()
        first.cancel()
        await turn()
        ledger.open.set()
        await second

    assert (await service.read([TOTAL]))[0].spending == Spending(0, 1)


async def test_a_cost_above_the_bound_is_counted_and_closes() -> None:
    service = budgets(FakeClock())
    reservation, _ = await reserve(service, 10, TOTAL)

    service.settle(reservation, 11, SMALL)

    assert service.overruns == {("acme", "small"): 1}
    with pytest.raises(BudgetExceeded, match="is closed"):
        await reserve(service, 1, TOTAL)


async def test_reading_shows_the_current_window() -> None:
    service = budgets(FakeClock(), TOTAL, ledger=Ledger(7))
    reservation, _ = await reserve(service, 10, TOTAL)
    service.settle(reservation, 3, SMALL)

    [row] = await service.read([TOTAL])

    assert row.rule == TOTAL
    assert row.spending == Spending(10, 0)
    assert service.configured() == [(TOTAL, Spending(10, 0))]


async def test_probes_count_in_the_budgets_of_the_provider() -> None:
    provider = BudgetRule("provider", "acme", USD)
    service = budgets(FakeClock(), provider, TOTAL, user=Budget(USD))

    reservation = await service.reserve_probe(SMALL, USD)

    assert reservation is not None
    assert [row.spending for row in await service.read([provider, TOTAL])] == [Spending(0, USD)] * 2
    with pytest.raises(BudgetExceeded):
        await service.reserve_probe(SMALL, 1)
    assert await budgets(FakeClock(), user=Budget(USD)).reserve_probe(SMALL, None) is None


async def test_a_new_window_begins_empty() -> None:
    clock = FakeClock()
    service = budgets(clock)
    daily = TOTAL._replace(period="day")
    await reserve(service, USD, daily)

    clock.pass_(86_400)

    await reserve(service, USD, daily)
    clock.pass_(-86_400)
    with pytest.raises(BudgetExceeded):
        await reserve(service, USD, daily)


async def test_running_attempts_keep_their_reservations() -> None:
    clock = FakeClock()
    service = budgets(clock)
    reservation, _ = await reserve(service, USD, TOTAL)

    for _ in range(5):
        clock.pass_(RENEW_SECONDS)
        service.renew()

    assert clock.now - FakeClock().now > LEASE_SECONDS
    with pytest.raises(BudgetExceeded):
        await reserve(service, 1, TOTAL)
    service.settle(reservation, 0, SMALL)
    await reserve(service, 1, TOTAL)


async def test_a_leaked_reservation_is_not_renewed() -> None:
    clock = FakeClock()
    service = budgets(clock)
    await reserve(service, USD, TOTAL)  # the result is dropped
    gc.collect()

    clock.pass_(LEASE_SECONDS)
    service.renew()

    await reserve(service, USD, TOTAL)


async def test_metrics_show_past_spending_before_the_first_call() -> None:
    service = budgets(FakeClock(), TOTAL, ledger=Ledger(7))
    assert service.configured() == [(TOTAL, Spending())]

    await service.refresh()

    assert service.configured() == [(TOTAL, Spending(7, 0))]


async def test_leases_are_renewed_in_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    service = budgets(clock)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(service.run())
        await turn()
        task.cancel()

    assert set(clock.slept) == {REFRESH_SECONDS}
    assert REFRESH_SECONDS + RENEW_SECONDS < LEASE_SECONDS / 2
    assert caplog.messages == []


class Broken(Ledger):
    """A ledger that does not answer until it is `mended`."""

    mended = False

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        if not self.mended:
            raise OSError("down")
        return await super().spent(scope, id, start, end)


async def test_without_the_ledger_a_budget_begins_with_0_and_is_corrected(caplog: pytest.LogCaptureFixture) -> None:
    clock, ledger = FakeClock(), Broken(990_000_000)
    service = budgets(clock, TOTAL, ledger=ledger)
    reservation, _ = await reserve(service, 20_000_000, TOTAL)
    service.settle(reservation, 5, SMALL)

    ledger.mended = True
    await service.refresh()

    assert (await service.read([TOTAL]))[0].spending == Spending(990_000_000, 0)
    assert caplog.messages == ["past spending cannot be read; a budget begins with 0"]


async def test_what_is_recovered_later_is_added() -> None:
    clock, ledger = FakeClock(), Ledger(500)
    ledger.is_complete = False  # the journal of a process that was killed is not in the store yet
    service = budgets(clock, TOTAL, ledger=ledger)
    reservation, _ = await reserve(service, 100, TOTAL)
    service.settle(reservation, 7, SMALL)
    await service.refresh()
    before = (await service.read([TOTAL]))[0].spending

    ledger.nusd, ledger.is_complete = 907, True
    await service.refresh()
    asked = len(ledger.asked)
    await service.refresh()

    assert before == Spending(507)
    assert (await service.read([TOTAL]))[0].spending == Spending(907)
    assert len(ledger.asked) == asked


async def test_a_shared_counter_is_seeded_again_once() -> None:
    """If Redis has lost it, what other processes spent last was not in the ledger yet."""
    clock, ledger = FakeClock(), Ledger(500)
    store = Away(clock)
    store.away = False
    service = shared(clock, store, fail_open=True, ledger=ledger)
    reservation, _ = await reserve(service, 100, TOTAL)
    service.settle(reservation, 7, SMALL)

    ledger.nusd = 907
    await service.refresh()
    ledger.nusd = 999
    await service.refresh()

    assert (await service.read([TOTAL]))[0].spending == Spending(907)
    assert len(ledger.asked) == 2


async def test_a_counter_that_cannot_be_seeded_again_now_is_tried_later() -> None:
    clock, ledger = FakeClock(), Broken(500)
    ledger.mended = True
    store = Away(clock)
    store.away = False
    live = calls.live(SMALL, budgets=policy(TOTAL))
    service = Budgets(store, clock, live, id="p1", ledger=ledger, fail_open=FailOpen(store=False))
    await reserve(service, 100, TOTAL)
    ledger.nusd, ledger.mended = 907, False
    with pytest.raises(Unavailable):
        await service.refresh()

    ledger.mended = True
    await service.refresh()

    assert (await service.read([TOTAL]))[0].spending == Spending(907, 100)


async def test_a_closed_policy_waits_for_what_is_recovered() -> None:
    clock, ledger = FakeClock(), Ledger(500)
    ledger.is_complete = False
    live = calls.live(SMALL)
    service = Budgets(MemoryBudgets(clock), clock, live, id="p1", ledger=ledger, fail_open=FailOpen(store=False))

    with pytest.raises(Unavailable, match="Past spending cannot be read"):
        await reserve(service, 1, TOTAL)


async def test_without_the_ledger_a_closed_policy_rejects() -> None:
    clock = FakeClock()
    service = Budgets(
        MemoryBudgets(clock), clock, calls.live(SMALL), id="p1", ledger=Broken(0), fail_open=FailOpen(store=False)
    )

    with pytest.raises(Unavailable, match="Past spending cannot be read"):
        await reserve(service, 1, TOTAL)


class Away(MemoryBudgets):
    """A shared store that does not answer while it is `away`."""

    shared = True
    away = True

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.committed = 0

    def reserve_at_once(self, reservation: BudgetReservation, lease: float) -> None:
        pass

    async def reserve(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded:
        if self.away:
            raise StateUnavailable
        return super().reserve_at_once(reservation, lease)

    async def read(self, counters: Sequence[BudgetCounter]) -> Sequence[Spending | None]:
        if self.away:
            raise StateUnavailable
        return await super().read(counters)

    def peek(self, counter: BudgetCounter) -> Spending | None:
        return None if self.away else super().peek(counter)

    def commit(self, charges: Sequence[BudgetCharge], nusd: int) -> None:
        self.committed += nusd
        super().commit(charges, nusd)


def shared(clock: FakeClock, store: Away, *, fail_open: bool, ledger: Ledger | None = None) -> Budgets:
    live = calls.live(SMALL, budgets=policy(TOTAL))
    return Budgets(store, clock, live, id="p1", ledger=ledger, fail_open=FailOpen(state=fail_open))


async def test_without_the_shared_state_this_process_counts_alone() -> None:
    clock = FakeClock()
    store = Away(clock)
    service = shared(clock, store, fail_open=True, ledger=Ledger(900_000_000))

    reservation, _ = await reserve(service, 60_000_000, TOTAL)
    with pytest.raises(BudgetExceeded):
        await reserve(service, 60_000_000, TOTAL)
    service.settle(reservation, 50_000_000, SMALL)

    assert store.committed == 50_000_000
    with pytest.raises(BudgetExceeded):
        await reserve(service, 60_000_000, TOTAL)


async def test_a_short_outage_is_waited_for() -> None:
    clock = FakeClock()
    store = Away(clock)
    service = shared(clock, store, fail_open=True)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(reserve(service, USD, TOTAL))
        await turn(2)
        store.away = False

    assert (await service.read([TOTAL]))[0].spending == Spending(0, USD)
    assert clock.now - FakeClock().now < PATIENCE_SECONDS
    assert task.result()[1] == ()


async def test_only_the_first_calls_of_an_outage_wait() -> None:
    clock = FakeClock()
    service = shared(clock, Away(clock), fail_open=True)
    await reserve(service, 1, TOTAL)
    began = clock.now

    await reserve(service, 1, TOTAL)

    assert clock.now == began


async def test_without_the_shared_state_the_ledger_shows_what_is_spent() -> None:
    clock = FakeClock()
    service = shared(clock, Away(clock), fail_open=True, ledger=Ledger(7))

    [before] = await service.read([TOTAL])
    await reserve(service, 10, TOTAL)
    [after] = await service.read([TOTAL])

    assert before.spending == Spending(7, 0)
    assert after.spending == Spending(7, 10)


async def test_without_shared_state_and_ledger_nothing_is_known() -> None:
    clock = FakeClock()
    service = shared(clock, Away(clock), fail_open=True, ledger=Broken(7))

    with pytest.raises(StateUnavailable):
        await service.read([TOTAL])


async def test_a_recovered_shared_state_counts_again() -> None:
    clock = FakeClock()
    store = Away(clock)
    service = shared(clock, store, fail_open=True)
    reservation, _ = await reserve(service, USD, TOTAL)

    store.away = False
    await reserve(service, USD, TOTAL)
    service.settle(reservation, 7, SMALL)

    assert (await service.read([TOTAL]))[0].spending == Spending(7, USD)


async def test_a_reservation_of_an_outage_moves_to_the_shared_state() -> None:
    clock = FakeClock()
    store = Away(clock)
    service = shared(clock, store, fail_open=True)
    reservation, _ = await reserve(service, USD, TOTAL)
    clock.pass_(RENEW_SECONDS)
    service.renew()
    clock.pass_(LEASE_SECONDS - 1)
    with pytest.raises(BudgetExceeded):
        await reserve(service, 1, TOTAL)

    store.away = False
    [_] = await service.read([TOTAL])
    service.renew()
    with pytest.raises(BudgetExceeded):
        await reserve(service, 1, TOTAL)
    service.settle(reservation, 7, SMALL)

    assert (await service.read([TOTAL]))[0].spending == Spending(7, 0)


async def test_hard_budgets_reject_without_a_required_shared_state() -> None:
    clock = FakeClock()
    service = shared(clock, Away(clock), fail_open=False)

    with pytest.raises(StateUnavailable):
        await reserve(service, 1, TOTAL)
    await reserve(service, 1, TOTAL._replace(hard=False))


async def test_the_room_is_the_least_that_hard_budgets_have_left() -> None:
    found = (TOTAL, BudgetRule("provider", "acme", USD // 2), BudgetRule("team", "red", 1, hard=False))
    service = budgets(FakeClock(), *found)
    call = replace(calls.call(on=calls.snapshot(SMALL, budgets=policy(*found))), principal=ALICE)
    unknown = service.room(call, SMALL)
    await reserve(service, USD // 8, *found)

    assert unknown is None
    assert service.room(call, SMALL) == Room("provider/acme", USD // 2 - USD // 8)


async def test_a_closed_budget_has_no_room() -> None:
    service = budgets(FakeClock(), TOTAL)
    call = calls.call(on=calls.snapshot(SMALL, budgets=policy(TOTAL)))
    reservation, _ = await reserve(service, 10, TOTAL)
    service.settle(reservation, 20, SMALL)

    assert service.room(call, SMALL) == Room("total", 0)


async def test_stand_ins_and_providers_with_own_keys_of_users_have_no_room() -> None:
    service = budgets(FakeClock(), TOTAL)
    call = replace(calls.call(on=calls.snapshot(SMALL, budgets=policy(TOTAL))), principal=ALICE)
    await reserve(service, 10, TOTAL)

    for fields in ({"stand_in": True}, {"user_keys": "prefer"}):
        assert service.room(call, replace(SMALL, provider=replace(SMALL.provider, **fields))) is None
