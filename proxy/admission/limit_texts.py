"""What clients read about their limits: the messages of refusals, and OpenAI's headers."""

from __future__ import annotations

import math

from proxy.capacity.kinds import DAY, WINDOWS
from proxy.capacity.store import Charge, Reservation, Wait
from proxy.core.durations import go_duration

SOONEST = 0.05  # seconds of the shortest `retry-after`
COUNTING = "counting"  # in the owner of a counter of calls that only count tokens

Headers = list[tuple[bytes, bytes]]

_UNITS = {
    "rpm": "requests per minute",
    "rpd": "requests in 24 hours",
    "tpm": "tokens per minute",
    "tpd": "tokens in 24 hours",
    "concurrency": "concurrent calls",
}
_WHOLE = {seconds: go_duration(seconds).encode() for seconds in WINDOWS.values()}  # after which a window is unused


def refusal(wait: Wait) -> tuple[str, float | None]:
    """Return the message for a limit that is reached, and the seconds to wait; `None` if no wait helps."""
    charge = wait.charge
    assert charge is not None
    (what, name, *more), kind = charge.counter
    limit = f"The limit of {charge.limit} {_UNITS[kind]} (`{kind}`) of the {what} `{name}`"
    if more:
        limit += " for counts of tokens" if more == [COUNTING] else f" for `{more[1]}`"
    if wait.seconds == math.inf:
        return f"{limit} is lower than the {charge.amount} tokens of this request; send a shorter one.", None
    seconds = max(SOONEST, wait.seconds)
    return f"{limit} is reached; retry in {go_duration(seconds)}.", seconds


def headers_of(*reservations: Reservation) -> Headers:
    """Return OpenAI's headers for the tightest limit of requests, and that of tokens."""
    tightest: dict[bytes, tuple[int, Charge]] = {}
    for reservation in reservations:
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


def headers_of_refusal(wait: Wait) -> Headers:
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
