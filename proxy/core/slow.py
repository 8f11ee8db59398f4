"""Detection of slow calls: whether a stream took far longer to its first content than is normal for its deployment.

Rule 1: only the time to the first content of streams is judged; the total time depends on the length of the answer.
Rule 2: no clock and no breaker in this module. It takes seconds and returns a verdict, on which the caller acts.
Rule 3: no call is slow before `SAMPLES` calls were measured, nor below the policy's `at_least` seconds.
Rule 4: if a deployment's times vary, as those of reasoning models do, a call is slow only beyond its usual spread.
Rule 5: each slow call changes the baseline only a little: a slow minute does not become normal, some dozens of slow
calls in a row do. Calls that are in flight when a target is found slow count once: for the others the caller passes
`teach=False`.
Rule 6: a delay that this process may have caused is neither judged as slow nor learned.
Rule 7: the seconds of an attempt that lost a hedge are a lower bound. A percentile beyond the bounds is unknown, so
that the next slow call is waited for: if all late calls were given up, their real times would never be learned.

Times are compared by their logarithms: the ratio of two times counts, not their difference.

Source: Kaplan and Meier, "Nonparametric Estimation from Incomplete Observations", Journal of the American Statistical
Association 53 (1958), for percentiles of times of which some are only lower bounds.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from statistics import fmean, median

from proxy.core.policies import SlowPolicy

SAMPLES = 10
RECENT = 100  # calls used for percentiles
SPREADS = 4.0  # normal times lie within this many mean deviations
WEIGHT = 0.1  # weight of a new measurement in the moving averages
SLOW_STEP = math.log(1.05)  # by how much one slow call raises the normal time
ROUNDING = 1e-9
UNLIKELY = 0.001  # probability below which a run of calls beyond a percentile is not by chance
MAX_EXPONENT = 700.0  # the largest argument of `exp` without overflow; a policy's `times` is not bounded
MIN_SECONDS = 0.001  # the resolution
MAX_DEPLOYMENTS = 10_000  # deployments; `any_model` lets clients name models, the least recently used are dropped


class Baseline:
    """The baseline of one deployment."""

    __slots__ = ("_deviation", "_first", "_mean", "_recent")

    def __init__(self) -> None:
        self._recent: deque[tuple[float, bool]] = deque(maxlen=RECENT)  # (seconds, whether given up then)
        self._first: list[float] = []  # logarithms of the first times, until there are `SAMPLES`
        self._mean = 0.0
        self._deviation = 0.0

    @property
    def seconds(self) -> float | None:
        """The normal time to the first content in seconds, `None` while unknown."""
        return None if len(self._first) < SAMPLES else math.exp(self._mean)

    def limit(self, policy: SlowPolicy) -> float:
        """Return the seconds beyond which a call is slow; infinite while unknown."""
        if len(self._first) < SAMPLES:
            return math.inf
        spread = max(math.log(policy.times), SPREADS * self._deviation)
        return max(policy.at_least, math.exp(min(self._mean + spread, MAX_EXPONENT)))

    def percentile(self, share: float, samples: int) -> float | None:
        """Return the seconds within which `share` of the recent calls began; `None` with fewer than `samples` calls.

        Also `None` if so many were given up that the percentile lies beyond the bounds, or if the newest calls, too
        many for chance, all took longer. The caller must then wait, and so obtains exact times.
        """
        seconds = _percentile(self._recent, share) if len(self._recent) >= samples else None
        if seconds is None or sum(not lost or least >= seconds for least, lost in self._recent) < samples:
            return None
        run = math.ceil(math.log(UNLIKELY) / math.log1p(-share))
        changed = all(lost or least > seconds for least, lost in list(self._recent)[-run:])
        return None if changed else seconds

    def judge(
        self, seconds: float, policy: SlowPolicy, *, teach: bool = True, own: float = 0.0, lost: bool = False
    ) -> bool:
        """Return whether `seconds` were slow, and learn from them, unless slow with `teach=False`.

        `lost`: the attempt was given up then, and would have taken longer.
        """
        limit = self.limit(policy)
        slow = seconds - own > limit
        if seconds > limit and not slow:
            return False
        self._recent.append((seconds, lost))
        value = math.log(max(seconds, MIN_SECONDS))
        if (teach or not slow) and (not lost or value > self._mean):
            self._learn(value, slow=slow)
        return slow

    def _learn(self, value: float, *, slow: bool) -> None:
        if len(self._first) < SAMPLES:
            self._first.append(value)
            self._mean = median(self._first)  # the median ignores a single cold start
            self._deviation = fmean(abs(first - self._mean) for first in self._first)
        elif slow:
            self._mean += SLOW_STEP
        else:
            self._deviation += WEIGHT * (abs(value - self._mean) - self._deviation)
            self._mean += WEIGHT * (value - self._mean)


def _percentile(times: Iterable[tuple[float, bool]], share: float) -> float | None:
    """Return the percentile of times that are exact or lower bounds; `None` if it lies beyond the bounds."""
    ordered = sorted(times)
    beyond = 1.0  # the share of calls that took longer
    for at, (seconds, lost) in enumerate(ordered):
        if lost:
            continue
        beyond *= 1 - 1 / (len(ordered) - at)
        if beyond <= 1 - share + ROUNDING:
            return seconds
    return None


class SlowCalls:
    """The baselines of all deployments, by name; callers may use other names for calls of another kind."""

    def __init__(self) -> None:
        self._baselines: OrderedDict[str, Baseline] = OrderedDict()

    def judge(
        self,
        name: str,
        seconds: float,
        policy: SlowPolicy,
        *,
        teach: bool = True,
        own: float = 0.0,
        lost: bool = False,
    ) -> bool:
        """Return whether a stream of deployment `name`, whose first content came after `seconds`, was slow.

        The baseline learns from it, with `teach=False` only if it was not slow. This process may have caused `own` of
        the seconds. `lost`: the attempt was given up then, without content.
        """
        baseline = self._baselines.get(name)
        if baseline is None:
            baseline = self._baselines[name] = Baseline()
            if len(self._baselines) > MAX_DEPLOYMENTS:
                self._baselines.popitem(last=False)
        self._baselines.move_to_end(name)
        return baseline.judge(seconds, policy, teach=teach, own=own, lost=lost)

    def normal(self, name: str) -> float | None:
        """Return the normal seconds of a deployment; `None` if unknown."""
        baseline = self._baselines.get(name)
        return baseline.seconds if baseline else None

    def percentile(self, name: str, share: float, samples: int) -> float | None:
        """Return the seconds within which `share` of a deployment's recent streams began; `None` if unknown."""
        baseline = self._baselines.get(name)
        return baseline.percentile(share, samples) if baseline else None
