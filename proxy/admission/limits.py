"""Limits of clients: requests, tokens and concurrent calls of a key, its user and its team, in all or for a model.

A call reserves under all of them in one step, after it is planned and before it is attempted, and settles with the
tokens that it used. A caller without limits costs nothing: the pipeline skips this step.

Calls that only count tokens have the same limits of requests and concurrency, but counters of their own: a client that
counts often must not use up its calls, and one that only counts must not load the server without a limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from proxy.capacity.kinds import DAY, TOKENS, WINDOWS
from proxy.capacity.store import Charge, CounterKey, CounterStore, Reservation, Wait
from proxy.core.call import Call
from proxy.core.durations import go_duration
from proxy.core.errors import RateLimited
from proxy.core.estimate import requested_output
from proxy.core.model import LimitValues
from proxy.core.plan import Plan
from proxy.core.principal import OF_MODEL, Owner
from proxy.core.record import Record

SOONEST = 0.05  # seconds of the shortest `retry-after`

MAX_TEMPLATES = 10_000

Headers = list[tuple[bytes, bytes]]
Limits = tuple[tuple[Owner, LimitValues], ...]

_UNITS = {
    "rpm": "requests per minute",
    "rpd": "requests in 24 hours",
    "tpm": "tokens per minute",
    "tpd": "tokens in 24 hours",
    "concurrency": "concurrent calls",
}
_COUNTING = "counting"  # in the owner of a counter of calls that only count tokens
_WHOLE = {seconds: go_duration(seconds).encode() for seconds in WINDOWS.values()}  # after which a window is unused


class _Template(NamedTuple):
    """The compiled limits of a caller; `limits` keeps the object alive whose identity is the key."""

    limits: Limits
    charges: Sequence[Charge]
    counts_tokens: bool
    counting: Sequence[Charge]  # of a call that only counts tokens
    of_models: Sequence[tuple[str, Sequence[Charge]]]  # of calls to the models that a pattern matches


class ClientLimits:
    """Reserves and settles. `processes` share each limit evenly if the store counts in one process only."""

    def __init__(self, store: CounterStore, processes: int = 1) -> None:
        self._store = store
        self._processes = 1 if store.shared else processes
        self._templates: dict[int, _Template] = {}  # by the identity of a caller's limits

    async def reserve(self, call: Call, plan: Plan, record: Record) -> Reservation:
        """Reserve a call under the limits of its caller. Raises `RateLimited`, which names the limit."""
        charges = self._charges(call, plan)
        if not charges:
            return Reservation("", ())
        result: Reservation | Wait | None = None
        if not self._store.shared:
            result = self._store.reserve_at_once(charges)
        if result is None:
            result = await self._store.reserve(charges)
        if isinstance(result, Wait):
            record.limit_headers = _refused_headers(result)
            raise _refusal(result)
        record.limit_headers = _headers(result)
        return result

    def settle(self, reservation: Reservation, record: Record) -> None:
        """End a reservation with what the call used. One without an attempt counts nothing, unless it counts tokens."""
        if not record.attempts and (record.call is None or record.call.count is None):
            self._store.release(reservation)
        else:
            self._store.settle(reservation, used_tokens(record))

    def _charges(self, call: Call, plan: Plan) -> Sequence[Charge]:
        """Return what a call reserves."""
        limits = call.principal.limits
        template = self._templates.get(id(limits))
        if template is None or template.limits is not limits:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            template = self._templates[id(limits)] = self._template(limits)
        if call.count is not None:
            return template.counting
        charges, counts_tokens = template.charges, template.counts_tokens
        if template.of_models:
            charges = [*charges, *_charges_of_model(template.of_models, call, plan)]
            counts_tokens = any(charge.estimated for charge in charges)
        if not counts_tokens:
            return charges
        # a call whose output may be longer than the limit reserves all of it; its input must fit
        given = plan.input_tokens
        tokens = _tokens(call, plan)
        return [
            Charge(counter, limit, seconds, max(min(tokens, limit), given), True) if estimated else charge
            for charge in charges
            for counter, limit, seconds, _, estimated in (charge,)
        ]

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
            charge._replace(counter=CounterKey((*charge.counter.owner, _COUNTING), charge.counter.kind))
            for charge in charges
            if not charge.estimated
        )
        return _Template(limits, charges, any(charge.estimated for charge in charges), counting, of_models)


def used_tokens(record: Record) -> int | None:
    """Return the tokens of all attempts; `None` if those of one are unknown."""
    tokens = 0
    for attempt in record.attempts:
        usage = attempt.usage
        if usage is not None and usage.source != "clamped":
            tokens += usage.input + usage.output
        elif not attempt.used_nothing:
            return None
    return tokens


def _charges_of_model(of_models: Sequence[tuple[str, Sequence[Charge]]], call: Call, plan: Plan) -> Iterator[Charge]:
    """Yield the charges for the model that a call names, the route behind the name, and the first target."""
    names = {call.model, plan.route, *(target.deployment.name for target in plan.targets[:1])}
    for pattern, charges in of_models:
        if any(fnmatchcase(name, pattern) for name in names):
            yield from charges


def _tokens(call: Call, plan: Plan) -> int:
    """Return the tokens that a call may use."""
    longest = plan.targets[0].deployment.max_output if plan.targets else None
    return plan.input_tokens + requested_output(call.body, call.kind, longest)


def _refusal(wait: Wait) -> RateLimited:
    charge = wait.charge
    assert charge is not None
    (what, name, *more), kind = charge.counter
    limit = f"The limit of {charge.limit} {_UNITS[kind]} (`{kind}`) of the {what} `{name}`"
    if more:
        limit += " for counts of tokens" if more == [_COUNTING] else f" for `{more[1]}`"
    if wait.seconds == math.inf:
        message = f"{limit} is lower than the {charge.amount} tokens of this request; send a shorter one."
        return RateLimited(message, retry_after=charge.seconds, retryable=False)
    seconds = max(SOONEST, wait.seconds)
    return RateLimited(f"{limit} is reached; retry in {go_duration(seconds)}.", retry_after=seconds)


def _headers(reservation: Reservation) -> Headers:
    """Return OpenAI's headers for the tightest limit of requests, and that of tokens."""
    tightest: dict[bytes, tuple[int, Charge]] = {}
    for charge, used in zip(reservation.charges, reservation.used, strict=True):
        if charge.seconds:
            unit = b"tokens" if charge.estimated else b"requests"
            left = max(0, charge.limit - used)
            if unit not in tightest or left < tightest[unit][0]:
                tightest[unit] = left, charge
    headers: Headers = []
    for unit, (left, charge) in tightest.items():
        headers += _three(unit, charge.limit, left, _WHOLE[charge.seconds])
    return headers


def _refused_headers(wait: Wait) -> Headers:
    """Return the headers for the limit that was reached."""
    charge = wait.charge
    if charge is None or not charge.seconds:
        return []
    unit = b"tokens" if charge.estimated else b"requests"
    left = max(0, charge.limit - wait.used)
    return _three(unit, charge.limit, left, go_duration(min(max(SOONEST, wait.seconds), DAY)).encode())


def _three(unit: bytes, limit: int, left: int, reset: bytes) -> Headers:
    return [
        (b"x-ratelimit-limit-" + unit, b"%d" % limit),
        (b"x-ratelimit-remaining-" + unit, b"%d" % left),
        (b"x-ratelimit-reset-" + unit, reset),
    ]
