"""Limits of clients: requests, tokens and concurrent calls of a key, its user and its team.

A call reserves under all of them in one step, after it is planned and before it is attempted, and settles with the
tokens that it used. A caller without limits costs nothing: the pipeline skips this step.
"""

from __future__ import annotations

import math

from proxy.capacity.kinds import DAY, TOKENS, WINDOWS
from proxy.capacity.store import Charge, CounterKey, CounterStore, Reservation, Wait
from proxy.core.call import Call
from proxy.core.durations import go_duration
from proxy.core.errors import RateLimited
from proxy.core.estimate import requested_output
from proxy.core.plan import Plan
from proxy.core.principal import Principal
from proxy.core.record import Record

SOONEST = 0.05  # seconds of the shortest `retry-after`

Headers = list[tuple[bytes, bytes]]

_UNITS = {
    "rpm": "requests per minute",
    "rpd": "requests in 24 hours",
    "tpm": "tokens per minute",
    "tpd": "tokens in 24 hours",
    "concurrency": "concurrent calls",
}


class ClientLimits:
    """Reserves and settles. `processes` share each limit evenly if the store counts in one process only."""

    def __init__(self, store: CounterStore, processes: int = 1) -> None:
        self._store = store
        self._processes = 1 if store.shared else processes

    async def reserve(self, call: Call, plan: Plan, record: Record) -> Reservation:
        """Reserve a call under the limits of its caller. Raises `RateLimited`, which names the limit."""
        charges = self._charges(call.principal, call, plan)
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
        """End the reservation of a call: what it used counts, and nothing if no attempt was made."""
        if not record.attempts:
            self._store.release(reservation)
        else:
            self._store.settle(reservation, used_tokens(record))

    def _charges(self, principal: Principal, call: Call, plan: Plan) -> list[Charge]:
        tokens: int | None = None
        charges = []
        for owner, values in principal.limits:
            for kind, seconds in WINDOWS.items():
                limit: int | None = getattr(values, kind)
                if limit is None:
                    continue
                limit = max(1, limit // self._processes)
                amount = 1
                if kind in TOKENS:
                    if tokens is None:
                        tokens = _tokens(call, plan)
                    # a call whose output may be longer than the limit reserves all of it; its input must fit
                    amount = max(min(tokens, limit), plan.input_tokens)
                charges.append(Charge(CounterKey(owner, kind), limit, seconds, amount, kind in TOKENS))
        return charges


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


def _tokens(call: Call, plan: Plan) -> int:
    """Return the tokens that a call may use."""
    longest = plan.targets[0].deployment.max_output if plan.targets else None
    return plan.input_tokens + requested_output(call.body, call.kind, longest)


def _refusal(wait: Wait) -> RateLimited:
    charge = wait.charge
    assert charge is not None
    (what, name), kind = charge.counter
    limit = f"The limit of {charge.limit} {_UNITS[kind]} (`{kind}`) of the {what} `{name}`"
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
        headers += _three(unit, charge.limit, left, charge.seconds)
    return headers


def _refused_headers(wait: Wait) -> Headers:
    """Return the headers for the limit that was reached."""
    charge = wait.charge
    if charge is None or not charge.seconds:
        return []
    unit = b"tokens" if charge.estimated else b"requests"
    left = max(0, charge.limit - wait.used)
    return _three(unit, charge.limit, left, min(max(SOONEST, wait.seconds), DAY))


def _three(unit: bytes, limit: int, left: int, reset: float) -> Headers:
    return [
        (b"x-ratelimit-limit-" + unit, b"%d" % limit),
        (b"x-ratelimit-remaining-" + unit, b"%d" % left),
        (b"x-ratelimit-reset-" + unit, go_duration(reset).encode()),
    ]
