"""The limits of provider keys in a replay: whether a deployment would have had capacity for a call at its time.

Every key of a deployment has the limits of the model, unless it has its own. A minute and a day are sliding windows; a
call occupies a slot of `concurrency` for as long as it took. Calls arrive in the order of their times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.core.model import Deployment, LimitValues

MINUTE, DAY = 60.0, 86_400.0
FOREVER = 1e9  # seconds; the wait for a call that no window is large enough for


@dataclass(slots=True)
class _Window:
    """What was used of one limit: points in time, amounts, and their sum."""

    seconds: float
    most: int
    used: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def wait(self, now: float, amount: int) -> float:
        """Return the seconds until `amount` fits."""
        while self.used and self.used[0][0] <= now - self.seconds:
            self.total -= self.used.popleft()[1]
        excess = self.total + amount - self.most
        if excess <= 0:
            return 0.0
        for time, used in self.used:
            excess -= used
            if excess <= 0:
                return time + self.seconds - now
        return FOREVER

    def add(self, now: float, amount: int) -> None:
        self.used.append((now, amount))
        self.total += amount


class _Key:
    """The windows and slots of one key."""

    def __init__(self, limits: LimitValues) -> None:
        self._requests = [
            _Window(seconds, most) for seconds, most in ((MINUTE, limits.rpm), (DAY, limits.rpd)) if most is not None
        ]
        self._tokens = [
            _Window(seconds, most) for seconds, most in ((MINUTE, limits.tpm), (DAY, limits.tpd)) if most is not None
        ]
        self._slots = limits.concurrency
        self._ends: list[float] = []  # of the calls that occupy a slot

    def wait(self, now: float, tokens: int) -> float:
        waits = [window.wait(now, 1) for window in self._requests]
        waits += [window.wait(now, tokens) for window in self._tokens]
        if self._slots is not None:
            self._ends = sorted(end for end in self._ends if end > now)
            if len(self._ends) >= self._slots:
                waits.append(self._ends[len(self._ends) - self._slots] - now if self._slots else FOREVER)
        return max(waits, default=0.0)

    def take(self, now: float, tokens: int, seconds: float) -> None:
        for window in self._requests:
            window.add(now, 1)
        for window in self._tokens:
            window.add(now, tokens)
        if self._slots is not None:
            self._ends.append(now + seconds)


class Limits:
    """The use of all deployments."""

    def __init__(self) -> None:
        self._keys: dict[str, list[_Key]] = {}

    def wait(self, deployment: Deployment, now: float, tokens: int) -> float:
        """Return the seconds until a key of the deployment has capacity; 0 without limits."""
        if not deployment.limited:
            return 0.0
        return min(key.wait(now, tokens) for key in self._of(deployment))

    def take(self, deployment: Deployment, now: float, tokens: int, seconds: float) -> None:
        """Count a call at the key that has capacity first."""
        if deployment.limited:
            min(self._of(deployment), key=lambda key: key.wait(now, tokens)).take(now, tokens, seconds)

    def _of(self, deployment: Deployment) -> Sequence[_Key]:
        keys = self._keys.get(deployment.name)
        if keys is None:
            own = [key.limits for key in deployment.provider.keys] or [None]
            keys = self._keys[deployment.name] = [_Key(_merged(deployment.limits, limits)) for limits in own]
        return keys


def _merged(model: LimitValues | None, key: LimitValues | None) -> LimitValues:
    """Return the limits of a key: each that it has replaces the model's."""
    model, key = model or LimitValues(), key or LimitValues()
    return LimitValues(
        rpm=model.rpm if key.rpm is None else key.rpm,
        rpd=model.rpd if key.rpd is None else key.rpd,
        tpm=model.tpm if key.tpm is None else key.tpm,
        tpd=model.tpd if key.tpd is None else key.tpd,
        concurrency=model.concurrency if key.concurrency is None else key.concurrency,
    )
