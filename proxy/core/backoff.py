"""The delay before a retry of the same target: exponential backoff with full jitter."""

from __future__ import annotations

import random


def delay(shortest: float, longest: float, retry: int, rng: random.Random) -> float:
    """Return the seconds before the `retry`-th retry (from 1): uniform between 0 and the exponential ceiling.

    Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    return rng.uniform(0.0, min(longest, shortest * 2 ** min(retry - 1, 32)))
