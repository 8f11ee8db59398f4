"""Makes attempts, and holds what they share."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.capacity.budget_rules import limited
from proxy.capacity.budget_store import BudgetCharge
from proxy.capacity.budgets import Budgets
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.dialects import DialectName
from proxy.core.ledger import Ledger
from proxy.core.plan import Target
from proxy.core.slow import SlowCalls
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Dialect, DialectKey
from proxy.upstream.attempt import Attempt
from proxy.upstream.fit import fitted
from proxy.upstream.health import Lease
from proxy.upstream.pulse import Pulse
from proxy.upstream.refused_usage import RefusedUsage
from proxy.upstream.run import Run
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Simulator
from proxy.upstream.slots import Slots
from proxy.upstream.transport import Transport


class Attempts:
    """Makes attempts, and holds what they share. One instance serves all calls."""

    def __init__(
        self,
        *,
        transports: Mapping[DialectName, Transport],
        dialects: Mapping[DialectKey, Dialect],
        slots: Slots,
        simulator: Simulator,
        slow: SlowCalls,
        pulse: Pulse,
        cleaners: Cleaners,
        budgets: Budgets,
        clock: Clock,
        ledger: Ledger | None = None,
    ) -> None:
        self.transports = transports
        self.dialects = dialects
        self.slots = slots
        self.simulator = simulator
        self.slow = slow
        self.pulse = pulse
        self.cleaners = cleaners
        self.budgets = budgets
        self.clock = clock
        self.ledger = ledger  # `None`: attempts are not recorded
        self.refused_usage = RefusedUsage()

    def new(self, run: Run, target: Target, lease: Lease) -> Attempt:
        """Return an attempt, not yet begun. Raises `InvalidRequest` if the target's API cannot express the call."""
        call = run.call
        native = call.passes_to(target.deployment.provider)
        if call.refused is not None and not native:
            raise call.refused
        if call.native is not None and not native:
            target = fitted(target, call)
        charges: tuple[BudgetCharge, ...] = ()
        counts = call.count is not None  # which costs nothing
        if (call.snapshot.budgets is not None or call.principal.budgets) and not lease.own_key and not counts:
            charges = self.budgets.charges(call.principal, target.deployment, call.snapshot.budgets)
            target = limited(target, call, run.plan, charges)
        adjusted = self.refused_usage.adjusted(target) if self.refused_usage.deployments else target
        dialect = self.dialect(call, target)
        return Attempt(self, run, target, lease, dialect.request(call, adjusted, lease.key), charges, native=native)

    def dialect(self, call: Call, target: Target) -> Dialect:
        """Return what translates between the client and `target`, or passes the client's own format to it."""
        provider = target.deployment.provider
        if call.native is not None and call.passes_to(provider):
            return self.dialects[call.native.format]
        return self.dialects[provider.dialect]

    def request(self, run: Run, target: Target, lease: Lease) -> UpstreamRequest:
        """Return the request for `target`. Raises `InvalidRequest` if its API cannot express the client's request."""
        dialect = self.dialect(run.call, target)
        return dialect.request(run.call, self.refused_usage.adjusted(target), lease.key)
