"""What the client is told when no target could answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import ProxyError
from proxy.core.failures import RULES, FailureKind, FailureRule, UpstreamFailure
from proxy.core.record import AttemptRecord
from proxy.surfaces.openai.errors import error_body
from proxy.upstream.health import Block
from proxy.upstream.outcome import deadline_error, nothing_tried
from proxy.upstream.outcome import error_for as error_of
from proxy.upstream.run import FailedTarget
from tests.support.calls import attempt, deployment

K = FailureKind


def error_for(failure: UpstreamFailure, attempts: list[AttemptRecord], **fields: Any) -> ProxyError:
    return error_of([FailedTarget(deployment(), failure, attempts[-1].key_id)], attempts, **fields)


TABLE = [
    (K.CONNECT, None, 502, "server_error", "upstream_error"),
    (K.STALE_CONNECTION, None, 502, "server_error", "upstream_error"),
    (K.FIRST_TOKEN_TIMEOUT, None, 504, "server_error", "upstream_timeout"),
    (K.RATE_LIMITED, 429, 429, "rate_limit_error", "rate_limit_exceeded"),
    (K.TOO_LARGE, 429, 400, "invalid_request_error", "no_candidate_available"),
    (K.OVERLOADED, 529, 503, "server_error", "overloaded"),
    (K.SERVER_ERROR, 500, 502, "server_error", "upstream_error"),
    (K.MALFORMED, 200, 502, "server_error", "upstream_error"),
    (K.KEY_REJECTED, 401, 502, "server_error", "upstream_error"),
    (K.FORBIDDEN, 403, 502, "server_error", "upstream_error"),
    (K.WRONG_ADDRESS, 404, 502, "server_error", "upstream_error"),
    (K.MODEL_MISSING, 404, 404, "invalid_request_error", "model_not_found"),
    (K.CONFLICT, 409, 409, "invalid_request_error", "theirs"),
    (K.CONTEXT_TOO_LONG, 400, 400, "invalid_request_error", "context_length_exceeded"),
    (K.CONTENT_FILTERED, 400, 400, "invalid_request_error", "content_filter"),
    (K.UNSUPPORTED, None, 400, "invalid_request_error", "theirs"),
    (K.OVER_BUDGET, None, 429, "insufficient_quota", "insufficient_quota"),
    (K.OVER_LIMIT, None, 429, "rate_limit_error", "rate_limit_exceeded"),
    (K.BAD_REQUEST, 422, 422, "invalid_request_error", "theirs"),
    (K.BROKEN_STREAM, None, 502, "server_error", "upstream_error"),
]


@pytest.mark.parametrize(("kind", "theirs", "status", "type_", "code"), TABLE)
def test_every_kind_has_its_error(kind: K, theirs: int | None, status: int, type_: str, code: str) -> None:
    failure = UpstreamFailure(kind, "because of a limit", status=theirs, param="p", code="theirs")

    error = error_for(failure, [attempt()], only=True)

    told = json.loads(error_body(error))["error"]
    assert (error.http_status, told["type"], told["code"]) == (status, type_, code)
    assert error.response_headers()["x-should-retry"] == "false"


def test_the_table_has_every_kind() -> None:
    assert {row[0] for row in TABLE} == set(FailureKind)


@pytest.mark.parametrize(
    ("kind", "names"),
    [(K.CONNECT, True), (K.KEY_REJECTED, True), (K.RATE_LIMITED, True), (K.BAD_REQUEST, False)],
)
def test_provider_errors_name_it_and_request_errors_are_quoted(kind: K, names: bool) -> None:
    error = error_for(UpstreamFailure(kind, "because", status=400), [attempt()], only=True)

    assert ("`acme/small`" in str(error)) is names


def test_a_rejected_key_is_named_by_id_without_provider_text() -> None:
    error = error_for(
        UpstreamFailure(K.KEY_REJECTED, "Incorrect key sk-ab***yz", status=401), [attempt(key_id="spare")], only=True
    )

    assert "`spare`" in str(error)
    assert "sk-ab" not in str(error)


def test_several_attempts_are_counted() -> None:
    failure = UpstreamFailure(K.SERVER_ERROR, "because")

    assert "(3 attempts)" in str(error_for(failure, [attempt(), attempt(), attempt()], only=True))
    assert "attempts" not in str(error_for(failure, [attempt()], only=True))


def test_a_missing_model_is_a_404_only_as_the_only_target() -> None:
    failure = UpstreamFailure(K.MODEL_MISSING, "no such model", status=404)

    assert error_for(failure, [attempt(), attempt()], only=True).http_status == 404
    assert error_for(failure, [attempt()], only=False).http_status == 502


def test_a_rejection_in_openai_s_shape_passes_to_the_byte() -> None:
    native = b'{"error": {"message":"bad"}}'

    error = error_for(UpstreamFailure(K.BAD_REQUEST, "bad", status=409, native=native), [attempt()], only=True)

    assert (error.http_status, error.native_body) == (409, native)


@pytest.mark.parametrize(("kind", "hint", "told"), [(K.RATE_LIMITED, 7.2, "8"), (K.OVERLOADED, None, "1")])
def test_when_to_come_back_is_the_provider_s_word(kind: K, hint: float | None, told: str) -> None:
    error = error_for(UpstreamFailure(kind, "x", retry_after=hint), [attempt()], only=True)

    assert error.response_headers()["retry-after"] == told


def test_the_deadline_names_its_setting() -> None:
    error = deadline_error(600.0)

    assert (error.http_status, error.error_code, error.retryable) == (504, "deadline_exceeded", False)
    assert "`resilience.deadline.hard` (10 min)" in str(error)


LIMITED = Block("rate_limited", 9.0, "all its keys are in cooldown: the provider's rate limit")
REJECTED = Block("key_rejected", 60.0, "all its keys are in cooldown: the provider rejected the key")
NO_KEY = Block("no_key", 0.0, "it has no such key")


@pytest.mark.parametrize(
    ("blocks", "status", "code", "headers"),
    [
        ([LIMITED], 429, "rate_limit_exceeded", {"retry-after": "9", "retry-after-ms": "9000"}),
        (
            [REJECTED, LIMITED, Block("rate_limited", 4.5, "x")],
            429,
            "rate_limit_exceeded",
            {"retry-after": "5", "retry-after-ms": "4500"},
        ),
        ([REJECTED, NO_KEY], 502, "upstream_error", {"x-should-retry": "false"}),
        ([NO_KEY], 400, "no_candidate_available", {"x-should-retry": "false"}),
    ],
)
def test_where_nothing_could_be_tried_the_reason_is_told(
    blocks: list[Block], status: int, code: str, headers: dict[str, Any]
) -> None:
    error = nothing_tried([(deployment(f"m{number}"), block) for number, block in enumerate(blocks)])

    assert (error.http_status, error.error_code, error.response_headers()) == (status, code, headers)
    assert all(f"`acme/m{number}`: {block.message}" in str(error) for number, block in enumerate(blocks))


def test_a_long_plan_does_not_make_a_long_message() -> None:
    error = nothing_tried([(deployment(f"m{number}"), LIMITED) for number in range(100)])

    assert "`acme/m7`" in str(error)
    assert "`acme/m8`" not in str(error)


def test_a_rate_limit_without_a_time_uses_the_set_cooldown() -> None:
    failure = UpstreamFailure(K.RATE_LIMITED, "slow down", status=429)
    rules = {**RULES, "rate_limit": FailureRule(key="model", rest=60.0)}

    error = error_for(failure, [attempt()], only=True, rules=rules)

    assert error.retry_after == 60.0


RETRY_IN_30 = UpstreamFailure(K.RATE_LIMITED, "slow down", status=429, retry_after=30.0)
BUSY_FOR_9 = UpstreamFailure(K.OVERLOADED, "busy", status=503, retry_after=9.0)
BAD = UpstreamFailure(K.BAD_REQUEST, "bad", status=400, native=b'{"error": {"message": "bad"}}')
REJECTED_KEY = UpstreamFailure(K.KEY_REJECTED, "sk-ab", status=401)
DOWN = UpstreamFailure(K.SERVER_ERROR, "boom", status=500)
GONE = UpstreamFailure(K.MODEL_MISSING, "no such model", status=404)
LONG = UpstreamFailure(K.CONTEXT_TOO_LONG, "too long", status=400)
UNSENT = UpstreamFailure(K.UNSUPPORTED, "cannot", code="x")
LATE = UpstreamFailure(K.FIRST_TOKEN_TIMEOUT, "no answer came in time")
AWAY = UpstreamFailure(K.WRONG_ADDRESS, "the upstream answered with status 405", status=405)


@pytest.mark.parametrize(
    ("failures", "status", "retry_after"),
    [
        ([RETRY_IN_30, BAD], 429, "30"),
        ([BAD, RETRY_IN_30], 429, "30"),
        ([RETRY_IN_30, REJECTED_KEY], 429, "30"),
        ([RETRY_IN_30, GONE, AWAY], 429, "30"),
        ([RETRY_IN_30, LONG], 429, "30"),
        ([RETRY_IN_30, DOWN], 429, "30"),
        ([RETRY_IN_30, BUSY_FOR_9], 503, "9"),
        ([BUSY_FOR_9, UNSENT], 503, "9"),
        ([DOWN, BAD], 400, None),
        ([DOWN, REJECTED_KEY], 502, None),
        ([LATE, REJECTED_KEY], 504, None),
        ([LONG, REJECTED_KEY], 400, None),
        ([GONE, UNSENT], 502, None),
        ([AWAY, GONE], 502, None),
        ([UNSENT], 400, None),
    ],
)
def test_the_failure_that_time_mends_comes_first(
    failures: list[UpstreamFailure], status: int, retry_after: str | None
) -> None:
    failed = [FailedTarget(deployment(f"m{number}"), failure, "k") for number, failure in enumerate(failures)]

    error = error_of(failed, [attempt() for _ in failures], only=False)

    headers = error.response_headers()
    assert (error.http_status, headers.get("retry-after")) == (status, retry_after)
    assert headers["x-should-retry"] == "false"


def test_the_message_names_every_target_that_failed() -> None:
    failures = [RETRY_IN_30, REJECTED_KEY, GONE, AWAY, BUSY_FOR_9, DOWN]
    failed = [FailedTarget(deployment(f"m{number}"), failure, "main") for number, failure in enumerate(failures)]

    message = str(error_of(failed, [attempt()] * 6, only=False))

    assert message == (
        "`acme/m4`: the provider is overloaded (6 attempts): busy. Also failed: `acme/m0`: rate limited: slow down; "
        "`acme/m1`: the provider rejected the proxy's key `main` or its account with status 401; "
        "`acme/m2`: the provider does not have this model: no such model; "
        "`acme/m3`: no API answers at this address (status 405); check `base_url` of the provider: "
        "the upstream answered with status 405; `acme/m5`: boom."
    )


def test_a_request_too_large_for_a_proxy_is_a_413() -> None:
    error = error_for(UpstreamFailure(K.TOO_LARGE, "status 413", status=413), [attempt()], only=True)

    assert (error.http_status, error.error_code) == (413, "request_too_large")
