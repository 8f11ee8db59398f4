"""Errors as OpenAI-compatible providers send them, and what they are taken for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.failures import FailureKind
from proxy.dialects.openai.errors import failure, failure_in_200

K = FailureKind


def shaped(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


OPENAI = [
    (400, shaped("Unsupported parameter", type="invalid_request_error", param="max_tokens", code="x"), K.BAD_REQUEST),
    (
        400,
        shaped("Too long.", type="invalid_request_error", param="messages", code="context_length_exceeded"),
        K.CONTEXT_TOO_LONG,
    ),
    (400, shaped("Your input exceeds the context window of this model.", code=None), K.CONTEXT_TOO_LONG),
    (400, shaped("The requested model 'x' does not exist.", code="model_not_found", param="model"), K.MODEL_MISSING),
    (400, shaped("Refused by our safety system", code="content_policy_violation"), K.CONTENT_FILTERED),
    (400, shaped("blocked", code="moderation_blocked"), K.CONTENT_FILTERED),
    (401, shaped("Incorrect API key provided: sk-...", code="invalid_api_key"), K.KEY_REJECTED),
    (403, shaped("Country not supported", code="unsupported_country_region_territory"), K.KEY_REJECTED),
    (404, shaped("The model `x` does not exist", code="model_not_found"), K.MODEL_MISSING),
    (408, shaped("Timed out"), K.FIRST_TOKEN_TIMEOUT),
    (409, shaped("Locked"), K.CONFLICT),
    (413, shaped("The prompt is too long: 300000 tokens"), K.CONTEXT_TOO_LONG),
    (413, shaped("Upload too large"), K.BAD_REQUEST),
    (422, shaped("Unprocessable"), K.BAD_REQUEST),
    (429, shaped("Rate limit reached", type="requests", code="rate_limit_exceeded"), K.RATE_LIMITED),
    (
        429,
        shaped("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota"),
        K.KEY_REJECTED,
    ),
    (
        429,
        shaped(
            "Request too large for gpt-4o (for limit gpt-4o) in organization org-x on tokens per min (TPM): "
            "Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.",
            type="tokens",
            param=None,
            code="rate_limit_exceeded",
        ),
        K.TOO_LARGE,
    ),
    (500, shaped("The server had an error", type="server_error"), K.SERVER_ERROR),
    (502, shaped("Bad gateway"), K.SERVER_ERROR),
    (503, shaped("The engine is currently overloaded"), K.OVERLOADED),
    (504, shaped("Gateway timeout"), K.SERVER_ERROR),
    (529, shaped("Overloaded"), K.OVERLOADED),
    (302, shaped("Elsewhere"), K.SERVER_ERROR),
]
FILTERED = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
OTHERS = [
    # Azure
    (
        400,
        shaped("The response was filtered", code="content_filter", innererror=FILTERED, status=400),
        K.CONTENT_FILTERED,
    ),
    (400, shaped("The response was filtered", code="x", innererror=FILTERED), K.CONTENT_FILTERED),
    (401, shaped("Access denied due to invalid subscription key", code="401"), K.KEY_REJECTED),
    (404, shaped("The API deployment for this resource does not exist", code="DeploymentNotFound"), K.MODEL_MISSING),
    # Mistral
    (
        400,
        {
            "object": "error",
            "message": "Prompt contains 9 tokens, too large for model with 8 maximum context length",
            "type": "invalid_request_error",
            "code": "3051",
        },
        K.CONTEXT_TOO_LONG,
    ),
    (422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}, K.BAD_REQUEST),
    (429, {"message": "Requests rate limit exceeded"}, K.RATE_LIMITED),
    # Groq
    (
        400,
        shaped("Please reduce the length of the messages or completion.", code="context_length_exceeded"),
        K.CONTEXT_TOO_LONG,
    ),
    (
        413,
        shaped(
            "Request too large for model `m` in organization `o` service tier `on_demand` on tokens per minute (TPM): "
            "Limit 6000, Requested 12328, please reduce your message size and try again.",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        K.TOO_LARGE,
    ),
    (
        429,
        shaped(
            "Rate limit reached for model `m` on tokens per minute (TPM): Limit 6000, Used 5034, Requested 1443. "
            "Please try again in 4.77s.",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        K.RATE_LIMITED,
    ),
    (400, shaped("Tool call validation failed", code="tool_use_failed", failed_generation="{}"), K.BAD_REQUEST),
    (498, shaped("Flex tier capacity exceeded", code="flex_tier_capacity_exceeded"), K.OVERLOADED),
    # DeepSeek
    (
        400,
        shaped("This model's maximum context length is 65536 tokens. However, you requested 70000 tokens"),
        K.CONTEXT_TOO_LONG,
    ),
    (402, shaped("Insufficient Balance", type="unknown_error", code="invalid_request_error"), K.KEY_REJECTED),
    # Together
    (403, shaped("Input and `max_tokens` must be less than the context length of the model"), K.CONTEXT_TOO_LONG),
    # OpenRouter
    (400, shaped("This endpoint's maximum context length is 131072 tokens.", code=400), K.CONTEXT_TOO_LONG),
    (401, shaped("No auth credentials found", code=401), K.KEY_REJECTED),
    (
        403,
        shaped("Input was flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "..."}),
        K.CONTENT_FILTERED,
    ),
    (403, shaped("Key limit exceeded", code=403, metadata=None), K.KEY_REJECTED),
    (429, shaped("Provider returned error", code=429, metadata={"raw": "Please retry shortly"}), K.RATE_LIMITED),
    # Perplexity, xAI, vLLM, llama.cpp, Bedrock's front
    (401, shaped("Invalid API key provided.", type="invalid_api_key", code=401), K.KEY_REJECTED),
    (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 13 but the request contains 53 tokens.",
        },
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 2048 tokens.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        K.CONTEXT_TOO_LONG,
    ),
    (
        400,
        shaped(
            "the request exceeds the available context size, try increasing it",
            code=400,
            type="exceed_context_size_error",
        ),
        K.CONTEXT_TOO_LONG,
    ),
    (400, {"message": "Input is too long for requested model."}, K.CONTEXT_TOO_LONG),
    # FastAPI, and a list around the error
    (401, {"detail": "Invalid API Key"}, K.KEY_REJECTED),
    (404, {"detail": "Not Found"}, K.WRONG_ADDRESS),
    (400, [shaped("Please use a valid role", code=400, status="INVALID_ARGUMENT")], K.BAD_REQUEST),
]


@pytest.mark.parametrize(("status", "body", "kind"), OPENAI + OTHERS)
def test_an_error_is_taken_for_what_it_is(status: int, body: Any, kind: FailureKind) -> None:
    found = failure(status, {}, json.dumps(body).encode(), 0.0)

    assert found.kind == kind
    assert found.status == status


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (shaped("a"), "a"),
        ({"error": "b"}, "b"),
        ({"message": "c"}, "c"),
        ({"detail": "d"}, "d"),
        ({"detail": [{"msg": "é"}]}, '[{"msg": "é"}]'),
        ({"message": {"detail": 1}}, '{"detail": 1}'),
        ({"error": {"error_description": "e"}}, "e"),
        ([shaped("f")], "f"),
        ("plain JSON string", "plain JSON string"),
        ({"error": {"message": ""}, "message": "outer"}, "the upstream answered with status 418"),
        ({"error": {}}, "the upstream answered with status 418"),
        ({"error": None}, "the upstream answered with status 418"),
        ([], "the upstream answered with status 418"),
        (None, "the upstream answered with status 418"),
        (1, "the upstream answered with status 418"),
    ],
)
def test_the_message_is_found_wherever_it_stands(body: Any, message: str) -> None:
    assert str(failure(418, {}, json.dumps(body).encode(), 0.0)) == message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"upstream connect error or disconnect/reset before headers",
        b"<html><head><title>502 Bad Gateway</title></head></html>",
        b"\xff\xfe\x00",
        b'{"error": {"message": "cut',
        b"[" * 100_000,
        b'{"n":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_is_judged_by_its_status(body: bytes) -> None:
    found = failure(502, {}, body, 0.0)

    assert (found.kind, found.native) == (K.SERVER_ERROR, None)
    assert str(found) == "the upstream answered with status 502"


@pytest.mark.parametrize("body", [b"", b"<html><title>Attention Required!</title></html>", b'{"message":"Forbidden"}'])
def test_a_403_of_an_intermediary_does_not_blame_the_key(body: bytes) -> None:
    assert failure(403, {}, body, 0.0).kind == K.FORBIDDEN


@pytest.mark.parametrize(
    ("body", "native"),
    [
        (b'{"error": {"message": "x", "type": "t", "param": null, "code": "c"}}', True),
        (b'{ "error":{"message":"x"}, "request_id":"r" }', True),
        (b'{"error": {"message": "x", "code": 400}}', False),
        (b'{"error": {"message": {"a": 1}}}', False),
        (b'{"error": "x"}', False),
        (b'{"message": "x"}', False),
        (b'[{"error": {"message": "x"}}]', False),
    ],
)
def test_a_body_in_openai_s_shape_is_kept_to_the_byte(body: bytes, native: bool) -> None:
    assert failure(400, {}, body, 0.0).native == (body if native else None)


def test_param_and_code_are_kept_where_they_are_strings() -> None:
    good = failure(400, {}, json.dumps(shaped("x", param="messages[0]", code="invalid_value")).encode(), 0.0)
    bad = failure(400, {}, json.dumps(shaped("x", param=["a"], code=400)).encode(), 0.0)

    assert (good.param, good.code) == ("messages[0]", "invalid_value")
    assert (bad.param, bad.code) == (None, None)


def test_a_hint_is_taken_from_headers_or_text() -> None:
    body = json.dumps(shaped("Please try again in 20s.")).encode()

    assert failure(429, {}, body, 0.0).retry_after == 20.0
    assert failure(429, {"retry-after": "3"}, body, 0.0).retry_after == 3.0
    assert failure(429, {}, b"", 0.0).retry_after is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": 429}, K.RATE_LIMITED),
        ({"message": "x", "code": "429"}, K.RATE_LIMITED),
        ({"message": "x", "status": 503}, K.OVERLOADED),
        ({"message": "x", "status_code": 401}, K.KEY_REJECTED),
        ({"message": "x", "code": "rate_limit_exceeded"}, K.RATE_LIMITED),
        ({"message": "x", "type": "rate_limit_error"}, K.RATE_LIMITED),
        ({"message": "x", "type": "overloaded_error"}, K.OVERLOADED),
        ({"message": "x", "type": "service_unavailable_error"}, K.OVERLOADED),
        ({"message": "x", "type": "authentication_error"}, K.KEY_REJECTED),
        ({"message": "x", "type": "invalid_request_error"}, K.BAD_REQUEST),
        ({"message": "x", "type": "invalid_request_error", "code": "context_length_exceeded"}, K.CONTEXT_TOO_LONG),
        ({"message": "x", "type": "invalid_request_error", "code": "content_filter"}, K.CONTENT_FILTERED),
        ({"message": "x", "type": "invalid_request_error", "code": "invalid_api_key"}, K.KEY_REJECTED),
        ({"message": "x", "code": "insufficient_quota"}, K.KEY_REJECTED),
        ({"message": "x", "code": "content_filter"}, K.CONTENT_FILTERED),
        ({"message": "x", "code": "content_filter", "type": "server_error"}, K.CONTENT_FILTERED),
        ({"message": "x", "code": None, "innererror": FILTERED}, K.CONTENT_FILTERED),
        ({"message": "x", "code": "context_length_exceeded"}, K.CONTEXT_TOO_LONG),
        ({"message": "x", "code": "model_not_found"}, K.MODEL_MISSING),
        ({"message": "x", "code": "invalid_prompt"}, K.BAD_REQUEST),
        ({"message": "x", "code": "invalid_prompt", "type": "server_error", "status": 500}, K.SERVER_ERROR),
        ({"message": "x", "type": "server_error", "code": None}, K.SERVER_ERROR),
        ({"message": "x", "code": 502}, K.SERVER_ERROR),
        ({"message": "x", "code": 200}, K.SERVER_ERROR),
        ({"message": "x", "code": True}, K.SERVER_ERROR),
        ({"message": "x", "code": "²²²"}, K.SERVER_ERROR),
        ({"message": "x", "code": "9" * 5000}, K.SERVER_ERROR),
        ({"message": "x", "code": ["429"]}, K.SERVER_ERROR),
        ({"message": "x"}, K.SERVER_ERROR),
    ],
)
def test_an_error_in_a_200_is_judged_by_what_it_says(error: dict[str, Any], kind: FailureKind) -> None:
    value = {"error": error}

    found = failure_in_200(value, json.dumps(value).encode())

    assert found.kind == kind
    assert str(found) == "x"


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "This model's maximum context length is 8 tokens."}, K.CONTEXT_TOO_LONG, 400),
        ({"message": "Request too large for m: Limit 5, Requested 6.", "type": "tokens"}, K.TOO_LARGE, 429),
        ({"message": "Something broke."}, K.SERVER_ERROR, 500),
    ],
)
def test_the_words_of_an_error_in_a_200_count_too(error: dict[str, Any], kind: FailureKind, status: int) -> None:
    found = failure_in_200({"error": error}, b"")

    assert (found.kind, found.status) == (kind, status)


def test_an_error_in_a_200_without_words_has_words() -> None:
    assert str(failure_in_200({"error": {"code": 500}}, b"")) == "the upstream sent an error without a message"
    assert str(failure_in_200({"error": True}, b"")) == "the upstream sent an error without a message"
    assert str(failure_in_200({"error": "overloaded"}, b"")) == "overloaded"


def test_an_error_in_a_200_has_its_hint_and_its_shape() -> None:
    raw = b'{"error": {"message": "Please try again in 2s", "type": "requests"}}'

    found = failure_in_200(json.loads(raw), raw)

    assert (found.kind, found.retry_after, found.native) == (K.RATE_LIMITED, 2.0, raw)
