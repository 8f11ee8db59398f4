"""The kinds of upstream failures, and the two tables that decide what follows from them.

`VERDICTS` holds the fixed properties of a failure: its class, whether another target may succeed, what it costs, and
which of several failures the client receives. `RULES` holds the configurable reaction to a class (retries, backoff,
breaker, keys) and its defaults. A failure is classified once, where it is detected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal


class FailureKind(StrEnum):
    """How an attempt can fail; the values are the `outcome` labels of metrics and records."""

    CONNECT = "connect"  # refused, DNS, TLS, reset before the answer began
    STALE_CONNECTION = "stale_connection"  # a pooled connection that was dead when it was used again
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # no content in time, or 408
    RATE_LIMITED = "rate_limited"  # 429
    TOO_LARGE = "too_large"  # 413 or 429 with the dialect's marker: more at once than a limit ever allows
    OVERLOADED = "overloaded"  # 503, 529
    SERVER_ERROR = "server_error"  # any other 5xx
    MALFORMED = "malformed"  # a 200 that does not decode, is empty, or ends without a finish
    KEY_REJECTED = "key_rejected"  # 401, 402, 403, or another 4xx that blames our key or our account
    FORBIDDEN = "forbidden"  # 403 by something before the API, which says nothing of the key: a firewall
    MODEL_MISSING = "model_missing"  # 404, or another 4xx that blames the model
    WRONG_ADDRESS = "wrong_address"  # 404, 405 and others that are no answer of the API: the path, or a proxy
    CONFLICT = "conflict"  # 409, 423, 425: another call is in the way
    CONTEXT_TOO_LONG = "context_too_long"  # 400 or 413 with the dialect's marker
    CONTENT_FILTERED = "content_filtered"  # 400 with the dialect's marker
    UNSUPPORTED = "unsupported"  # never sent: the target's API has nothing for what the client asks
    OVER_BUDGET = "over_budget"  # never sent: a hard budget does not allow it
    OVER_LIMIT = "over_limit"  # never sent: a limit of the caller for this model does not allow it
    BAD_REQUEST = "bad_request"  # a 4xx that blames the client's request
    BROKEN_STREAM = "broken_stream"  # any fault after the commit point


FailureClass = Literal["rate_limit", "server_error", "auth", "timeout", "target", "content", "unknown"]
KeyEffect = Literal["none", "model", "everywhere"]


class Rank(IntEnum):
    """Which of several failures of one call the client receives: the lowest."""

    WAIT = 0  # a later retry of the client can avoid it
    REQUEST = 1  # of the client's own request
    TRANSIENT = 2
    OPERATOR = 3  # an operator must fix it
    UNSENT = 4  # the request could not be sent


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fixed properties of a failure."""

    failure_class: FailureClass
    fall_back: bool = True  # the next target of the plan may succeed
    larger_only: bool = False  # only a target with a larger context window may succeed
    other_key: bool = False  # another key of the same target may do, although this one is not put into cooldown
    rank: Rank = Rank.TRANSIENT  # of several failures of a call, the client receives the one with the lowest
    sent: bool = True  # a request was sent, with a key
    known_cost: bool = True  # the attempt used no tokens, unless the upstream reported some
    shown_by_list: bool = False  # a provider's list of models fails too if the whole provider is affected


@dataclass(frozen=True, slots=True)
class FailureRule:
    """The reaction to a class of failures; times are in seconds.

    `retries` None is the retry policy's `same_target`, `backoff` and `max_backoff` None are its own, `open` and
    `max_open` None the breaker's. A key is in cooldown for as long as the provider asks or else for `rest`, and
    never longer than `max_rest`; a rejected one for `rest`, and twice as long with each rejection in a row.
    """

    retries: int | None = 0  # on the same target
    backoff: float | None = None
    max_backoff: float | None = None
    breaker: bool = False  # counts against the circuit breaker
    open: float | None = None
    max_open: float | None = None
    key: KeyEffect = "none"  # which calls the cooldown of the key is for: those of this model, or all
    rest: float = 5.0
    max_rest: float = 24 * 3600.0


VERDICTS: dict[FailureKind, Verdict] = {
    FailureKind.CONNECT: Verdict("server_error"),
    FailureKind.STALE_CONNECTION: Verdict("server_error"),
    FailureKind.FIRST_TOKEN_TIMEOUT: Verdict("timeout", known_cost=False),
    FailureKind.RATE_LIMITED: Verdict("rate_limit", rank=Rank.WAIT),
    FailureKind.TOO_LARGE: Verdict("content"),
    FailureKind.OVERLOADED: Verdict("server_error", rank=Rank.WAIT, shown_by_list=True),
    FailureKind.SERVER_ERROR: Verdict("server_error", shown_by_list=True),
    FailureKind.MALFORMED: Verdict("unknown"),
    FailureKind.KEY_REJECTED: Verdict("auth", rank=Rank.OPERATOR),
    FailureKind.FORBIDDEN: Verdict("target", rank=Rank.OPERATOR),
    FailureKind.MODEL_MISSING: Verdict("target", other_key=True, rank=Rank.OPERATOR),
    FailureKind.WRONG_ADDRESS: Verdict("target", rank=Rank.OPERATOR),
    FailureKind.CONFLICT: Verdict("content"),
    FailureKind.CONTEXT_TOO_LONG: Verdict("content", larger_only=True),
    FailureKind.CONTENT_FILTERED: Verdict("content", fall_back=False, rank=Rank.REQUEST),
    FailureKind.UNSUPPORTED: Verdict("content", rank=Rank.UNSENT, sent=False),
    FailureKind.OVER_BUDGET: Verdict("content", rank=Rank.UNSENT, sent=False),
    FailureKind.OVER_LIMIT: Verdict("content", rank=Rank.WAIT, sent=False),
    FailureKind.BAD_REQUEST: Verdict("content", fall_back=False, rank=Rank.REQUEST),
    FailureKind.BROKEN_STREAM: Verdict("server_error", fall_back=False),
}

RULES: Mapping[FailureClass, FailureRule] = {
    "rate_limit": FailureRule(key="model"),
    "server_error": FailureRule(retries=None, breaker=True),
    "auth": FailureRule(key="everywhere", rest=60.0, max_rest=1800.0),
    "timeout": FailureRule(breaker=True),
    "target": FailureRule(breaker=True),  # this model or this address: see `REPEATED`
    "content": FailureRule(),  # the request's own fault: it says nothing of the provider
    "unknown": FailureRule(breaker=True),
}

# Classes that count against the breaker only in a row, without a success between: one such failure may be due to one
# prompt (a firewall) or to what one client named, and says nothing of the target's other calls.
REPEATED: frozenset[FailureClass] = frozenset({"target"})
# Classes after which the next attempt costs nothing of the retry budget. A rejected key is in cooldown at once, so that
# only calls that were on their way with it meet the rejection: there is no storm for the budget to hold back.
FREE: frozenset[FailureClass] = frozenset({"auth", "target", "content"})

_KINDS = frozenset(FailureKind)


def class_of(kind: str) -> FailureClass | None:
    """Return the class of an outcome; `None` if it is not a failure."""
    return VERDICTS[FailureKind(kind)].failure_class if kind in _KINDS else None


def shown_by_list(reason: str) -> bool:
    """Return whether a list of models shows a failure too, if the whole provider is affected."""
    return reason in _KINDS and VERDICTS[FailureKind(reason)].shown_by_list


class UpstreamFailure(Exception):
    """One attempt has failed. Lives inside the attempt loop only; `core/clean.py` takes secrets out of it.

    `status` is the upstream's, where there was one; `retry_after` is seconds as the provider asked for; `native` is the
    provider's own error body where it has OpenAI's shape; `param` and `code` come from it. `cause` is one word for what
    failed on the connection (dns, refused, tls, ...), which `message` then explains. `partial` is what was read in
    whole before the failure and still belongs to the client, after the commit point only. `event` is the upstream's own
    error event, if it sent one that OpenAI's clients can read.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        native: bytes | None = None,
        param: str | None = None,
        code: str | None = None,
        cause: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.native = native
        self.param = param
        self.code = code
        self.cause = cause
        self.partial = b""
        self.event = b""
        self.format = "chat"  # of `native` and `event`
        self.headers: dict[str, str] = {}  # of the upstream's response, if the client receives it unchanged

    @property
    def verdict(self) -> Verdict:
        """The row of `VERDICTS`."""
        return VERDICTS[self.kind]

    @property
    def failure_class(self) -> FailureClass:
        """The class, which selects the rule."""
        return self.verdict.failure_class
