"""How long to wait before the same target is tried again: exponential with full jitter."""

from __future__ import annotations

import random

from proxy.core.types import RetryPolicy


def delay(policy: RetryPolicy, retry: int, rng: random.Random) -> float:
    """Seconds before the `retry`-th retry (from 1): uniform between nothing and the exponential ceiling.

    Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    return rng.uniform(0.0, min(policy.max_backoff, policy.backoff * 2 ** min(retry - 1, 32)))
