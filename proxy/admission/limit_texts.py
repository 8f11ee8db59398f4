"""What clients read about their limits: the messages of refusals, and OpenAI's headers."""

from __future__ import annotations

import math
from functools import lru_cache

from proxy.capacity.kinds import DAY, WINDOWS
from proxy.capacity.store import Reservation, Wait
from proxy.core.durations import go_duration

SOONEST = 0.05  # seconds of the shortest `retry-after`
COUNTING = "counting"  # in the owner of a counter of calls that only count tokens

Headers = bytes  # lines, as in `surfaces/headers.py`

_UNITS = {
    "rpm": "requests per minute",
    "rpd": "requests in 24 hours",
    "tpm": "tokens per minute",
    "tpd": "tokens in 24 hours",
    "concurrency": "concurrent calls",
}
_LEFT = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: "
_RESET = b"\r\nx-ratelimit-reset-%b: %b\r\n"
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
    of_requests = of_tokens = None
    for reservation in reservations:
        for charge, used in zip(reservation.charges, reservation.used, strict=True):
            _, limit, seconds, _, estimated = charge
            if not seconds:
                continue
            left = limit - used if used < limit else 0
            if estimated:
                if of_tokens is None or left < of_tokens[0]:
                    of_tokens = left, limit, seconds
            elif of_requests is None or left < of_requests[0]:
                of_requests = left, limit, seconds
    headers = b""
    if of_requests is not None:
        left, limit, seconds = of_requests
        headers = _template(b"requests", limit, seconds) % left
    if of_tokens is not None:
        left, limit, seconds = of_tokens
        headers += _template(b"tokens", limit, seconds) % left
    return headers


def headers_of_refusal(wait: Wait) -> Headers:
    """Return the headers for the limit that was reached."""
    charge = wait.charge
    if charge is None or not charge.seconds:
        return b""
    unit = b"tokens" if charge.estimated else b"requests"
    left = max(0, charge.limit - wait.used)
    reset = go_duration(min(max(SOONEST, wait.seconds), DAY)).encode()
    return b"%b%d%b" % (_LEFT % (unit, charge.limit, unit), left, _RESET % (unit, reset))


@lru_cache(1024)
def _template(unit: bytes, limit: int, seconds: float) -> bytes:
    """Return the headers for a limit, which lack what is left of it."""
    return b"%b%%d%b" % (_LEFT % (unit, limit, unit), _RESET % (unit, _WHOLE[seconds]))
