"""The rows of the ledger: one of each call, and one of each attempt.

They go to the journal before the end of an answer is sent, and from there to the store. A row is identified by its id:
writing it again, from any process, changes nothing, or completes an attempt that was only an intent. Fields are added
at the end and with a default, because journals of another release are read, and because a call makes its rows with
positional arguments, which take a tenth of the time of named ones. Times are microseconds since 1970, durations
milliseconds, money nano-dollars.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from proxy.core.record import AttemptRecord, Record
from proxy.core.record import CostStatus as CostStatus


class AttemptRow(Struct, frozen=True, array_like=True, gc=False):
    """One attempt. An intent has the outcome `started`; after a crash it becomes `unknown`."""

    id: str  # req_...-1
    call_id: str
    number: int
    time: int
    provider: str
    model: str  # the provider's id
    provider_key: str | None  # the id of the provider's key
    outcome: str
    status: int | None = None  # the upstream's
    cause: str | None = None
    ms: float | None = None
    ttft_ms: float | None = None
    input_tokens: int | None = None  # all input: the cached, written and other kinds below are parts of it
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0  # part of `cache_write_tokens`
    output_tokens: int | None = None
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cost_nusd: int | None = None
    cost_status: CostStatus = "unknown"
    price_version: str | None = None  # of the price that `cost_nusd` was computed with
    own_key: bool = False  # paid by the caller's own provider key: no pooled budget
    key_id: str | None = None  # of the caller, as in the call
    user: str | None = None
    team: str | None = None
    route: str | None = None


class CallRow(Struct, frozen=True, array_like=True, gc=False):
    """One call. Tokens and cost are the sums over its attempts."""

    id: str  # req_...
    request_id: str  # the client's
    time: int
    endpoint: str
    key_id: str | None = None
    user: str | None = None
    team: str | None = None
    client_id: str | None = None
    model: str | None = None  # as requested
    route: str | None = None
    provider: str | None = None
    upstream_model: str | None = None
    stream: bool = False
    status: int = 0
    outcome: str = "ok"
    code: str | None = None  # of the error
    attempts: int = 0
    input_tokens: int | None = None
    cached_tokens: int = 0
    output_tokens: int | None = None
    reasoning_tokens: int = 0
    cost_nusd: int | None = None
    cost_status: CostStatus = "unknown"
    ms: float = 0.0
    ttft_ms: float | None = None
    queue_ms: float = 0.0
    cache: str = "bypass"
    decision: bytes | None = None  # the decision record: see `core/decisions.py`
    agent: str | None = None  # the id
    agent_version: str | None = None
    features: bytes | None = None  # of a classified prompt, in numbers: see `routing/classify/packed.py`
    rating: float | None = None  # of the answer, 0 to 1: see `learning/rating.py`
    rating_reasons: str | None = None  # separated by `, `


class Ledger(Protocol):
    """Records attempts and calls durably. No method awaits, so that no cancellation can separate them."""

    def begin(self, record: Record, attempt: AttemptRecord) -> None:
        """Record the intent of the call's newest attempt, before it is sent.

        Raises `Unavailable` if it cannot be recorded, and the configuration rejects such attempts; then the call's
        record does not have the attempt any more.
        """
        ...

    def end(self, record: Record) -> None:
        """Record a call and its attempts, before the end of the answer is sent."""
        ...

    def close(self, record: Record) -> None:
        """Record a call and its attempts if they have changed since `end`; the record does not change any more.

        The client may have left before it had the end of the answer. Calls without a principal are not recorded.
        """
        ...
