"""A lease: the right to use one key of one deployment for one attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.breaker import Breaker, Permit
from proxy.core.failures import UpstreamFailure
from proxy.core.model import KEYLESS, Deployment, ProviderKey
from proxy.upstream.limits import UNLIMITED

if TYPE_CHECKING:
    from proxy.upstream.health import Health

SLOW = "slow"  # the reason of a breaker opened by slow calls


class Lease:
    """The right to use one key of one deployment for one attempt; settle it exactly once."""

    __slots__ = ("_health", "_measured", "_settled", "breaker", "deployment", "key", "key_id", "permit", "receipt")

    def __init__(
        self, health: Health, deployment: Deployment, key: ProviderKey | None, breaker: Breaker, permit: Permit
    ) -> None:
        self.deployment = deployment
        self.key = key
        self.key_id = KEYLESS if key is None else key.id  # for records
        self.breaker = breaker
        self.permit = permit
        self.receipt = UNLIMITED  # the reservation under the key's limits
        self._health = health
        self._settled = False
        self._measured = False

    def settle(self, *, ok: bool | None, reason: str = "") -> None:
        """Report the attempt's outcome to the breaker; `None` is inconclusive. Only the first call counts.

        `reason` names the failure.
        """
        if self._settled:
            return
        self._settled = True
        breaker = self.breaker
        if ok is False or self.permit is not breaker.passing or breaker.consecutive:
            self._health.settle(self, ok=ok, reason=reason)  # otherwise the outcome changes nothing

    def return_unused(self) -> None:
        """Settle a lease that found no capacity. Does not notify the queue, because nothing has changed."""
        if not self._settled:
            self._settled = True
            self._health.settle(self, ok=None, told=False)

    def fail(self, failure: UpstreamFailure) -> None:
        """Settle with a failure: apply the failure table to the breaker and to the key."""
        rule = self._health.rule(failure)
        if rule.key != "none":
            self._health.rest(self, failure)
        self.settle(ok=False if rule.breaker else None, reason=failure.kind.value)

    def slow(self, seconds: float) -> None:
        """Settle with an answer that came far too late: the key works, but the breaker counts a failure."""
        self._health.accepted(self)
        self._measure(seconds)
        self.settle(ok=False, reason=SLOW)

    def succeed(self, seconds: float | None = None) -> None:
        """Settle with success, which resets the key's count of rejections; `seconds`: to the first content."""
        health = self._health
        if health.cooldowns:
            health.accepted(self)
        if seconds is not None and not self._measured:
            self._measured = True
            health.measured(self.deployment, seconds)
        self.settle(ok=True)

    def _measure(self, seconds: float) -> None:
        if not self._measured:
            self._measured = True
            self._health.measured(self.deployment, seconds)
