"""What a client may see: one class for each kind of error, with its status, `type` and `code`.

`ProxyError` is never raised for what an upstream did inside the attempt loop (that is `UpstreamFailure` in
`core/failures.py`); it is what remains for the client when the loop has ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar


class ProxyError(Exception):
    """Base of every error that is rendered to the client.

    `retry_after` is seconds; `retryable=False` tells the SDK by `x-should-retry` that another try cannot mend it.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

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
        self.headers: dict[str, str] = {}  # the call's own, added by the pipeline

    @property
    def http_status(self) -> int:
        """The status of the answer."""
        return self.status

    def body(self) -> bytes:
        """The answer's body in OpenAI's shape."""
        error = {"message": str(self), "type": self.type, "param": self.param, "code": self.error_code}
        return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "replace")

    def event(self) -> bytes:
        """The same error as the last event of a stream that has begun."""
        return b"data: " + self.body() + b"\n\n"

    def response_headers(self) -> dict[str, str]:
        """`retry-after` in both forms on every 429 and 503, and `x-should-retry` where a retry is of no use."""
        headers = dict(self.headers)
        if self.http_status in (429, 503):
            seconds = max(0.0, self.retry_after if self.retry_after is not None else 1.0)
            headers["retry-after"] = str(math.ceil(seconds))
            headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
        if not self.retryable:
            headers["x-should-retry"] = "false"
        return headers


class InvalidRequest(ProxyError):
    """The request cannot be understood, or asks for what cannot be had."""

    status = 400
    type = "invalid_request_error"


class NotAuthenticated(ProxyError):
    """No credential, or one that we do not know."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotAllowed(ProxyError):
    """The caller is known, and may not do this."""

    status = 403
    type = "permission_error"


class OriginNotAllowed(NotAllowed):
    """A browser sends it for a web page of another site."""

    code = "origin_not_allowed"


class HostNotAllowed(NotAllowed):
    """`Host` is a name that this service does not answer to."""

    code = "host_not_allowed"


class NotFound(ProxyError):
    """No such path."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """No route, model or alias has that name."""

    code = "model_not_found"


class MethodNotAllowed(ProxyError):
    """The path exists, this method on it does not."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(ProxyError):
    """The client did not finish its request in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class RequestTooLarge(ProxyError):
    """The body is over `server.max_body`."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UriTooLong(ProxyError):
    """The request's line is too long."""

    status = 414
    type = "invalid_request_error"
    code = "uri_too_long"


class HeadTooLarge(ProxyError):
    """The request's headers are too large."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class RateLimited(ProxyError):
    """A limit was reached, ours or the provider's."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class InternalError(ProxyError):
    """A fault of our own; the message is fixed, the details are in the log."""

    code = "internal_error"


class UpstreamError(ProxyError):
    """The provider failed, and no other target could answer."""

    status = 502
    code = "upstream_error"


class Unavailable(ProxyError):
    """Nothing can take the call at the moment: `no_candidate_available`, `overloaded` or `draining`."""

    status = 503
    code = "no_candidate_available"


class UpstreamTimeout(ProxyError):
    """The provider, or the whole call, took too long."""

    status = 504
    code = "upstream_timeout"


class UpstreamRejected(ProxyError):
    """A 4xx of the provider that concerns the request itself: its status and body pass.

    `native` is the provider's body where it already has OpenAI's shape, relayed to the byte.
    """

    type = "invalid_request_error"

    def __init__(self, message: str, status: int, native: bytes | None, fields: Mapping[str, Any]) -> None:
        super().__init__(message, param=fields.get("param"), code=fields.get("code"), retryable=False)
        self._status = status
        self._native = native

    @property
    def http_status(self) -> int:
        return self._status

    def body(self) -> bytes:
        return super().body() if self._native is None else self._native
