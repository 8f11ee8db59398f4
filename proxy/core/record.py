"""The record of a call, the only mutable object of a call.

The pipeline and the attempt loop write it, settling reads it. Money is in nano-dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.core.call import Call
from proxy.core.model import Deployment
from proxy.core.plan import Plan
from proxy.core.usage import Usage


@dataclass(slots=True)
class Attempt:
    """One attempt in the record. Times are in milliseconds."""

    provider: str
    model: str
    key_id: str | None
    outcome: str = "started"
    status: int | None = None
    cause: str | None = None  # cause of a failed connection: dns, refused, tls, reset, timeout, ...
    error: str | None = None  # the message of that failure, without URL, credential or key
    ms: float = 0.0
    first_token_ms: float | None = None
    usage: Usage | None = None  # estimated, for an attempt that lost a hedge or was continued
    cost_nusd: int | None = None  # estimated from that usage


@dataclass(frozen=True, slots=True)
class Continued:
    """The target that continued a broken answer, and the position in characters."""

    provider: str
    model: str
    after_characters: int


@dataclass(slots=True)
class Record:
    """The record of one call."""

    id: str
    request_id: str
    started: float  # monotonic seconds
    time: float  # seconds since the epoch
    call: Call | None = None
    plan: Plan | None = None
    attempts: list[Attempt] = field(default_factory=list)
    chosen: Deployment | None = None
    usage: Usage | None = None
    cost_nusd: int | None = None
    outcome: str = "started"  # ok | error | partial | client_closed | draining
    status: int = 0
    code: str | None = None
    upstream_request_id: str | None = None
    native_finish: str | None = None  # the provider's finish reason of a translated answer
    dropped: tuple[str, ...] = ()  # parameters that the chosen target does not support
    continued: Continued | None = None  # the answer broke off, and `chosen` went on with it
    predicted_wait: float = 0.0  # predicted seconds in the queue
    waited: float = 0.0  # actual seconds in the queue
    upstream_seconds: float = 0.0  # spent waiting for upstreams
    upstream_waits: int = 0  # waits in progress; concurrent waits count once
    upstream_since: float = 0.0  # when the waits in progress began
    client_seconds: float = 0.0  # spent waiting for the client
    first_token: float | None = None  # monotonic seconds, the commit point
    committed: bool = False
