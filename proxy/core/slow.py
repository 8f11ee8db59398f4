"""Slow calls: whether a stream took far longer to its first content than is normal for its deployment.

Rule 1: only the time to the first content of streams is judged. How long an answer takes in all says how long it is.
Rule 2: no clock and no breaker in here. Seconds come in, a verdict goes out; what follows is the caller's.
Rule 3: nothing is slow before `SAMPLES` calls were seen, nor below the policy's `at_least` seconds.
Rule 4: a deployment whose times vary, as those of reasoning models do, is slow only beyond what is normal for it.
Rule 5: slow calls teach little each, so that a slow minute does not become normal; some dozens in a row do. Those under
way together when a target is found slow are one piece of news, however many: for the others the caller forbids it.
Rule 6: what may be this process's own doing is nobody's fault: it is neither slow nor learned.
Rule 7: of a call that was given up because another target was faster, the seconds are a lower bound. Whoever gives up
all that are late would never learn of it: a percentile beyond the bounds is unknown, so that the next is waited for.

Times are compared by their logarithms: what counts is how many times longer something took, not by how many seconds.

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
RECENT = 100  # calls from which percentiles are taken
SPREADS = 4.0  # mean deviations that are normal, where that is more
WEIGHT = 0.1  # of a new measurement in the moving averages
SLOW_STEP = math.log(1.05)  # what one slow call may raise the normal time by
ROUNDING = 1e-9
UNLIKELY = 0.001  # so rare a row of calls beyond a percentile is no chance
LARGEST = 700.0  # of a logarithm whose number there is; a policy's `times` may be any
SHORTEST = 0.001  # seconds; less is not told apart
MOST = 10_000  # deployments; `any_model` lets clients name models, the least recently used are forgotten


class Baseline:
    """What is normal for one deployment."""

    __slots__ = ("_deviation", "_first", "_mean", "_recent")

    def __init__(self) -> None:
        self._recent: deque[tuple[float, bool]] = deque(maxlen=RECENT)  # seconds, and whether it was given up then
        self._first: list[float] = []  # logarithms, until there are enough
        self._mean = 0.0
        self._deviation = 0.0

    @property
    def seconds(self) -> float | None:
        """The normal time to the first content, None while it is not known."""
        return None if len(self._first) < SAMPLES else math.exp(self._mean)

    def limit(self, policy: SlowPolicy) -> float:
        """Seconds beyond which a call is slow; infinite while nothing is known."""
        if len(self._first) < SAMPLES:
            return math.inf
        spread = max(math.log(policy.times), SPREADS * self._deviation)
        return max(policy.at_least, math.exp(min(self._mean + spread, LARGEST)))

    def percentile(self, share: float, samples: int) -> float | None:
        """Seconds within which that share of the recent calls began, None where fewer than `samples` show it.

        None too where it cannot be told by what is known: so many were given up that the percentile lies beyond, or
        the newest, too many for chance, were all longer. Who then gives up no more, will know.
        """
        seconds = _percentile(self._recent, share) if len(self._recent) >= samples else None
        if seconds is None or sum(not lost or least >= seconds for least, lost in self._recent) < samples:
            return None
        row = math.ceil(math.log(UNLIKELY) / math.log1p(-share))
        changed = all(lost or least > seconds for least, lost in list(self._recent)[-row:])
        return None if changed else seconds

    def judge(
        self, seconds: float, policy: SlowPolicy, *, teach: bool = True, own: float = 0.0, lost: bool = False
    ) -> bool:
        """Whether that was slow; learns from it, unless it was and `teach` forbids it.

        `lost`: it was given up then, and would have taken longer.
        """
        limit = self.limit(policy)
        slow = seconds - own > limit
        if seconds > limit and not slow:
            return False
        self._recent.append((seconds, lost))
        value = math.log(max(seconds, SHORTEST))
        if (teach or not slow) and (not lost or value > self._mean):
            self._learn(value, slow=slow)
        return slow

    def _learn(self, value: float, *, slow: bool) -> None:
        if len(self._first) < SAMPLES:
            self._first.append(value)
            self._mean = median(self._first)  # one cold start among the first is not the norm
            self._deviation = fmean(abs(each - self._mean) for each in self._first)
        elif slow:
            self._mean += SLOW_STEP
        else:
            self._deviation += WEIGHT * (abs(value - self._mean) - self._deviation)
            self._mean += WEIGHT * (value - self._mean)


def _percentile(times: Iterable[tuple[float, bool]], share: float) -> float | None:
    """Of times that are exact or lower bounds; None where it lies beyond what the bounds tell."""
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
    """The baselines of all deployments, by name; a caller may use names of its own for calls of another nature."""

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
        """Whether a stream of deployment `name`, whose first content came after `seconds`, was slow.

        What is normal is learned from it; with `teach=False` only if it was not. `own` seconds of it may be our doing.
        `lost`: nothing had come by then, and it was given up.
        """
        baseline = self._baselines.get(name)
        if baseline is None:
            baseline = self._baselines[name] = Baseline()
            if len(self._baselines) > MOST:
                self._baselines.popitem(last=False)
        self._baselines.move_to_end(name)
        return baseline.judge(seconds, policy, teach=teach, own=own, lost=lost)

    def normal(self, name: str) -> float | None:
        """The normal seconds of a deployment, where they are known."""
        baseline = self._baselines.get(name)
        return baseline.seconds if baseline else None

    def percentile(self, name: str, share: float, samples: int) -> float | None:
        """Seconds within which that share of a deployment's recent streams began, where that can be told."""
        baseline = self._baselines.get(name)
        return baseline.percentile(share, samples) if baseline else None
