"""A key and room under its limits, for one attempt: now, or after a wait that is worth it.

Health says which keys may be used, limits say how much of them is left, the queue says whose turn it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import anyio

from proxy.core.clock import Clock
from proxy.core.types import Call, Deployment, DeploymentHealth, HealthView, Snapshot, Target, UpstreamResponse
from proxy.stores.base import Wait
from proxy.upstream.health import Health, Lease
from proxy.upstream.limits import Limits

T = TypeVar("T")
AGAIN = 0.001  # seconds; no wait is shorter, however little may be waited
HOPE = 1.0  # seconds after which a waiter looks again what has become of a probe, or of what others waited for
WELL = DeploymentHealth()
_SILENT = ("embedding", "moderation")  # kinds whose answers are no tokens
_MOST_CHOICES = 128
USUAL_OUTPUT = 1024  # tokens to reserve for an answer whose length nobody has limited

Picked = tuple[Target, Lease]


class Queue(Protocol):
    """Where a call waits for its turn; `proxy.admission.queue` has it."""

    @property
    def claimed(self) -> Collection[str]:
        """While an attempt begins: resources that somebody before it waits for."""
        ...

    async def wait(
        self,
        caller: str,
        attempt: Callable[[], Awaitable[T | Wait]],
        max_wait: float,
        *,
        resources: frozenset[str],
        predicted: Callable[[float], None],
    ) -> T:
        """The attempt's result as soon as it is no `Wait`. Raises `RateLimited` where waiting is of no use."""
        ...


class Slots:
    """Gives leases that have room, and takes the room back."""

    def __init__(self, health: Health, limits: Limits, queue: Queue, clock: Clock) -> None:
        self._clock = clock
        self._health = health
        self._limits = limits
        self._queue = queue

    def view(self, snapshot: Snapshot) -> HealthView:
        """What routing may know now: health, and where a call would have to wait."""
        return _View(self._health, self._limits, snapshot)

    async def take(
        self,
        call: Call,
        deployment: Deployment,
        input_tokens: int,
        *,
        avoid: frozenset[str] = frozenset(),
        force: bool = False,
        sparing: bool = False,
    ) -> Lease | Wait | None:
        """A lease with room, the time until there may be one, or None if time alone will not do."""
        key_id = call.options.key_id
        rested = self._health.rested(deployment, key_id, avoid)
        soonest = None if rested is None else Wait(rested, deployment.name)
        while lease := self._health.lease(deployment, key_id=key_id, avoid=avoid, force=force, sparing=sparing):
            tokens = self._tokens(call, deployment, lease.key_id, input_tokens)
            taken = await self._limits.reserve(deployment, lease.key_id, tokens)
            if not isinstance(taken, Wait):
                lease.receipt = taken
                return lease
            lease.return_unused()
            avoid |= {lease.key_id}
            soonest = taken if soonest is None or taken.seconds < soonest.seconds else soonest
        return soonest

    async def first(
        self,
        call: Call,
        targets: Sequence[Target],
        input_tokens: int,
        *,
        max_wait: float,
        predicted: Callable[[float], None],
    ) -> Picked | None:
        """The first target with room, waiting for the earliest if need be; None if time alone will not do.

        Raises `RateLimited` where the wait would be longer than `max_wait` seconds.
        """

        async def attempt() -> Picked | Wait | None:
            soonest: Wait | None = None
            claimed = self._queue.claimed  # by those whose turn comes before ours
            free = [target for target in targets if target.deployment.name not in claimed]
            for target in free:
                got = await self.take(call, target.deployment, input_tokens)
                if isinstance(got, Lease):
                    return target, got
                if got is not None and (soonest is None or got.seconds < soonest.seconds):
                    soonest = got
            if len(free) == len(targets):
                return soonest
            # how long the others will take, the queue knows; it calls us when they have done
            return Wait(max(AGAIN, min(max_wait, soonest.seconds if soonest else HOPE)), targets[0].deployment.name)

        names = frozenset(target.deployment.name for target in targets)
        return await self._queue.wait(call.caller, attempt, max_wait, resources=names, predicted=predicted)

    async def last(
        self, call: Call, targets: Sequence[Target], input_tokens: int, *, max_wait: float, sparing: bool = False
    ) -> Picked | None:
        """All targets are barred by their breakers: the first that can be forced, or what a probe sets free.

        While a probe is out, its outcome is waited for; if it fails, so do those who waited: no target is forced whose
        probe was hoped for, be it from the place in line. Raises `RateLimited` when their time is over before.
        """
        hoped, full, began = self._probed(call, targets), False, self._clock.monotonic()

        async def attempt() -> Picked | Wait | None:
            nonlocal hoped, full
            full = False
            for target in targets:
                force = target.deployment.name not in hoped
                got = await self.take(call, target.deployment, input_tokens, force=force, sparing=sparing)
                if isinstance(got, Lease):
                    return target, got
                full |= got is not None
            probed = self._probed(call, targets)
            hoped |= probed
            return Wait(min(HOPE, max_wait), targets[0].deployment.name) if probed and max_wait else None

        # not the targets' own names: who finds nothing to wait for but a probe must know, and not stand behind others
        names = frozenset(f"a probe of {target.deployment.name}" for target in targets)
        picked = await self._queue.wait(call.caller, attempt, max_wait, resources=names, predicted=_untold)
        if picked is None and full:  # the hope has come true, for more than there is room for
            left = max(0.0, max_wait - (self._clock.monotonic() - began))
            return await self.first(call, targets, input_tokens, max_wait=left, predicted=_untold)
        return picked

    async def release(self, lease: Lease) -> None:
        """Nothing was sent with it: everything is as before."""
        lease.settle(ok=None)
        await self.give_back(lease, None, unused=True)

    async def give_back(self, lease: Lease, tokens: int | None, *, unused: bool) -> None:
        """The attempt is over: `tokens` were used, None where nobody knows; `unused` if it was never sent."""
        if not lease.receipt.tickets:
            return
        with anyio.CancelScope(shield=True):
            if unused:
                await self._limits.release(lease.receipt)
            else:
                await self._limits.settle(lease.receipt, tokens)

    async def learn(self, deployment: Deployment, key_id: str, response: UpstreamResponse) -> None:
        """Take in what the provider's headers say of its limits."""
        await self._limits.learn(deployment, key_id, response.headers, self._clock.time())

    def _probed(self, call: Call, targets: Sequence[Target]) -> frozenset[str]:
        """The names of those of which a probe is out."""
        key_id = call.options.key_id
        found = (target.deployment for target in targets if self._health.probing(target.deployment, key_id))
        return frozenset(deployment.name for deployment in found)

    def _tokens(self, call: Call, deployment: Deployment, key_id: str, input_tokens: int) -> int:
        """What to reserve: the input and as long an answer as was asked for, but never more than could ever be had."""
        if call.kind in _SILENT:
            output = 0
        else:
            asked = _count(call.body.get("max_completion_tokens")) or _count(call.body.get("max_tokens"))
            longest = asked or min(deployment.max_output or USUAL_OUTPUT, USUAL_OUTPUT)
            output = longest * min(_count(call.body.get("n")) or 1, _MOST_CHOICES)
        return int(min(input_tokens + output, self._limits.most_tokens(deployment, key_id)))


class _View(Mapping[str, DeploymentHealth]):
    """The health of a snapshot's deployments, each looked up when it is asked for, and the same ever after."""

    def __init__(self, health: Health, limits: Limits, snapshot: Snapshot) -> None:
        self._health = health
        self._limits = limits
        self._deployments = snapshot.deployments
        self._found: dict[str, DeploymentHealth | None] = {}

    def __getitem__(self, name: str) -> DeploymentHealth:
        if name not in self._found:
            self._found[name] = self._look(self._deployments[name])
        found = self._found[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._deployments if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _look(self, deployment: Deployment) -> DeploymentHealth | None:
        health = self._health.of(deployment)
        wait = self._limits.expected(deployment) if self._limits.contended else 0.0
        return replace(health or WELL, wait=wait) if wait else health


def _untold(seconds: float) -> None:
    """How long a probe takes cannot be foreseen."""


def _count(value: Any) -> int | None:
    """A number above zero, of those that a client may write: what it says never makes room."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
