"""A lease: the right to use one key of one deployment for one attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from proxy.capacity.store import Reservation
from proxy.core.breaker import Admission, Breaker
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Deployment, ProviderKey

if TYPE_CHECKING:
    from proxy.upstream.health import Health

SLOW = "slow"  # the reason of a breaker opened by slow calls


class Lease(Struct, eq=False):
    """The right to use one key of one deployment for one attempt; settle it exactly once."""

    health: Health
    deployment: Deployment
    key: ProviderKey | None
    key_id: str  # for records
    breaker: Breaker
    admission: Admission
    is_trial: bool = False  # the outcome decides about the breaker's state
    reservation: Reservation | None = None  # under the key's limits, if it has any
    settled: bool = False
    is_silent: bool = False  # the attempt shows nothing about the target
    measured: bool = False

    @property
    def own_key(self) -> bool:
        """Whether the key is the caller's own: the attempt counts against no pooled budget."""
        return self.key is not None and self.key.own

    @property
    def is_current(self) -> bool:
        """Whether the breaker's state has not changed since the lease was granted."""
        return self.breaker.current(self.admission)

    def silence(self) -> None:
        """Settle without an outcome, and ignore what is reported later: the attempt shows nothing about the target."""
        self.settle(ok=None)
        self.is_silent = True

    def settle(self, *, ok: bool | None, reason: str = "") -> None:
        """Report the attempt's outcome to the breaker; `None` is inconclusive. Only the first call counts.

        `reason` names the failure.
        """
        if self.settled:
            return
        self.settled = True
        breaker = self.breaker
        if ok is False or self.admission is not breaker.closed_admission or breaker.consecutive:
            self.health.settle(self, ok=ok, reason=reason)  # otherwise the outcome changes nothing

    def return_unused(self) -> None:
        """Settle a lease that found no capacity. Does not notify the queue, because nothing has changed."""
        if not self.settled:
            self.settled = True
            self.health.settle(self, ok=None, notify=False)

    def fail(self, failure: UpstreamFailure) -> None:
        """Settle with a failure: apply the failure table to the breaker and to the key."""
        if self.is_silent:
            return
        rule = self.health.rule(failure)
        if rule.key != "none":
            self.health.cool_down(self, failure)
        self.settle(ok=False if rule.breaker else None, reason=failure.kind.value)

    def succeed(self, seconds: float | None = None, *, slow: bool = False) -> None:
        """Settle with success, which resets the key's count of rejections; `seconds`: to the first content.

        `slow`: the answer came far too late, so that the breaker counts a failure although the key works.
        """
        if self.is_silent:
            return
        health = self.health
        if health.cooldowns.entries:
            health.accepted(self)
        if seconds is not None and not self.measured:
            self.measured = True
            health.latency.add(self.deployment.name, seconds)
        self.settle(ok=not slow, reason=SLOW if slow else "")
