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

from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest, ProxyError, StateUnavailable, Unavailable
from proxy.core.failures import UpstreamFailure
from proxy.core.plan import Target
from proxy.core.record import AttemptOutcome
from proxy.core.retry_budget import RetryBudget
from proxy.core.slow import SlowCalls
from proxy.core.usage import Usage
from proxy.upstream.attempt import Attempt
from proxy.upstream.attempts import Attempts
from proxy.upstream.health import Lease
from proxy.upstream.own_keys import drop_pooled
from proxy.upstream.run import Run
from proxy.upstream.slots import Slots


class _Race:
    """The concurrent attempts of one call and their results, in the order of their start."""

    def __init__(self, run: Run, group: asyncio.TaskGroup) -> None:
        self.begins = len(run.record.attempts)  # the index of the first one in the record
        self.finished = asyncio.Event()  # set whenever an attempt ends
        self.attempts: list[Attempt] = []
        self.results: dict[int, UpstreamFailure | ProxyError | None] = {}  # None: it reached its commit point
        self._run = run
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def winner(self) -> int | None:
        """The number of the attempt that reached its commit point or ended the call.

        A second one that cannot be recorded or reserved does not end it.
        """
        for number, result in self.results.items():
            if result is None or (isinstance(result, ProxyError) and not (number and isinstance(result, Unavailable))):
                return number
        return None

    @property
    def over(self) -> bool:
        return self.winner is not None or len(self.results) == len(self.attempts)

    def start(self, attempt: Attempt) -> None:
        """Start an attempt."""
        self.attempts.append(attempt)
        self._tasks.append(self._group.create_task(self._open(len(self.attempts) - 1, attempt)))

    def cancel(self) -> None:
        """Cancel the attempts that are still running."""
        for task in self._tasks:
            task.cancel()

    async def close(self, *, but: int | None = None) -> None:
        """Close all attempts but one, also those that were cancelled before they began."""
        for number, attempt in enumerate(self.attempts):
            if number != but:
                await attempt.close()

    async def _open(self, number: int, attempt: Attempt) -> None:
        try:
            await attempt.open()
            self.results[number] = None
        except (UpstreamFailure, ProxyError) as exc:
            self.results[number] = exc
            if isinstance(exc, UpstreamFailure) and number:
                self._run.failed(attempt.target, exc)  # the caller records the failure of the first one
        self.finished.set()


class Hedge:
    """Opens attempts, with a second concurrent one where hedging is configured."""

    def __init__(self, attempts: Attempts, slots: Slots, *, slow: SlowCalls, budget: RetryBudget, clock: Clock) -> None:
        self._attempts = attempts
        self._slots = slots
        self._slow = slow
        self._budget = budget
        self._clock = clock

    async def open(self, run: Run, attempt: Attempt) -> Attempt:
        """Open the attempt and return it, or the hedged one if that answers first. Raises as `Attempt.open`."""
        patience = self._patience(run, attempt.target)
        if patience is None:
            await attempt.open()
            return attempt
        return await self._raced(run, attempt, patience)

    def _patience(self, run: Run, target: Target) -> float | None:
        """Return the seconds before a second attempt starts; `None` if there will be none."""
        policy = run.call.snapshot.hedge
        if not policy.enabled or not run.call.stream or not run.targets or run.attempts < 2:
            return None
        return self._slow.percentile(target.deployment.name, policy.percentile, policy.samples)

    async def _raced(self, run: Run, first: Attempt, patience: float) -> Attempt:
        race: _Race | None = None
        limit_headers = run.record.limit_headers  # for the first attempt; a second one replaces them
        try:
            async with asyncio.TaskGroup() as group:
                race = _Race(run, group)
                race.start(first)
                if not await self._clock.wait_for(race.finished, patience) and not race.over:
                    second = await self._second(run, first)
                    if second is not None:
                        race.start(second)
                while not race.over:
                    race.finished.clear()
                    await race.finished.wait()
                self._note_losers(run, race)
                race.cancel()
        except BaseException as exc:
            if race is not None:
                await race.close()
            raise _single(exc) from None
        attempt, result = race.attempts[race.winner or 0], race.results[race.winner or 0]
        if attempt is first:
            run.record.limit_headers = limit_headers
        try:
            await race.close(but=race.winner)
        except BaseException:  # the client has left
            await attempt.close()
            raise
        if result is not None:
            raise result
        attempt.deadline.bind()  # until now it was the deadline of the attempt's own task
        return attempt

    async def _second(self, run: Run, first: Attempt) -> Attempt | None:
        """Return an attempt at the next target with free capacity; pooled keys do not hedge a user's own key.

        There is none while limits cannot be counted.
        """
        try:
            return await self._with_capacity(run, self._candidates(run, first))
        except StateUnavailable:
            return None

    def _candidates(self, run: Run, first: Attempt) -> list[Target]:
        """Return the targets that may hedge the first attempt."""
        targets = list(run.eligible())
        if first.lease.own_key:
            drop_pooled(targets)
        if run.plan.family:  # a hedge does not leave the family of an open tool loop
            targets = [target for target in targets if target.deployment.name in run.plan.family]
        return targets

    async def _with_capacity(self, run: Run, targets: list[Target]) -> Attempt | None:
        """Return an attempt at the first target with free capacity, also in the retry budget."""
        for target in targets:
            lease = await self._slots.take(run.call, target.deployment, run.plan.input_tokens)
            if not isinstance(lease, Lease):
                continue
            try:
                attempt = self._attempts.new(run, target, lease)
            except InvalidRequest:
                self._slots.release(lease)
                continue
            except BaseException:
                self._slots.release(lease)
                raise
            limits = run.record.model_limits
            if limits is not None and await attempt.reserve(limits) is not None:
                continue
            if not self._budget.take(self._clock.monotonic()):
                await attempt.close()
                return None
            run.targets.remove(target)
            return attempt
        return None

    def _note_losers(self, run: Run, race: _Race) -> None:
        """Record the estimated cost and the silence of the losers, before they are cancelled."""
        kept = race.winner if race.winner is not None and race.results[race.winner] is None else None
        if kept is not None:
            for number, attempt in enumerate(race.attempts):
                if number not in race.results:
                    attempt.lost_hedge()
        entry = race.attempts[kept].entry if kept is not None else None
        for each in run.record.attempts[race.begins :]:
            if each is not entry and each.outcome is AttemptOutcome.STARTED:
                each.end(AttemptOutcome.HEDGE_LOST)
                each.usage = Usage(input=run.plan.input_tokens, source="estimated")


def _single(exc: BaseException) -> BaseException:
    """Return the error inside a task group's error: an internal error of one attempt stays what it is."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
