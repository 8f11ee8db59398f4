"""Limits of clients: requests, tokens and concurrent calls of a key, its user and its team.

A call reserves under all of them in one step, after it is planned and before it is attempted, and settles with the
tokens that it used. A caller without limits costs nothing: the pipeline skips this step. The limits of single models
are reserved by each attempt (`model_limits.py`).

Calls that only count tokens have the same limits of requests and concurrency, but counters of their own: a client that
counts often must not use up its calls, and one that only counts must not load the server without a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy.admission.limit_texts import COUNTING, headers_of, headers_of_refusal, refusal
from proxy.admission.model_limits import CallModelLimits, OfModels, sized, used_tokens
from proxy.capacity.kinds import TOKENS, WINDOWS
from proxy.capacity.store import Charge, CounterKey, CounterStore, Reservation, Wait
from proxy.core.call import Call
from proxy.core.errors import RateLimited
from proxy.core.model import LimitValues
from proxy.core.plan import Plan
from proxy.core.principal import OF_MODEL, Owner
from proxy.core.record import Record

MAX_TEMPLATES = 10_000
NOTHING = Reservation("", ())

Limits = tuple[tuple[Owner, LimitValues], ...]


class _Template(NamedTuple):
    """The compiled limits of a caller; `limits` keeps the object alive whose identity is the key."""

    limits: Limits
    charges: Sequence[Charge]
    counts_tokens: bool
    counting: Sequence[Charge]  # of a call that only counts tokens
    of_models: OfModels  # of attempts


class ClientLimits:
    """Reserves and settles. `processes` share each limit evenly if the store counts in one process only."""

    def __init__(self, store: CounterStore, processes: int = 1) -> None:
        self._store = store
        self._processes = 1 if store.shared else processes
        self._templates: dict[int, _Template] = {}  # by the identity of a caller's limits

    async def reserve(self, call: Call, plan: Plan, record: Record) -> Reservation:
        """Reserve a call under the limits of its caller. Raises `RateLimited`, which names the limit."""
        limits = call.principal.limits
        template = self._templates.get(id(limits))
        if template is None or template.limits is not limits:
            template = self._remembered(limits)
        charges, counts = template.charges, call.count is not None
        if counts:
            charges = template.counting
        elif template.counts_tokens:
            charges = sized(charges, call, plan, plan.targets[0].deployment.max_output if plan.targets else None)
        reservation = NOTHING
        if charges:
            result = None if self._store.shared else self._store.reserve_at_once(charges)
            reservation = _granted(result or await self._store.reserve(charges), record)
        if template.of_models and not counts:
            record.model_limits = CallModelLimits(self._store, template.of_models, call, plan, record, reservation)
        return reservation

    def settle(self, reservation: Reservation, record: Record) -> None:
        """End a reservation with what the call used. One without an attempt counts nothing, unless it counts tokens."""
        if not record.attempts and (record.call is None or record.call.count is None):
            self._store.release(reservation)
        else:
            self._store.settle(reservation, used_tokens(record.attempts))

    def _remembered(self, limits: Limits) -> _Template:
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        template = self._templates[id(limits)] = self._template(limits)
        return template

    def _template(self, limits: Limits) -> _Template:
        """Return what a call of one token reserves."""
        charges: list[Charge] = []
        of_models: list[tuple[str, Sequence[Charge]]] = []
        for owner, values in limits:
            own = [
                Charge(CounterKey(owner, kind), max(1, limit // self._processes), seconds, 1, kind in TOKENS)
                for kind, seconds in WINDOWS.items()
                if (limit := getattr(values, kind)) is not None
            ]
            if OF_MODEL in owner[2:]:
                of_models.append((owner[-1], own))
            else:
                charges += own
        counting = tuple(
            charge._replace(counter=CounterKey((*charge.counter.owner, COUNTING), charge.counter.kind))
            for charge in charges
            if not charge.estimated
        )
        return _Template(limits, charges, any(charge.estimated for charge in charges), counting, of_models)


def _granted(result: Reservation | Wait, record: Record) -> Reservation:
    """Return a reservation, and note its headers. Raises `RateLimited` if nothing was reserved."""
    if isinstance(result, Wait):
        record.limit_headers = headers_of_refusal(result)
        message, seconds = refusal(result)
        assert result.charge is not None
        retry_after = result.charge.seconds if seconds is None else seconds
        raise RateLimited(message, retry_after=retry_after, retryable=seconds is not None)
    record.limit_headers = headers_of(result)
    return result
