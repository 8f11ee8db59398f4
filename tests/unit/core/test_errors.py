"""The status, type, code and headers of every class of error."""

from __future__ import annotations

import pytest

from proxy.core.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    ProxyError,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    Unavailable,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
)

TABLE = [
    (InvalidRequest, 400, "invalid_request_error", None),
    (NotAuthenticated, 401, "authentication_error", "invalid_api_key"),
    (NotAllowed, 403, "permission_error", None),
    (NotFound, 404, "invalid_request_error", "not_found"),
    (ModelNotFound, 404, "invalid_request_error", "model_not_found"),
    (MethodNotAllowed, 405, "invalid_request_error", "method_not_allowed"),
    (RequestTimeout, 408, "invalid_request_error", "request_timeout"),
    (RequestTooLarge, 413, "invalid_request_error", "request_too_large"),
    (RateLimited, 429, "rate_limit_error", "rate_limit_exceeded"),
    (InternalError, 500, "server_error", "internal_error"),
    (UpstreamError, 502, "server_error", "upstream_error"),
    (Unavailable, 503, "server_error", "no_candidate_available"),
    (UpstreamTimeout, 504, "server_error", "upstream_timeout"),
]


@pytest.mark.parametrize(("kind", "status", "type_", "code"), TABLE)
def test_every_class_has_the_row_of_the_contract(
    kind: type[ProxyError], status: int, type_: str, code: str | None
) -> None:
    error = kind("What to do.", param="p")

    assert (error.http_status, str(error), error.type) == (status, "What to do.", type_)
    assert (error.param, error.error_code) == ("p", code)


def test_a_code_of_its_own_beats_the_class() -> None:
    assert Unavailable("x", code="draining").error_code == "draining"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimited("x", retry_after=1.2), {"retry-after": "2", "retry-after-ms": "1200"}),
        (RateLimited("x"), {"retry-after": "1", "retry-after-ms": "1000"}),
        (RateLimited("x", retry_after=-3.0), {"retry-after": "0", "retry-after-ms": "0"}),
        (Unavailable("x", retry_after=0.0004), {"retry-after": "1", "retry-after-ms": "1"}),
        (UpstreamError("x", retry_after=5.0), {}),
        (UpstreamError("x", retryable=False), {"x-should-retry": "false"}),
    ],
)
def test_every_429_and_503_says_when_to_come_back(error: ProxyError, expected: dict[str, str]) -> None:
    assert error.response_headers() == expected


def test_the_call_s_headers_are_kept() -> None:
    error = InvalidRequest("x")
    error.headers = {"x-router-id": "req_1"}

    assert error.response_headers() == {"x-router-id": "req_1"}
    assert error.headers == {"x-router-id": "req_1"}


def test_a_rejection_passes_the_provider_s_status_and_body() -> None:
    error = UpstreamRejected("bad", 422, b'{"error": {"message":"bad"} }', {"param": "x", "code": "y"})

    assert error.http_status == 422
    assert error.native_body == b'{"error": {"message":"bad"} }'
    assert error.response_headers() == {"x-should-retry": "false"}
