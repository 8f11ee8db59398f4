"""The record of a call: a ledger row of the call itself, and one of each attempt.

The record is the only mutable object of a call. The pipeline and the attempts write it, settling reads it. Usage and
cost belong to the attempt that used them; those of the call are the sums. Points in time are monotonic seconds, money
is in nano-dollars.

    started --> ok | error | partial | client_closed | draining
    ok --> error | client_closed | draining         the answer was complete, but the client has not received all of it
    partial --> started                             another target continues the broken answer
    partial --> client_closed | draining
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from proxy.core.call import Call
from proxy.core.failures import VERDICTS, FailureKind, UpstreamFailure
from proxy.core.limited import ModelLimits
from proxy.core.model import Deployment
from proxy.core.money import cost_nusd
from proxy.core.plan import Plan
from proxy.core.principal import Principal
from proxy.core.usage import Usage, total

CostStatus = Literal["exact", "estimated", "unknown"]  # estimated: the provider reported no or impossible usage


class Outcome(StrEnum):
    """How a call ended."""

    STARTED = "started"
    OK = "ok"
    ERROR = "error"
    PARTIAL = "partial"  # the answer broke off after its commit point
    CLIENT_CLOSED = "client_closed"
    DRAINING = "draining"  # the server stopped before the answer was complete


class AttemptOutcome(StrEnum):
    """How an attempt ended, besides the failures of `FailureKind`."""

    STARTED = "started"
    OK = "ok"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline_exceeded"  # the call's hard deadline
    HEDGE_LOST = "hedge_lost"  # a concurrent attempt answered first


_KINDS = frozenset(FailureKind)

TRANSITIONS: Mapping[Outcome, frozenset[Outcome]] = {
    Outcome.STARTED: frozenset(Outcome) - {Outcome.STARTED},
    Outcome.OK: frozenset({Outcome.ERROR, Outcome.CLIENT_CLOSED, Outcome.DRAINING}),
    Outcome.PARTIAL: frozenset({Outcome.STARTED, Outcome.CLIENT_CLOSED, Outcome.DRAINING}),
    Outcome.ERROR: frozenset(),
    Outcome.CLIENT_CLOSED: frozenset(),
    Outcome.DRAINING: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Continued:
    """The target that continued a broken answer, and the position in characters."""

    provider: str
    model: str
    after_characters: int


class Rating(NamedTuple):
    """What cheap signs say about an answer: see `learning/rating.py`."""

    score: float  # 0 to 1
    reasons: tuple[str, ...]  # why it is less than 1


class Timings(Struct, eq=False):
    """The stopwatch of one call: the time spent on upstreams, on the client and in the queue."""

    started: float
    first_token: float | None = None  # when the answer reached its commit point
    answered: float | None = None  # when the answer was complete
    upstream_seconds: float = 0.0  # waiting for upstreams; concurrent waits count once
    client_seconds: float = 0.0  # waiting for the client
    queue_seconds: float = 0.0  # waiting for capacity
    predicted_queue_seconds: float = 0.0
    _upstream_waits: int = 0  # waits in progress
    _upstream_since: float = 0.0  # when the waits in progress began

    def upstream_begins(self, now: float) -> None:
        """Begin a wait for an upstream; waits may overlap."""
        if not self._upstream_waits:
            self._upstream_since = now
        self._upstream_waits += 1

    def upstream_ends(self, now: float) -> None:
        """End a wait for an upstream; each wait ends once."""
        self._upstream_waits -= 1
        if not self._upstream_waits:
            self.upstream_seconds += now - self._upstream_since

    @property
    def waits_for_upstream(self) -> bool:
        """Whether a wait for an upstream is in progress."""
        return self._upstream_waits > 0

    def overhead(self, now: float) -> float:
        """Return the seconds since the start that were not spent on an upstream, on the client or in the queue."""
        own = now - self.started - self.upstream_seconds - self.client_seconds - self.queue_seconds
        return own if own > 0.0 else 0.0


class AttemptRecord(Struct, eq=False):
    """One attempt: which target with which key, when, how it ended, and what it used."""

    call_id: str
    number: int  # the first attempt is 1
    deployment: Deployment
    key_id: str | None
    started: float
    time: int = 0  # when it started, in microseconds since 1970
    first_token: float | None = None  # when the answer reached its commit point
    ended: float | None = None
    outcome: FailureKind | AttemptOutcome = AttemptOutcome.STARTED
    status: int | None = None  # the upstream's
    cause: str | None = None  # cause of a failed connection: dns, refused, tls, reset, timeout, ...
    error: str | None = None  # the message of that failure, without URL, credential or key
    part_answered: bool = False  # one of the several requests of the attempt has an answer
    usage: Usage | None = None  # estimated, for an attempt that lost a hedge or was continued
    _priced: Usage | None = None  # the usage that `_cost_nusd` belongs to
    _cost_nusd: int | None = None

    @property
    def id(self) -> str:
        """The call's id and the attempt's number: `req_1-2`."""
        return f"{self.call_id}-{self.number}"

    @property
    def own_key(self) -> bool:
        """Whether the caller's own provider key paid for the attempt: it counts against no pooled budget."""
        return self.deployment.provider.own_key is not None

    def end(self, outcome: FailureKind | AttemptOutcome) -> None:
        """Set the outcome, if the attempt has none yet."""
        if self.outcome is AttemptOutcome.STARTED:
            self.outcome = outcome

    def fail(self, failure: UpstreamFailure) -> None:
        """End with a failure; after the commit point every failure is a broken stream."""
        if self.first_token is None:
            self.end(failure.kind)
            self.status = failure.status or self.status
        else:
            self.end(FailureKind.BROKEN_STREAM)
        if failure.cause:
            self.cause, self.error = failure.cause, str(failure)

    def note_part(self) -> None:
        """Note that one of the several requests of the attempt has an answer, which costs something."""
        self.part_answered = True

    def close(self, now: float) -> None:
        """Note the end of the attempt's connection; an attempt without an outcome was cancelled."""
        if self.ended is None:
            self.ended = now
        if self.outcome is AttemptOutcome.STARTED:
            self.outcome = AttemptOutcome.CANCELLED

    @property
    def ms(self) -> float:
        """Milliseconds until the attempt ended; 0 before."""
        return 0.0 if self.ended is None else (self.ended - self.started) * 1000

    @property
    def first_token_ms(self) -> float | None:
        """Milliseconds until the commit point."""
        return None if self.first_token is None else (self.first_token - self.started) * 1000

    @property
    def cost_nusd(self) -> int | None:
        """The cost of the attempt's usage; `None` if usage or price is unknown."""
        usage = self.usage
        if usage is not self._priced:
            price = self.deployment.billed_price
            self._priced = usage
            self._cost_nusd = None if usage is None or price is None else cost_nusd(usage, price, self.time)
        return self._cost_nusd

    @property
    def used_tokens(self) -> int | None:
        """The tokens used: none after an error, unknown (`None`) after a timeout or a false report."""
        if self.first_token is None:
            return 0 if self.used_nothing else None
        usage = self.usage
        return usage.input + usage.output if usage and usage.source == "reported" else None

    @property
    def used_nothing(self) -> bool:
        """Whether the attempt failed without using a token: it was not sent, or the upstream rejected it."""
        outcome = self.outcome
        if self.first_token is not None or outcome not in _KINDS or self.part_answered:
            return False
        was_cut = outcome is FailureKind.CONNECT and self.status is not None and self.status < 300
        return not was_cut and VERDICTS[FailureKind(outcome)].known_cost

    def charge(self, nusd: int) -> None:
        """Set the cost of an attempt whose usage is unknown or estimated: what was reserved for it."""
        self._priced, self._cost_nusd = self.usage, nusd

    @property
    def cost_status(self) -> CostStatus:
        """Whether the cost is exact: computed with the tokens that the provider reported, at a known price."""
        return self.bill[1]

    @property
    def bill(self) -> tuple[int | None, CostStatus, str | None]:
        """The cost, its status, and the version of the price that it was computed with."""
        cost, usage, price = self.cost_nusd, self.usage, self.deployment.billed_price
        if cost is None:
            return None, "unknown", None
        version = None if price is None else price.version
        if usage is None or usage.source != "reported":
            return cost, "estimated", version
        exact = usage.service is None or self._knows_service(usage.service)
        return cost, "exact" if exact else "estimated", version

    def _knows_service(self, service: str) -> bool:
        price = self.deployment.billed_price
        if price is None:
            return True
        return service in dict(price.at(self.time).services)


class Record(Struct, eq=False):
    """The record of one call."""

    id: str
    request_id: str
    timings: Timings
    time: int = 0  # when the call started, in microseconds since 1970
    principal: Principal | None = None  # the caller, once it is identified
    call: Call | None = None
    plan: Plan | None = None
    attempts: list[AttemptRecord] = []
    chosen: Deployment | None = None  # of the attempt that answered, or of the last one
    outcome: Outcome = Outcome.STARTED
    status: int = 0
    code: str | None = None
    upstream_request_id: str | None = None
    native_finish: str | None = None  # the provider's finish reason of a translated answer
    limit_headers: bytes = b""  # of the caller's limits, as lines of an answer's head
    model_limits: ModelLimits | None = None  # of the caller, if any: each attempt reserves under them
    exceeded: tuple[str, ...] = ()  # soft budgets that the call has exceeded
    handed_over: bool = False  # the call runs on in the background, and has another record
    finish_reason: str | None = None  # as the provider sent it, of any length
    dropped: tuple[str, ...] = ()  # parameters that the chosen target does not support
    continued: Continued | None = None  # the answer broke off, and `chosen` continued it
    rejection: Callable[[], Mapping[str, Any]] | None = None  # makes the decision record without a plan
    rating: Rating | None = None  # of a complete answer of `auto`, with `learning.signals`

    def attempt(self, deployment: Deployment, key_id: str | None, now: float) -> AttemptRecord:
        """Return the record of an attempt that starts now."""
        time = self.time + int((now - self.timings.started) * 1e6)
        attempt = AttemptRecord(self.id, len(self.attempts) + 1, deployment, key_id, now, time)
        self.attempts.append(attempt)
        self.chosen = deployment
        return attempt

    def end(self, outcome: Outcome, *, status: int | None = None, code: str | None = None) -> bool:
        """Change the outcome, the code and, if given, the status. Change nothing if `TRANSITIONS` does not allow it."""
        if outcome not in TRANSITIONS[self.outcome]:
            return False
        self.outcome, self.code = outcome, code
        if status is not None:
            self.status = status
        return True

    @property
    def usage(self) -> Usage | None:
        """The tokens of all attempts; `None` if no attempt has any."""
        return total([attempt.usage for attempt in self.attempts if attempt.usage is not None])

    @property
    def cost_nusd(self) -> int | None:
        """The cost of all attempts; `None` if none has a known cost."""
        total: int | None = None
        for attempt in self.attempts:
            if (cost := attempt.cost_nusd) is not None:
                total = cost if total is None else total + cost
        return total

    @property
    def cost_status(self) -> CostStatus:
        """Whether the cost is exact: that of every attempt that has used something is."""
        statuses = {each.cost_status for each in self.attempts if each.cost_nusd is not None or not each.used_nothing}
        if not statuses or "unknown" in statuses:
            return "unknown"
        return "exact" if statuses == {"exact"} else "estimated"
