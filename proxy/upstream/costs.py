"""The money of one attempt: its worst case is reserved before it is sent, and its real cost known at its end."""

from __future__ import annotations

from proxy.capacity.budget_store import BudgetCharge, BudgetReservation
from proxy.capacity.budgets import Budgets
from proxy.core.body import overlaid
from proxy.core.call import NativeRequest
from proxy.core.errors import BudgetExceeded
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.money import worst_case_nusd
from proxy.core.native_tools import is_unbounded
from proxy.core.plan import Target
from proxy.core.record import AttemptRecord
from proxy.upstream.run import Run


async def reserve_worst_case(
    budgets: Budgets,
    charges: tuple[BudgetCharge, ...],
    run: Run,
    target: Target,
    now: float,
    native: NativeRequest | None = None,
) -> BudgetReservation:
    """Reserve the most that an attempt can cost. Raises `UpstreamFailure` if a hard budget does not allow it.

    `now` is in seconds since 1970; `native` is the body that is sent, if it is the client's own. Soft budgets that are
    exceeded are noted in the call's record.
    """
    call = run.call
    body = overlaid(call.body, target.overrides) if target.overrides else call.body
    parts = call.messages.parts or call.messages.replayed
    nusd = None
    if native is None or not is_unbounded(native):
        size = len(call.raw) if native is None else max(len(call.raw), len(native.raw))
        nusd = worst_case_nusd(target.deployment, body, size, parts=parts, at=int(now * 1e6))
    try:
        reserved, exceeded = await budgets.reserve(charges, target.deployment, nusd)
    except BudgetExceeded as exc:
        run.attempts += 1  # it is not sent
        raise UpstreamFailure(FailureKind.OVER_BUDGET, str(exc), retry_after=exc.retry_after) from None
    if exceeded:
        run.record.exceeded = tuple(dict.fromkeys((*run.record.exceeded, *exceeded)))
    return reserved


def real_cost(entry: AttemptRecord, reserved: BudgetReservation) -> int:
    """Return what an ended attempt has cost, which is also what its record has.

    Where the cost is unknown but something may have been used, the whole reservation counts, as an estimate. An
    estimate counts at most the reservation, but what the provider reports counts in full.
    """
    cost, most = entry.cost_nusd, reserved.nusd
    if cost is None:
        if entry.used_nothing or not most:
            return 0
    elif not 0 < most < cost or entry.usage is None or entry.usage.source != "estimated":
        return cost
    entry.charge(most)
    return most
