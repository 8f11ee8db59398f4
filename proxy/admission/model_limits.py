"""Limits of clients for single models (`model_limits`): each attempt of a call reserves under those of its own model.

A pattern matches the name that the client asked for, the route behind it, or the deployment that is attempted. What
nothing was sent for is released; an attempt that ends counts with the tokens that it used.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from proxy.admission.limit_texts import headers_of, headers_of_refusal, refusal
from proxy.capacity.store import Charge, CounterStore, Reservation, Wait
from proxy.core.call import Call
from proxy.core.estimate import requested_output
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment
from proxy.core.plan import Plan
from proxy.core.record import AttemptRecord, Record

OfModels = Sequence[tuple[str, Sequence[Charge]]]  # what a request of one token reserves, by pattern


class CallModelLimits:
    """Implements `proxy.core.limited.ModelLimits` for one call."""

    __slots__ = ("_call", "_of_call", "_of_models", "_plan", "_record", "_store")

    def __init__(
        self, store: CounterStore, of_models: OfModels, call: Call, plan: Plan, record: Record, of_call: Reservation
    ) -> None:
        """`of_call` is what the call itself has reserved."""
        self._store = store
        self._of_models = of_models
        self._call = call
        self._plan = plan
        self._record = record
        self._of_call = of_call

    async def refusal(self, deployment: Deployment) -> UpstreamFailure | None:
        """Return why an attempt would be refused now; reserve nothing."""
        charges = self._charges(deployment)
        if not charges or self._store.fits_at_once(charges) or not await self._store.wait(charges):
            return None
        result = await self._store.reserve(charges)
        if isinstance(result, Wait):
            return self._refused(result)
        self._store.release(result)
        return None

    async def reserve(self, deployment: Deployment) -> ModelReserved | UpstreamFailure:
        """Reserve an attempt at a deployment, or return why it is refused."""
        charges = self._charges(deployment)
        result: Reservation | Wait | None = None
        if not charges:
            result = Reservation("", ())
        elif not self._store.shared:
            result = self._store.reserve_at_once(charges)
        if result is None:
            result = await self._store.reserve(charges)
        if isinstance(result, Wait):
            return self._refused(result)
        self._record.limit_headers = headers_of(self._of_call, result)
        return ModelReserved(self._store, result)

    def _charges(self, deployment: Deployment) -> list[Charge]:
        """Return what an attempt at a deployment reserves."""
        names = (self._call.model, self._plan.route, deployment.name)
        matching = [
            charge
            for pattern, charges in self._of_models
            if any(fnmatchcase(name, pattern) for name in names)
            for charge in charges
        ]
        if any(charge.estimated for charge in matching):
            return sized(matching, self._call, self._plan, deployment.max_output)
        return matching

    def _refused(self, wait: Wait) -> UpstreamFailure:
        self._record.limit_headers = headers_of_refusal(wait)
        message, seconds = refusal(wait)
        return UpstreamFailure(FailureKind.OVER_LIMIT, message, retry_after=seconds)


class ModelReserved:
    """What one attempt has reserved."""

    __slots__ = ("_reservation", "_store")

    def __init__(self, store: CounterStore, reservation: Reservation) -> None:
        self._store = store
        self._reservation = reservation

    def end(self, attempt: AttemptRecord | None) -> None:
        """Settle with what the attempt used; `None`: nothing was sent, and nothing counts."""
        if not self._reservation.charges:
            return
        if attempt is None:
            self._store.release(self._reservation)
        else:
            self._store.settle(self._reservation, used_tokens((attempt,)))


def sized(charges: Sequence[Charge], call: Call, plan: Plan, longest: int | None) -> list[Charge]:
    """Return charges with the tokens that the call may use; `longest` is the model's longest answer.

    A call whose output may be longer than a limit reserves all of it; its input must fit.
    """
    prompt_tokens = plan.input_tokens
    tokens = prompt_tokens + requested_output(call.body, call.kind, longest)
    return [
        Charge(counter, limit, seconds, max(min(tokens, limit), prompt_tokens), True) if estimated else charge
        for charge in charges
        for counter, limit, seconds, _, estimated in (charge,)
    ]


def used_tokens(attempts: Sequence[AttemptRecord]) -> int | None:
    """Return the tokens of attempts; `None` if those of one are unknown."""
    tokens = 0
    for attempt in attempts:
        usage = attempt.usage
        if usage is not None and usage.source != "clamped":
            tokens += usage.input + usage.output
        elif not attempt.used_nothing:
            return None
    return tokens
