"""A key and room under its limits, for one attempt: now, or after a wait that is worth it.

Health says which keys may be used, limits say how much of them is left, the queue says whose turn it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import anyio

from proxy.core.clock import Clock
from proxy.core.types import (
    KEYLESS,
    Call,
    Deployment,
    DeploymentHealth,
    HealthView,
    Snapshot,
    Target,
    UpstreamResponse,
    way,
)
from proxy.stores.base import Wait
from proxy.upstream.health import Health, Lease
from proxy.upstream.limits import Limits

T = TypeVar("T")
AGAIN = 0.001  # seconds; no wait is shorter, however little may be waited
HOPE = 1.0  # seconds after which a waiter looks again what has become of a probe, or of what others waited for
WELL = DeploymentHealth()
PROBE = "a probe of "  # before a deployment's name: what its probe shows is waited for
_SILENT = ("embedding", "moderation", "image", "audio")  # kinds whose answers are no tokens
_MOST_CHOICES = 128
USUAL_OUTPUT = 1024  # tokens to reserve for an answer whose length nobody has limited

Picked = tuple[Target, Lease]


class Queue(Protocol):
    """Where a call waits for its turn; `proxy.admission.queue` has it."""

    @property
    def claimed(self) -> Collection[str]:
        """While an attempt begins: those of its resources that somebody before it is to have."""
        ...

    async def wait(
        self,
        caller: str,
        attempt: Callable[[], Awaitable[T | Wait]],
        max_wait: float,
        *,
        resources: Callable[[], frozenset[str]],
        size: int = 0,
        predicted: Callable[[float], None],
    ) -> T:
        """The attempt's result as soon as it is no `Wait`. Raises `ProxyError` where waiting is of no use."""
        ...


class Slots:
    """Gives leases that have room, and takes the room back."""

    def __init__(self, health: Health, limits: Limits, queue: Queue, clock: Clock) -> None:
        self._clock = clock
        self._health = health
        self._limits = limits
        self._queue = queue
        self._uses = 0
        self._used: dict[str, int] = {}  # the last use of models that take turns with equal ones

    def view(self, snapshot: Snapshot) -> HealthView:
        """What routing may know now: health, and where a call would have to wait."""
        return _View(self._health, self._limits, snapshot, self._used)

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
        soonest: Wait | None = None
        for resting, rest in self._health.rested(deployment, key_id, avoid).items():
            tokens = self._tokens(call, deployment, resting, input_tokens)
            seconds = max(rest, await self._limits.wait(deployment, resting, tokens))
            soonest = _sooner(soonest, Wait(seconds, way(deployment.name, resting)))
        while lease := self._health.lease(deployment, key_id=key_id, avoid=avoid, force=force, sparing=sparing):
            tokens = self._tokens(call, deployment, lease.key_id, input_tokens)
            taken = await self._limits.reserve(deployment, lease.key_id, tokens)
            if not isinstance(taken, Wait):
                lease.receipt = taken
                if deployment.twin:
                    self._uses += 1
                    self._used[deployment.name] = self._uses
                return lease
            lease.return_unused()
            avoid |= {lease.key_id}
            soonest = _sooner(soonest, taken)
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

        Raises `RateLimited` where the wait would be longer than `max_wait` seconds, and `InvalidRequest` where the call
        is larger than every limit.
        """

        def ways() -> frozenset[str]:
            return frozenset(way(each.deployment.name, key) for each in targets for key in _keys(call, each.deployment))

        async def attempt() -> Picked | Wait | None:
            soonest: Wait | None = None
            claimed = self._queue.claimed  # by those whose turn comes before ours
            for target in targets:
                deployment, avoid = target.deployment, frozenset[str]()
                if claimed:
                    keys = _keys(call, deployment)
                    avoid = frozenset(key for key in keys if way(deployment.name, key) in claimed)
                    if len(avoid) == len(keys):
                        continue
                got = await self.take(call, deployment, input_tokens, avoid=avoid)
                if isinstance(got, Lease):
                    return target, got
                if got is not None:
                    soonest = _sooner(soonest, got)
            if not claimed:
                return soonest
            # how long the others will take, the queue knows; it calls us when they have done
            soonest = soonest or Wait(HOPE, targets[0].deployment.name)
            return replace(soonest, seconds=max(AGAIN, min(max_wait, soonest.seconds)), exact=False)

        size = self._tokens(call, targets[0].deployment, KEYLESS, input_tokens)
        return await self._queue.wait(call.caller, attempt, max_wait, resources=ways, size=size, predicted=predicted)

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
            if not probed or not max_wait:
                return None
            return Wait(min(HOPE, max_wait), targets[0].deployment.name, exact=False)

        def probes() -> frozenset[str]:
            # not the targets' own names: who finds nothing to wait for but a probe must not stand behind others
            return frozenset(PROBE + target.deployment.name for target in targets)

        picked = await self._queue.wait(call.caller, attempt, max_wait, resources=probes, predicted=_untold)
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
        """What to reserve: the input and as long an answer as was asked for, but no longer than there could ever be."""
        if call.kind in _SILENT:
            output = 0
        else:
            asked = _count(call.body.get("max_completion_tokens")) or _count(call.body.get("max_tokens"))
            longest = asked or min(deployment.max_output or USUAL_OUTPUT, USUAL_OUTPUT)
            output = longest * min(_count(call.body.get("n")) or 1, _MOST_CHOICES)
        return max(input_tokens, int(min(input_tokens + output, self._limits.most_tokens(deployment, key_id))))


class _View(Mapping[str, DeploymentHealth]):
    """The health of a snapshot's deployments, each looked up when it is asked for, and the same ever after."""

    def __init__(self, health: Health, limits: Limits, snapshot: Snapshot, used: Mapping[str, int]) -> None:
        self._health = health
        self._used = used
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
        used = self._used.get(deployment.name, 0)
        return replace(health or WELL, wait=wait, used=used) if wait or used else health


def news_for(notify: Callable[..., None]) -> Callable[..., None]:
    """What `Health` and `Limits` say of ways, for a queue: there may be room, or a probe has shown something."""

    def freed(*ways: str) -> None:
        notify(*ways, *[PROBE + name.rpartition("#")[0] for name in ways])

    return freed


def _keys(call: Call, deployment: Deployment) -> list[str]:
    """The ids of the keys that a call may use."""
    keys = [key.id for key in deployment.provider.keys] or [KEYLESS]
    return keys if call.options.key_id is None else [key for key in keys if key == call.options.key_id]


def _sooner(one: Wait | None, other: Wait) -> Wait:
    return other if one is None or other.seconds < one.seconds else one


def _untold(seconds: float) -> None:
    """How long a probe takes cannot be foreseen."""


def _count(value: Any) -> int | None:
    """A number above zero, of those that a client may write: what it says never makes room."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
