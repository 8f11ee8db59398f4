"""What may go wrong upstream, and the one table that decides what follows from it.

Retries, fallbacks, the breaker, the resting of keys and the client's error all read `VERDICTS`; nothing else in the
project looks at an upstream's status to decide. A failure is classified once, where it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class FailureKind(StrEnum):
    """How an attempt can fail; the values are the `outcome` labels of metrics and records."""

    CONNECT = "connect"  # refused, DNS, TLS, reset before the answer began
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # no content in time, or 408
    RATE_LIMITED = "rate_limited"  # 429
    OVERLOADED = "overloaded"  # 503, 529
    SERVER_ERROR = "server_error"  # any other 5xx
    MALFORMED = "malformed"  # a 200 that does not decode, is empty, or ends without a finish
    KEY_REJECTED = "key_rejected"  # 401, 403
    MODEL_MISSING = "model_missing"  # 404
    CONTEXT_TOO_LONG = "context_too_long"  # 400 or 413 with the dialect's marker
    CONTENT_FILTERED = "content_filtered"  # 400 with the dialect's marker
    UNSUPPORTED = "unsupported"  # never sent: the target's API has nothing for what the client asks
    BAD_REQUEST = "bad_request"  # any other 4xx
    BROKEN_STREAM = "broken_stream"  # any fault after the commit point


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failure."""

    retry: bool = False  # the same target again, after a backoff
    fall_back: bool = True  # the next target of the plan
    larger_only: bool = False  # ... but only to a larger context window
    trip: bool = False  # counts against the circuit breaker
    rest: Literal["model", "everywhere"] | None = None  # rest the key: for this model, or for all


VERDICTS: dict[FailureKind, Verdict] = {
    FailureKind.CONNECT: Verdict(retry=True, trip=True),
    FailureKind.FIRST_TOKEN_TIMEOUT: Verdict(trip=True),
    FailureKind.RATE_LIMITED: Verdict(rest="model"),
    FailureKind.OVERLOADED: Verdict(retry=True, trip=True),
    FailureKind.SERVER_ERROR: Verdict(retry=True, trip=True),
    FailureKind.MALFORMED: Verdict(trip=True),
    FailureKind.KEY_REJECTED: Verdict(rest="everywhere"),
    FailureKind.MODEL_MISSING: Verdict(),
    FailureKind.CONTEXT_TOO_LONG: Verdict(larger_only=True),
    FailureKind.CONTENT_FILTERED: Verdict(fall_back=False),
    FailureKind.UNSUPPORTED: Verdict(),
    FailureKind.BAD_REQUEST: Verdict(fall_back=False),
    FailureKind.BROKEN_STREAM: Verdict(fall_back=False, trip=True),
}


class UpstreamFailure(Exception):
    """One attempt has failed. Lives inside the attempt loop only; `message` never holds a key or a prompt of ours.

    `status` is the upstream's, where there was one; `retry_after` is seconds as the provider asked for; `native` is the
    provider's own error body where it has OpenAI's shape; `param` and `code` come from it. `partial` is what was read
    in whole before the failure and still belongs to the client, after the commit point only.
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
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.native = native
        self.param = param
        self.code = code
        self.partial = b""

    def redact(self, secret: str) -> None:
        """Take a key out of what the upstream said, should it have repeated it."""
        if len(secret) >= 8 and secret in str(self):
            self.args = (str(self).replace(secret, "***"),)
        if len(secret) >= 8 and self.native is not None:
            self.native = self.native.replace(secret.encode(), b"***")

    @property
    def verdict(self) -> Verdict:
        """The table's row."""
        return VERDICTS[self.kind]
