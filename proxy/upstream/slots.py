"""Leases with reserved capacity: picks a key for one attempt, at once or after a wait in the queue.

`Health` decides which keys are usable, `Limits` how much capacity they have left, and the queue in which order calls
are served.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from msgspec import structs

from proxy.capacity.limits import ConfiguredLimits, Limits
from proxy.capacity.queue import FairQueue
from proxy.capacity.store import Wait
from proxy.capacity.waiters import Resource
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import StateUnavailable
from proxy.core.estimate import requested_output
from proxy.core.model import KEYLESS, Deployment, RouteKey
from proxy.core.plan import DeploymentHealth, HealthView, Plan, Target
from proxy.core.snapshot import Snapshot
from proxy.upstream.health import Health, Lease, ProbeOutcome

MIN_RECHECK_SECONDS = 0.001
PROBE_RECHECK_SECONDS = 1.0  # after which a waiting call checks again for a probe's outcome, or for earlier calls
HEALTHY = DeploymentHealth()
BYTES_PER_TOKEN = 4  # of a body that is text
ROUGH_TOKENS = 2048  # above which the input is estimated by the size of the body, while the limits are far away

Picked = tuple[Target, Lease]


class Slots:
    """Grants leases with reserved capacity, and releases the capacity."""

    def __init__(self, health: Health, limits: Limits, queue: FairQueue, clock: Clock) -> None:
        self._clock = clock
        self._health = health
        self._limits = limits
        self._queue = queue
        self._uses = 0
        self._used: dict[str, int] = {}  # last use of models that alternate with equal ones

    def view(self, snapshot: Snapshot) -> HealthView:
        """Return the view for routing: health, and the wait for capacity, of each deployment."""
        return _View(self.health_of, snapshot)

    def health_of(self, deployment: Deployment) -> DeploymentHealth | None:
        """Return the health of one deployment and its wait for capacity; `None` if nothing is known of it."""
        health = self._health.of(deployment)
        wait = self._limits.expected(deployment) if self._limits.contended else 0.0
        used = self._used.get(deployment.name, 0)
        return structs.replace(health or HEALTHY, wait=wait, used=used) if wait or used else health

    def take_at_once(self, call: Call, targets: Sequence[Target], plan: Plan) -> Picked | None:
        """Return the first of `targets` with a lease if it has capacity now and no call waits; else `None`.

        `None` does not mean that there is no capacity: `first` then decides, and may wait.
        """
        target = targets[0]
        deployment = target.deployment
        if self._queue.depth:
            return None
        limits = self._limits
        limited = limits.apply_to(deployment)
        if limited and limits.shared:
            return None
        lease = self._health.lease(deployment, key_id=call.options.key_id)
        if lease is None:
            return None
        if limited:
            configured, tokens = limits.configured(deployment, lease.key_id), 1
            if limits.counts_tokens(configured):
                tokens = self._tokens(call, configured, self._input_tokens(call, configured, plan))
            lease.reservation = limits.reserve_at_once(configured, tokens)
            if lease.reservation is None:
                lease.return_unused()
                return None
        if deployment.twin:
            self._uses += 1
            self._used[deployment.name] = self._uses
        return target, lease

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
        """Return a lease with capacity, the wait for one, or `None` if waiting cannot help."""
        key_id = call.options.key_id
        soonest: Wait | None = None
        for cooling, cooldown in self._health.rate_limited(deployment, key_id, avoid).items():
            tokens = self._tokens(call, self._limits.configured(deployment, cooling), input_tokens)
            seconds = max(cooldown, await self._limits.wait(deployment, cooling, tokens))
            soonest = _sooner(soonest, Wait(seconds))
        while lease := self._health.lease(deployment, key_id=key_id, avoid=avoid, force=force, sparing=sparing):
            tokens = self._tokens(call, self._limits.configured(deployment, lease.key_id), input_tokens)
            try:
                reservation = await self._limits.reserve(deployment, lease.key_id, tokens)
            except BaseException:  # cancelled, or the shared state is unavailable
                lease.return_unused()
                raise
            if not isinstance(reservation, Wait):
                lease.reservation = reservation
                if deployment.twin:
                    self._uses += 1
                    self._used[deployment.name] = self._uses
                return lease
            lease.return_unused()
            avoid |= {lease.key_id}
            soonest = _sooner(soonest, reservation)
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
        """Return the first target with capacity, after a wait if necessary; `None` if waiting cannot help.

        Raises `RateLimited` if the wait would exceed `max_wait` seconds, `InvalidRequest` if the call exceeds every
        limit, and `StateUnavailable` if limits cannot be counted.
        """

        def resources() -> frozenset[Resource]:
            return frozenset(route for target in targets for route in _routes(call, target.deployment))

        async def attempt(claimed: Collection[Resource]) -> Picked | Wait | None:
            result = await self._attempt(call, targets, input_tokens, claimed)
            if not claimed or isinstance(result, tuple):
                return result
            # the queue notifies this call when the earlier ones are done
            soonest = result or Wait(PROBE_RECHECK_SECONDS)
            seconds = max(MIN_RECHECK_SECONDS, min(max_wait, soonest.seconds))
            return replace(soonest, seconds=seconds, exact=False)

        size = self._tokens(call, self._limits.configured(targets[0].deployment, KEYLESS), input_tokens)
        return await self._queue.wait(
            call.principal.name, attempt, max_wait, resources=resources, size=size, predicted=predicted
        )

    async def _attempt(
        self, call: Call, targets: Sequence[Target], input_tokens: int, claimed: Collection[Resource]
    ) -> Picked | Wait | None:
        """Return the first target with capacity; without one, the shortest wait, or `None` if waiting cannot help.

        Leaves the `claimed` route keys to earlier calls.
        """
        soonest: Wait | None = None
        unavailable: StateUnavailable | None = None
        for target in targets:
            deployment, avoid = target.deployment, frozenset[str]()
            if claimed:
                routes = _routes(call, deployment)
                avoid = frozenset(route.key_id for route in routes if route in claimed)
                if len(avoid) == len(routes):
                    continue
            try:
                result = await self.take(call, deployment, input_tokens, avoid=avoid)
            except StateUnavailable as exc:  # another target may have no limits
                unavailable = exc
                continue
            if isinstance(result, Lease):
                return target, result
            if result is not None:
                soonest = _sooner(soonest, result)
        if unavailable and not soonest:
            raise unavailable
        return soonest

    async def last(
        self, call: Call, targets: Sequence[Target], input_tokens: int, *, max_wait: float, sparing: bool = False
    ) -> Picked | None:
        """Return the first target that can be forced although all breakers are open, or one that a probe frees.

        While a probe is running, the call waits for its outcome. If the probe fails, the waiting calls fail too: they
        do not force a target whose probe they waited for. Raises `RateLimited` if `max_wait` ends before.
        """
        awaited, full, began = self._probed(call, targets), False, self._clock.monotonic()

        async def attempt(claimed: Collection[Resource]) -> Picked | Wait | None:
            nonlocal awaited, full
            full = False
            for target in targets:
                force = target.deployment.name not in awaited
                result = await self.take(call, target.deployment, input_tokens, force=force, sparing=sparing)
                if isinstance(result, Lease):
                    return target, result
                full |= result is not None
            probed = self._probed(call, targets)
            awaited |= probed
            if not probed or not max_wait:
                return None
            return Wait(min(PROBE_RECHECK_SECONDS, max_wait), exact=False)

        def resources() -> frozenset[Resource]:
            # not the route keys: a call that waits only for a probe must not queue behind others
            return frozenset(
                ProbeOutcome(target.deployment.provider.name, target.deployment.model) for target in targets
            )

        picked = await self._queue.wait(
            call.principal.name, attempt, max_wait, resources=resources, predicted=_ignore_prediction
        )
        if picked is None and full:  # the probe succeeded, but more calls waited than there is capacity for
            left = max(0.0, max_wait - (self._clock.monotonic() - began))
            return await self.first(call, targets, input_tokens, max_wait=left, predicted=_ignore_prediction)
        return picked

    def release(self, lease: Lease) -> None:
        """Return an unused lease: nothing was sent, and its reservation is undone."""
        lease.settle(ok=None)
        self.give_back(lease, None, unused=True)

    def give_back(self, lease: Lease, tokens: int | None, *, unused: bool) -> None:
        """End the lease's reservation, if any: `tokens` were used (`None`: unknown); `unused` if nothing was sent."""
        if lease.reservation is None:
            return
        if unused:
            self._limits.release(lease.reservation)
        else:
            self._limits.settle(lease.reservation, tokens)

    def learn(self, lease: Lease, headers: Mapping[str, str]) -> None:
        """Learn the provider's limits from its response headers, unless the lease's key has been replaced.

        The headers of a silent lease are of other limits.
        """
        if not lease.is_silent and not self._health.is_replaced(lease):
            self._limits.learn(lease.deployment, lease.key_id, headers, self._clock.time())

    def _probed(self, call: Call, targets: Sequence[Target]) -> frozenset[str]:
        """Return the names of the deployments with a running probe."""
        key_id = call.options.key_id
        deployments = (target.deployment for target in targets)
        return frozenset(each.name for each in deployments if self._health.probing(each, key_id))

    def _input_tokens(self, call: Call, configured: ConfiguredLimits, plan: Plan) -> int:
        """Return the estimated input. For a large text it is rough while the limits are far away, to save the time."""
        rough = len(call.raw) // BYTES_PER_TOKEN
        if rough > ROUGH_TOKENS and not call.messages.parts and self._limits.has_ample(configured, rough):
            return rough
        return plan.input_tokens

    def _tokens(self, call: Call, configured: ConfiguredLimits, input_tokens: int) -> int:
        """Return the tokens to reserve: the input, and the requested answer length up to the model's maximum."""
        output = requested_output(call.body, call.kind, configured.deployment.max_output)
        return max(input_tokens, int(min(input_tokens + output, self._limits.most_tokens(configured))))


class _View(Mapping[str, DeploymentHealth]):
    """The health of a snapshot's deployments; each is looked up on first use and then stays the same."""

    def __init__(self, health_of: Callable[[Deployment], DeploymentHealth | None], snapshot: Snapshot) -> None:
        self._health_of = health_of
        self._deployments = snapshot.deployments
        self._seen: dict[str, DeploymentHealth | None] = {}

    def __getitem__(self, name: str) -> DeploymentHealth:
        if name not in self._seen:
            self._seen[name] = self._health_of(self._deployments[name])
        health = self._seen[name]
        if health is None:
            raise KeyError(name)
        return health

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._deployments if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _routes(call: Call, deployment: Deployment) -> Sequence[RouteKey]:
    """Return the route keys that a call may use."""
    key_id = call.options.key_id
    return deployment.routes if key_id is None else [route for route in deployment.routes if route.key_id == key_id]


def _sooner(one: Wait | None, other: Wait) -> Wait:
    return other if one is None or other.seconds < one.seconds else one


def _ignore_prediction(seconds: float) -> None:
    """Ignore the predicted wait: the duration of a probe is unknown."""
