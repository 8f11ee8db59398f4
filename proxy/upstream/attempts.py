"""Makes attempts, and holds what they share."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.capacity.budget_rules import limited
from proxy.capacity.budget_store import BudgetCharge
from proxy.capacity.budgets import Budgets
from proxy.core.clock import Clock
from proxy.core.dialects import DialectName, NativeFormat
from proxy.core.ledger import Ledger
from proxy.core.plan import Target
from proxy.core.slow import SlowCalls
from proxy.dialects.base import Dialect, DialectKey
from proxy.upstream.attempt import Attempt
from proxy.upstream.deadline import Deadlines
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
        self.deadlines = Deadlines()

    def new(self, run: Run, target: Target, lease: Lease) -> Attempt:
        """Return an attempt, not yet begun. Raises `InvalidRequest` if the target's API cannot express the call."""
        call, provider = run.call, target.deployment.provider
        native: NativeFormat | None = None  # the client's own format, if the target speaks it
        if call.native is not None and call.passes_to(provider):
            native = call.native.format
        elif call.refused is not None:
            raise call.refused
        elif call.native is not None:
            target = fitted(target, call)
        charges: tuple[BudgetCharge, ...] = ()
        counts = call.count is not None  # which costs nothing
        if (call.snapshot.budgets is not None or call.principal.budgets) and not lease.own_key and not counts:
            charges = self.budgets.charges(call.principal, target.deployment, call.snapshot.budgets)
            target = limited(target, call, run.plan, charges)
        adjusted = self.refused_usage.adjusted(target) if self.refused_usage.deployments else target
        dialect = self.dialects[native or provider.dialect]
        request = dialect.request(call, adjusted, lease.key)
        return Attempt(self, run, target, lease, dialect, request, charges, native=native is not None)
