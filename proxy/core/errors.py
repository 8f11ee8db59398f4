"""The errors that clients receive: one class per kind of error, with its status, `type` and `code`.

Inside the attempt loop failures of upstreams are `UpstreamFailure` (`core/failures.py`). `ProxyError` is the error for
the client after the loop has ended. The client's surface writes its bytes (`surfaces/base.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar


class ProxyError(Exception):
    """Base of every error that a client receives.

    `retry_after` is in seconds; `retryable=False` sends `x-should-retry: false`, which keeps SDKs from retrying.
    `native_body` and `native_event` are the upstream's own bytes if it sent the error in OpenAI's format, without
    secrets: the body of a response, or the last event of a stream.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    decide: Callable[[], Mapping[str, Any]] | None = None  # the decision record, if no target can serve the call

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        retryable: bool = True,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.error_code = code if code is not None else self.code
        self.retry_after = retry_after
        self.retryable = retryable
        self.headers: dict[str, str] = {}  # the call's headers, added by the pipeline
        self.native_body: bytes | None = None
        self.native_event = b""
        self.native_format = "chat"  # of these bytes: a surface of another format does not use them
        self.native_status: int | None = None  # the upstream's, if the client receives its error unchanged
        self.native_headers: dict[str, str] = {}

    @property
    def http_status(self) -> int:
        """The HTTP status of the response."""
        return self.status if self.native_status is None else self.native_status

    def response_headers(self) -> dict[str, str]:
        """Return `retry-after` in both forms for every 429 and 503, and `x-should-retry` if retries are useless."""
        headers = dict(self.headers)
        if self.http_status in (429, 503):
            seconds = max(0.0, self.retry_after if self.retry_after is not None else 1.0)
            headers["retry-after"] = str(math.ceil(seconds))
            headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
        if not self.retryable:
            headers["x-should-retry"] = "false"
        return headers | self.native_headers


class InvalidRequest(ProxyError):
    """The request is invalid, or asks for something that is not supported."""

    status = 400
    type = "invalid_request_error"


class NotAuthenticated(ProxyError):
    """The credential is missing or unknown."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotAllowed(ProxyError):
    """The client is authenticated but lacks the permission."""

    status = 403
    type = "permission_error"


class OriginNotAllowed(NotAllowed):
    """A browser sent the request for a page of another origin."""

    code = "origin_not_allowed"


class HostNotAllowed(NotAllowed):
    """The `Host` header names a host that the service does not serve."""

    code = "host_not_allowed"


class NotFound(ProxyError):
    """The path does not exist."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """There is no route, model or alias of that name."""

    code = "model_not_found"


class MethodNotAllowed(ProxyError):
    """The path does not support the method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class UpgradeRequired(ProxyError):
    """The client asks for a protocol that the path does not support, and must use plain HTTP."""

    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"


class RequestTimeout(ProxyError):
    """The client did not finish its request in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class RequestTooLarge(ProxyError):
    """The body exceeds `server.max_body`."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UriTooLong(ProxyError):
    """The request line is too long."""

    status = 414
    type = "invalid_request_error"
    code = "uri_too_long"


class HeadTooLarge(ProxyError):
    """The request's headers are too large."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class RateLimited(ProxyError):
    """A limit of the proxy or of the provider was reached."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class BudgetExceeded(ProxyError):
    """A hard budget does not allow the call."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after, retryable=False)


class InternalError(ProxyError):
    """An internal error of the proxy; the message is fixed, the log has the details."""

    code = "internal_error"


class UpstreamError(ProxyError):
    """The provider failed, and no other target could answer."""

    status = 502
    code = "upstream_error"


class Unavailable(ProxyError):
    """No target can serve the call now: `no_candidate_available`, `overloaded` or `draining`."""

    status = 503
    code = "no_candidate_available"


class StateUnavailable(Unavailable):
    """The shared state (Redis) does not answer, so limits cannot be counted."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("The shared state is unavailable; try again in a few seconds.", retry_after=2.0)


class UpstreamTimeout(ProxyError):
    """The provider's answer or the whole call took too long."""

    status = 504
    code = "upstream_timeout"


class UpstreamRejected(ProxyError):
    """The provider rejected the request itself with a 4xx, whose status passes to the client, and `native` too."""

    type = "invalid_request_error"

    def __init__(self, message: str, status: int, native: bytes | None, fields: Mapping[str, Any]) -> None:
        super().__init__(message, param=fields.get("param"), code=fields.get("code"), retryable=False)
        self._status = status
        self.native_body = native

    @property
    def http_status(self) -> int:
        return self._status
