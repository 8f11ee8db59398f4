"""Builds the components that execute plans, track the health of targets, and probe them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from proxy.capacity.budgets import FAIL_OPEN, Budgets, FailOpen, PastSpending
from proxy.capacity.limits import Limits
from proxy.capacity.queue import FairQueue
from proxy.capacity.state import State
from proxy.core.background import BackgroundService
from proxy.core.clock import Clock
from proxy.core.dialects import DIALECTS, DialectName
from proxy.core.ledger import Ledger
from proxy.core.retry_budget import RetryBudget
from proxy.core.slow import SlowCalls
from proxy.core.snapshot import Live
from proxy.dialects.table import Dialects
from proxy.observe import live as families
from proxy.observe.budgets import budget_amounts, budget_counts
from proxy.observe.exposition import Family
from proxy.upstream.attempts import Attempts
from proxy.upstream.executor import Executor
from proxy.upstream.health import Health
from proxy.upstream.hedge import Hedge
from proxy.upstream.own_keys import KeySource, OwnKeys
from proxy.upstream.persist import StateFile
from proxy.upstream.probe_requests import Count, ProbeRequests
from proxy.upstream.probes import Prober
from proxy.upstream.pulse import Pulse
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Simulator
from proxy.upstream.slots import Slots
from proxy.upstream.transport import Transport
from proxy.upstream.warm import WarmPrompts


@dataclass(frozen=True, slots=True)
class Upstream:
    """The parts that other components use. All of them read their policies from `live`."""

    live: Live
    executor: Executor
    slots: Slots
    health: Health
    limits: Limits
    queue: FairQueue
    budget: RetryBudget
    budgets: Budgets
    simulator: Simulator
    dialects: Dialects
    pulse: Pulse
    state: StateFile
    own_keys: OwnKeys | None  # `None`: users cannot have any
    warm: WarmPrompts
    services: tuple[BackgroundService, ...]

    async def start(self) -> None:
        """Restore the saved state."""
        await self.state.load()

    def families(self) -> Iterator[Family]:
        """Yield the metrics of health, retries, providers and the event loop."""
        snapshot = self.live.snapshot
        yield families.breakers(self.health.breaker_rows(), snapshot)
        yield families.retries_refused(self.budget.refused)
        yield families.cooldowns(self.health.cooldown_rows(), snapshot)
        yield families.providers(snapshot)
        yield families.lag(self.pulse.lag)
        budgets = self.budgets
        yield from budget_amounts((rule, *spending[:2]) for rule, spending in budgets.configured())
        yield from budget_counts(budgets.refused, budgets.exceeded, budgets.overruns)


def build_upstream(
    live: Live,
    state: State,
    *,
    outside: Transport,
    local: Transport,
    clock: Clock,
    rng: random.Random,
    count: Count,
    ledger: Ledger | None = None,
    state_path: Path,
    own_secrets: Iterable[str] = (),
    pulse: Pulse | None = None,
    past: PastSpending | None = None,
    fail_open: FailOpen = FAIL_OPEN,
    read_only: bool = False,
    key_source: KeySource | None = None,
) -> Upstream:
    """Build them. `state` counts limits, `outside` is the transport to providers, `local` that to the mock.

    `count` counts the chat calls of probes. `ledger` records attempts, if there is a store, and `past` knows what was
    spent before. `own_secrets` are the proxy's, which are removed from answers like provider keys. With `read_only` the
    state file at `state_path` is read and never written. `key_source` has users' own keys; if the store may fail,
    pooled keys are used while it is unavailable.
    """
    dialects = Dialects(clock)
    dialects.prepare(live.snapshot)
    transports: dict[DialectName, Transport] = {name: local if row.local else outside for name, row in DIALECTS.items()}
    queue = FairQueue(clock, live)
    health = Health(clock, live, notify=queue.notify)
    limits = Limits(state.counters, clock, live, notify=queue.notify)
    slots = Slots(health, limits, queue, clock)
    simulator, slow, pulse = Simulator(clock, rng), SlowCalls(), pulse or Pulse(clock)
    budget, cleaners = RetryBudget(live), Cleaners(own_secrets)
    budgets = Budgets(state.budgets, clock, live, id=token_hex(8), ledger=past, fail_open=fail_open)
    attempts = Attempts(
        transports=transports,
        dialects=dialects,
        slots=slots,
        simulator=simulator,
        slow=slow,
        pulse=pulse,
        cleaners=cleaners,
        budgets=budgets,
        clock=clock,
        ledger=ledger,
    )
    own_keys = OwnKeys(key_source, health, clock, fail_open=fail_open.store) if key_source else None
    executor = Executor(
        attempts=attempts,
        health=health,
        slots=slots,
        budget=budget,
        hedge=Hedge(attempts, slots, slow=slow, budget=budget, clock=clock),
        clock=clock,
        rng=rng,
        own_keys=own_keys,
    )

    requests = ProbeRequests(
        live=live,
        limits=limits,
        budgets=budgets,
        transports=transports,
        dialects=dialects,
        simulator=simulator,
        count=count,
        cleaners=cleaners,
        clock=clock,
        ledger=ledger,
    )
    prober = Prober(live=live, health=health, requests=requests, simulator=simulator, clock=clock, rng=rng)
    file = StateFile(state_path, clock, live, health=health, limits=limits, counters=state.memory)
    file.read_only = read_only
    services: list[BackgroundService] = [prober, pulse, file, budgets]
    state.on_freed(queue.notify)
    state.on_recovery(budgets.renew)
    if state.client:
        from proxy.upstream.shared_health import SharedHealth  # only where the state is shared

        services.append(SharedHealth(state.client, health, limits, live, clock))
    return Upstream(
        live=live,
        executor=executor,
        slots=slots,
        health=health,
        limits=limits,
        queue=queue,
        budget=budget,
        budgets=budgets,
        simulator=simulator,
        dialects=dialects,
        pulse=pulse,
        state=file,
        own_keys=own_keys,
        warm=WarmPrompts(clock),
        services=tuple(services),
    )
