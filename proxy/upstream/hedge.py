"""Hedging: starts a second attempt if the first target is unusually slow. Off by default, because it costs money.

    first target ----------- p95 of its times to the first content -----------> still silent
                                             second target, if it has capacity ------------> the first to answer wins

The loser is cancelled before any of its bytes reach the client; its likely cost (at least the input) is estimated and
recorded with its attempt. The time for which it was silent is reported as a lower bound: otherwise the wait would be
learned from fast calls only, and a target that has become slow would go unnoticed. Only streams are hedged, because the
duration of a whole answer depends on its length. The retry budget pays for the second attempt, like for any retry.

Source: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56 (2013), on hedged requests.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio

from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest, ProxyError
from proxy.core.failures import UpstreamFailure
from proxy.core.plan import Target
from proxy.core.record import AttemptOutcome
from proxy.core.retry_budget import RetryBudget
from proxy.core.slow import SlowCalls
from proxy.core.usage import Usage
from proxy.core.wire import UpstreamRequest
from proxy.upstream.attempts import Attempts, Opened
from proxy.upstream.health import Lease
from proxy.upstream.run import Run
from proxy.upstream.slots import Slots

Runner = tuple[Target, Lease, UpstreamRequest]


@dataclass(slots=True)
class _Race:
    """The concurrent attempts and their results; `begins` is the index of the first one in the record."""

    begins: int
    finished: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever an attempt ends
    stacks: list[AsyncExitStack] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    began: list[float] = field(default_factory=list)  # monotonic seconds
    results: dict[int, Opened | UpstreamFailure | ProxyError] = field(default_factory=dict)

    @property
    def winner(self) -> int | None:
        """The number of the first attempt that reached its commit point or ended the call."""
        won = (number for number, result in self.results.items() if not isinstance(result, UpstreamFailure))
        return next(won, None)

    @property
    def over(self) -> bool:
        return self.winner is not None or len(self.results) == len(self.stacks)


class Hedge:
    """Opens attempts, with a second concurrent one where hedging is configured."""

    def __init__(self, attempts: Attempts, slots: Slots, *, slow: SlowCalls, budget: RetryBudget, clock: Clock) -> None:
        self._attempts = attempts
        self._slots = slots
        self._slow = slow
        self._budget = budget
        self._clock = clock

    async def open(
        self, stack: AsyncExitStack, run: Run, target: Target, lease: Lease, request: UpstreamRequest
    ) -> Opened:
        """Open the attempt as `Attempts.open` does, or the hedged one if that answers first."""
        patience = self._patience(run, target)
        if patience is None:
            return await self._attempts.open(stack, run, target, lease, request)
        return await self._raced(stack, run, (target, lease, request), patience)

    def _patience(self, run: Run, target: Target) -> float | None:
        """Return the seconds before a second attempt starts; `None` if there will be none."""
        policy = run.call.snapshot.hedge
        if not policy.enabled or not run.call.stream or not run.targets or run.attempts < 2:
            return None
        return self._slow.percentile(target.deployment.name, policy.percentile, policy.samples)

    async def _raced(self, stack: AsyncExitStack, run: Run, first: Runner, patience: float) -> Opened:
        race = _Race(len(run.record.attempts))
        try:
            async with anyio.create_task_group() as group:
                self._start(group, race, run, first)
                if not await self._clock.wait_for(race.finished, patience) and not race.over:
                    second = await self._second(run)
                    if second is not None:
                        self._start(group, race, run, second)
                while not race.over:
                    race.finished.clear()
                    await race.finished.wait()
                self._note_losers(run, race)
                group.cancel_scope.cancel()
        except BaseException:
            await _close(race.stacks)
            raise
        return await self._won(stack, race)

    def _start(self, group: anyio.abc.TaskGroup, race: _Race, run: Run, runner: Runner) -> None:
        stack = AsyncExitStack()
        race.stacks.append(stack)
        race.leases.append(runner[1])
        race.began.append(self._clock.monotonic())
        group.start_soon(self._run, race, len(race.stacks) - 1, run, runner)

    async def _run(self, race: _Race, number: int, run: Run, runner: Runner) -> None:
        try:
            race.results[number] = await self._attempts.open(race.stacks[number], run, *runner)
        except (UpstreamFailure, ProxyError) as exc:
            race.results[number] = exc
            if isinstance(exc, UpstreamFailure) and number:
                run.failed(runner[0], exc)  # the caller records the failure of the first one
        race.finished.set()

    async def _second(self, run: Run) -> Runner | None:
        """Return the next target with free capacity, its lease and its request."""
        for target in run.eligible():
            lease = await self._slots.take(run.call, target.deployment, run.plan.input_tokens)
            if not isinstance(lease, Lease):
                continue
            try:
                request = self._attempts.request(run, target, lease)
            except InvalidRequest:
                self._slots.release(lease)
                continue
            except BaseException:
                self._slots.release(lease)
                raise
            if not self._budget.take(self._clock.monotonic()):
                self._slots.release(lease)
                return None
            run.targets.remove(target)
            return target, lease, request
        return None

    def _note_losers(self, run: Run, race: _Race) -> None:
        """Record the estimated cost and the silence of the losers, before they are cancelled."""
        result = race.results.get(race.winner) if race.winner is not None else None
        kept = result.attempt if isinstance(result, Opened) else None
        for number, lease in enumerate(race.leases):
            if kept is not None and number not in race.results:
                self._attempts.lost(run, lease, self._clock.monotonic() - race.began[number])
        for attempt in run.record.attempts[race.begins :]:
            if attempt is not kept and attempt.outcome is AttemptOutcome.STARTED:
                attempt.end(AttemptOutcome.HEDGE_LOST)
                attempt.usage = Usage(input=run.plan.input_tokens, source="estimated")

    async def _won(self, stack: AsyncExitStack, race: _Race) -> Opened:
        number = race.winner
        await _close([each for at, each in enumerate(race.stacks) if at != number])
        result = race.results[0 if number is None else number]
        if isinstance(result, Opened) and number is not None:
            stack.push_async_exit(race.stacks[number].pop_all())
            return result
        assert isinstance(result, Exception)
        raise result


async def _close(stacks: list[AsyncExitStack]) -> None:
    for stack in reversed(stacks):
        with anyio.CancelScope(shield=True):
            await stack.aclose()
