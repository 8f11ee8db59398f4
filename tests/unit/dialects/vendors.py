"""Bodies of errors as vendors send them, and what each is: (dialect, vendor, status, body, kind).

A body that is a `str` is sent as it is, any other as JSON. Those without a vendor's documentation or recording behind
them are named `variant`.
"""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any

from proxy.core.failures import FailureKind

K = FailureKind
Row = tuple[str, str, int, Any, FailureKind]


def _e(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def _a(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _g(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def _page(title: str, server: str = "nginx") -> str:
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center><hr>{server}"


_BAD_KEY: list[Row] = [
    ("openai", "openai", 401, _e("Incorrect API key provided: sk-x.", code="invalid_api_key"), K.KEY_REJECTED),
    (
        "openai",
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Incorrect API key provided: xa***x. You can obtain an API key from https://console.x.ai.",
        },
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "gemini-compat",
        400,
        [_g(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")],
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "gemini-compat",
        400,
        [_g(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.")],
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "gemini-compat",
        400,
        [_g(400, "INVALID_ARGUMENT", "Missing or invalid Authorization header.")],
        K.KEY_REJECTED,
    ),
    ("openai", "variant", 400, _e("Invalid API Key", type="invalid_request_error"), K.KEY_REJECTED),
    ("openai", "variant", 400, {"error": "invalid api token"}, K.KEY_REJECTED),
    ("openai", "variant", 400, {"message": "Error: Your API key has expired."}, K.KEY_REJECTED),
    ("openai", "variant", 400, {"error": "invalid_api_key"}, K.KEY_REJECTED),
    ("openai", "variant", 422, _e("The API key is invalid."), K.KEY_REJECTED),
    (
        "openai",
        "huggingface",
        400,
        {"error": "Authorization header is correct, but the token seems invalid"},
        K.KEY_REJECTED,
    ),
    ("openai", "openrouter", 401, _e("Missing Authentication header", code=401), K.KEY_REJECTED),
    (
        "openai",
        "openrouter",
        400,
        _e(
            "Provider returned error",
            code=400,
            metadata={
                "provider_name": "Google",
                "raw": '{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}',
            },
        ),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "deepseek",
        401,
        _e(
            "Authentication Fails, Your api key: ****-key is invalid",
            type="authentication_error",
            code="invalid_request_error",
        ),
        K.KEY_REJECTED,
    ),
    ("openai", "mistral", 401, {"detail": "Invalid API Key"}, K.KEY_REJECTED),
    ("openai", "ollama", 401, _e("Unauthorized", type="api_error", param=None, code=None), K.KEY_REJECTED),
    ("openai", "variant", 400, _e("Unauthorized"), K.KEY_REJECTED),
    ("openai", "perplexity", 401, _page("401 Authorization Required", "openresty/1.25.3.1"), K.KEY_REJECTED),
    (
        "openai",
        "azure",
        401,
        {"statusCode": 401, "message": "Access denied due to invalid subscription key or wrong API endpoint."},
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "azure",
        401,
        _e("The principal lacks the required data action.", code="PermissionDenied"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "alibaba",
        401,
        _e("Incorrect API key provided.", type="invalid_request_error", code="invalid_api_key"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "alibaba",
        400,
        {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"},
        K.KEY_REJECTED,
    ),
    ("openai", "moonshot", 401, _e("Invalid Authentication", type="invalid_authentication_error"), K.KEY_REJECTED),
    (
        "openai",
        "cerebras",
        401,
        {"message": "Wrong API Key", "type": "invalid_request_error", "param": "api_key", "code": "wrong_api_key"},
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "cloudflare",
        400,
        {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "messages": []},
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "apigee",
        400,
        {"fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}},
        K.KEY_REJECTED,
    ),
    ("openai", "openai", 403, _e("Country not supported", code="unsupported_country_region_territory"), K.KEY_REJECTED),
    ("anthropic", "anthropic", 401, _a("authentication_error", "invalid x-api-key"), K.KEY_REJECTED),
    ("anthropic", "anthropic", 400, _a("authentication_error", "no"), K.KEY_REJECTED),
    (
        "anthropic",
        "anthropic",
        400,
        _a(
            "invalid_request_error",
            "This credential is only authorized for use with one application and cannot be used for other API requests.",
        ),
        K.KEY_REJECTED,
    ),
    (
        "anthropic",
        "anthropic",
        403,
        _a("permission_error", "Your API key does not have permission to use the specified resource."),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "gemini",
        400,
        _g(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", {"reason": "API_KEY_INVALID"}),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "gemini",
        400,
        _g(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "gemini",
        400,
        _g(400, "INVALID_ARGUMENT", "no words for it", {"reason": "API_KEY_INVALID"}),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "gemini",
        400,
        _g(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "vertex",
        400,
        _g(
            400,
            "FAILED_PRECONDITION",
            "$grpcMessage",
            {
                "detail": "[ORIGINAL ERROR] generic::failed_precondition: User location is not supported for the API use."
            },
        ),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "gemini",
        403,
        _g(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "vertex",
        403,
        _g(
            403,
            "PERMISSION_DENIED",
            "Firebase ML API has not been used in project 1 before or it is disabled.",
            {"reason": "SERVICE_DISABLED"},
        ),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "vertex",
        403,
        _g(
            403,
            "PERMISSION_DENIED",
            "Permission 'aiplatform.endpoints.predict' denied on resource '//x' (or it may not exist).",
        ),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "vertex",
        401,
        _g(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        K.KEY_REJECTED,
    ),
]
_ACCOUNT: list[Row] = [
    (
        "openai",
        "openai",
        429,
        _e(
            "You exceeded your current quota, please check your plan and billing details.",
            type="insufficient_quota",
            code="insufficient_quota",
        ),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "openai",
        400,
        _e("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "openai",
        400,
        _e("Billing hard limit has been reached", type="invalid_request_error", code="billing_hard_limit_reached"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "openai",
        429,
        _e("Your account is not active, please check your billing details on our website.", code="billing_not_active"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "openai",
        400,
        _e("Your organization must be verified to stream this model.", param="stream", code="unsupported_value"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "anthropic-compat",
        400,
        _e("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "deepseek",
        402,
        _e("Insufficient Balance", type="unknown_error", code="invalid_request_error"),
        K.KEY_REJECTED,
    ),
    ("openai", "variant", 400, _e("Insufficient Balance"), K.KEY_REJECTED),
    ("openai", "variant", 409, _e("Insufficient credits. Add more using https://example.com"), K.KEY_REJECTED),
    ("openai", "variant", 400, {"detail": "Your account has been suspended."}, K.KEY_REJECTED),
    ("openai", "openrouter", 402, _e("Insufficient credits", code=402), K.KEY_REJECTED),
    ("openai", "openrouter", 403, _e("Key limit exceeded (total limit).", code=403), K.KEY_REJECTED),
    (
        "openai",
        "xai",
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Your newly created teams doesn't have any credits yet.",
        },
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "xai",
        429,
        {
            "code": "Some resource has been exhausted",
            "error": "Your team x has either used all available credits or reached its monthly spending limit.",
        },
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "groq",
        400,
        _e(
            "Organization has been restricted. Please reach out to support.",
            type="invalid_request_error",
            code="organization_restricted",
        ),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "fireworks",
        412,
        _e(
            "Account acme is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.",
            code="PRECONDITION_FAILED",
        ),
        K.KEY_REJECTED,
    ),
    ("openai", "together", 402, _e("Credit limit exceeded", type="credit_limit", code="credit_limit"), K.KEY_REJECTED),
    (
        "openai",
        "huggingface",
        402,
        {"error": "You have exceeded your monthly included credits for Inference Providers."},
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "variant",
        400,
        {"error": "You have exceeded your monthly included credits for Inference Providers."},
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "alibaba",
        400,
        {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."},
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "alibaba",
        403,
        _e("The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly"),
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "moonshot",
        429,
        _e(
            "Your account is suspended, please check your plan and billing details", type="exceeded_current_quota_error"
        ),
        K.KEY_REJECTED,
    ),
    ("openai", "zhipu", 429, _e("余额不足或无可用资源包,请充值。", code="1113"), K.KEY_REJECTED),
    (
        "openai",
        "cerebras",
        402,
        {"message": "Payment required.", "type": "payment_required_error", "code": "payment_required"},
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "minimax",
        400,
        {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        K.KEY_REJECTED,
    ),
    (
        "anthropic",
        "anthropic",
        400,
        _a(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
        ),
        K.KEY_REJECTED,
    ),
    (
        "anthropic",
        "anthropic",
        400,
        _a(
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        ),
        K.KEY_REJECTED,
    ),
    (
        "anthropic",
        "anthropic",
        400,
        _a("invalid_request_error", "This organization has been disabled."),
        K.KEY_REJECTED,
    ),
    ("anthropic", "anthropic", 402, _a("billing_error", "pay"), K.KEY_REJECTED),
    (
        "gemini",
        "gemini",
        400,
        _g(
            400,
            "FAILED_PRECONDITION",
            "Gemini API free tier is not available in your country. Please enable billing on your project.",
        ),
        K.KEY_REJECTED,
    ),
    (
        "gemini",
        "vertex",
        403,
        _g(403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", {"reason": "BILLING_DISABLED"}),
        K.KEY_REJECTED,
    ),
]
_NO_MODEL: list[Row] = [
    (
        "openai",
        "openai",
        404,
        _e("The model `x` does not exist or you do not have access to it.", code="model_not_found"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "openai",
        400,
        _e("The requested model 'x' does not exist.", code="model_not_found", param="model"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "openai",
        403,
        _e("Project `p` does not have access to model `x`", code="model_not_found"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "openai",
        403,
        _e("You are not allowed to sample from this model", type="invalid_request_error"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "openai",
        404,
        _e("This is not a chat model and thus not supported in the v1/chat/completions endpoint.", param="model"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "groq",
        400,
        _e("The model `x` has been decommissioned and is no longer supported.", code="model_decommissioned"),
        K.MODEL_MISSING,
    ),
    ("openai", "variant", 400, _e("The model x was retired on 1 May."), K.MODEL_MISSING),
    ("openai", "variant", 400, _e("This model has been deprecated."), K.MODEL_MISSING),
    ("openai", "variant", 422, {"detail": "Model 'x' not found"}, K.MODEL_MISSING),
    ("openai", "variant", 400, {"error": {"message": "gone", "type": "model_not_available"}}, K.MODEL_MISSING),
    (
        "openai",
        "groq",
        400,
        _e("The model `x` requires terms acceptance.", code="model_terms_required"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "groq",
        403,
        _e("The model `x` is blocked at the project level.", code="model_permission_blocked_project"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "deepseek",
        400,
        _e("Model Not Exist", type="invalid_request_error", code="invalid_request_error"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "mistral",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"},
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "azure",
        404,
        _e("The API deployment for this resource does not exist.", code="DeploymentNotFound"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "azure",
        400,
        _e("The chatCompletion operation does not work with the specified model, x.", code="OperationNotSupported"),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "xai",
        404,
        {
            "code": "Some requested entity was not found",
            "error": "The model grok-9 does not exist or your team abc does not have access to it.",
        },
        K.MODEL_MISSING,
    ),
    ("openai", "openrouter", 404, _e("No endpoints found for x/y.", code=404), K.MODEL_MISSING),
    ("openai", "openrouter", 400, _e("x/y is not a valid model ID", code=400), K.MODEL_MISSING),
    (
        "openai",
        "together",
        404,
        _e(
            "Unable to access model x. Please visit the site.", type="invalid_request_error", code="model_not_available"
        ),
        K.MODEL_MISSING,
    ),
    ("openai", "together", 400, _e("Unable to access non-serverless model x."), K.MODEL_MISSING),
    (
        "openai",
        "fireworks",
        404,
        _e("Model not found, inaccessible, and/or not deployed", code="NOT_FOUND"),
        K.MODEL_MISSING,
    ),
    ("openai", "cohere", 404, {"id": "1", "message": "model 'x' was removed on September 15, 2025."}, K.MODEL_MISSING),
    (
        "openai",
        "cerebras",
        404,
        {
            "message": "Model x does not exist or you do not have access to it.",
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found",
        },
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "huggingface",
        400,
        _e(
            "The requested model 'x' is not supported by any provider you have enabled.",
            code="model_not_supported",
            param="model",
        ),
        K.MODEL_MISSING,
    ),
    ("openai", "ollama", 404, _e('model "x" not found, try pulling it first', type="api_error"), K.MODEL_MISSING),
    ("openai", "ollama", 404, {"error": "model 'x' not found"}, K.MODEL_MISSING),
    (
        "openai",
        "vllm",
        404,
        {
            "object": "error",
            "message": "The model `x` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
        K.MODEL_MISSING,
    ),
    ("openai", "lmstudio", 400, {"error": "No models loaded. Please load a model."}, K.MODEL_MISSING),
    (
        "openai",
        "litellm",
        400,
        _e("/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view available models."),
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "databricks",
        404,
        {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "The given endpoint does not exist."},
        K.MODEL_MISSING,
    ),
    ("openai", "snowflake", 400, {"message": "unknown model llama-9", "request_id": "r"}, K.MODEL_MISSING),
    (
        "openai",
        "cloudflare",
        400,
        {"errors": [{"message": "AiError: No such model @cf/x", "code": 5007}], "success": False},
        K.MODEL_MISSING,
    ),
    ("openai", "bedrock", 400, {"message": "The provided model identifier is invalid."}, K.MODEL_MISSING),
    (
        "openai",
        "bedrock",
        400,
        {"message": "Invocation of model ID x with on-demand throughput isn’t supported."},
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "bedrock",
        403,
        {"message": "You don't have access to the model with the specified model ID."},
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "nvidia",
        404,
        {"status": 404, "title": "Not Found", "detail": "Function 'f': Not found for account 'a'"},
        K.MODEL_MISSING,
    ),
    ("openai", "variant", 410, _e("The model x is gone."), K.MODEL_MISSING),
    (
        "openai",
        "alibaba",
        403,
        {
            "code": "AccessDenied.Unpurchased",
            "message": "Access to model denied. Please make sure you are eligible for using the model.",
        },
        K.MODEL_MISSING,
    ),
    (
        "openai",
        "moonshot",
        404,
        _e("Not found the model x or Permission denied", type="resource_not_found_error"),
        K.MODEL_MISSING,
    ),
    ("openai", "zhipu", 400, _e("模型不存在,请检查模型代码。", code="1211"), K.MODEL_MISSING),
    (
        "openai",
        "volcengine",
        404,
        _e(
            "The model or endpoint x does not exist or you do not have access to it.",
            code="InvalidEndpointOrModel.NotFound",
        ),
        K.MODEL_MISSING,
    ),
    ("anthropic", "anthropic", 404, _a("not_found_error", "model: there-is-no-such-model"), K.MODEL_MISSING),
    (
        "gemini",
        "gemini",
        404,
        _g(
            404,
            "NOT_FOUND",
            "models/x is not found for API version v1beta, or is not supported for generateContent. Call ListModels.",
        ),
        K.MODEL_MISSING,
    ),
    (
        "gemini",
        "vertex",
        404,
        _g(
            404,
            "NOT_FOUND",
            "Publisher Model `projects/p/models/x` was not found or your project does not have access to it.",
        ),
        K.MODEL_MISSING,
    ),
]
_ADDRESS: list[Row] = [
    *[
        ("openai", "nginx", status, _page(f"{status} x"), K.WRONG_ADDRESS)
        for status in (400, 404, 405, 407, 410, 411, 414, 421, 422, 426, 431, 495, 497)
    ],
    *[("anthropic", "cloudflare", status, _page(f"{status} x"), K.WRONG_ADDRESS) for status in (400, 404, 405)],
    *[
        (
            "gemini",
            "google",
            status,
            "<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title>",
            K.WRONG_ADDRESS,
        )
        for status in (400, 404, 405)
    ],
    ("openai", "s3", 405, '<?xml version="1.0"?><Error><Code>MethodNotAllowed</Code></Error>', K.WRONG_ADDRESS),
    (
        "openai",
        "openai",
        404,
        _e("Invalid URL (POST /v1/v1/chat/completions)", type="invalid_request_error"),
        K.WRONG_ADDRESS,
    ),
    (
        "openai",
        "groq",
        404,
        _e("Unknown request URL: POST /x. Please check the URL for typos.", code="unknown_url"),
        K.WRONG_ADDRESS,
    ),
    ("openai", "azure", 404, _e("Resource not found", code="404"), K.WRONG_ADDRESS),
    ("openai", "fastapi", 404, {"detail": "Not Found"}, K.WRONG_ADDRESS),
    ("openai", "fastapi", 405, {"detail": "Method Not Allowed"}, K.WRONG_ADDRESS),
    (
        "openai",
        "spring",
        404,
        {"timestamp": "t", "status": 404, "error": "Not Found", "path": "/v1/chat/completions"},
        K.WRONG_ADDRESS,
    ),
    ("openai", "kong", 404, {"message": "no Route matched with those values"}, K.WRONG_ADDRESS),
    ("openai", "express", 404, "Cannot POST /v1/chat/completions", K.WRONG_ADDRESS),
    (
        "openai",
        "fastify",
        404,
        {"message": "Route POST:/x not found", "error": "Not Found", "statusCode": 404},
        K.WRONG_ADDRESS,
    ),
    ("openai", "ollama", 404, "404 page not found", K.WRONG_ADDRESS),
    ("openai", "llamacpp", 404, _e("File Not Found", code=404, type="not_found_error"), K.WRONG_ADDRESS),
    ("openai", "lmstudio", 404, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, K.WRONG_ADDRESS),
    ("openai", "variant", 404, "", K.WRONG_ADDRESS),
    ("openai", "variant", 405, "", K.WRONG_ADDRESS),
    ("openai", "variant", 421, _e("Misdirected"), K.WRONG_ADDRESS),
    ("anthropic", "anthropic", 404, _a("not_found_error", "Not Found"), K.WRONG_ADDRESS),
    ("openai", "cloudflare", 403, _page("Attention Required! | Cloudflare"), K.FORBIDDEN),
    ("openai", "aws", 403, {"message": "Forbidden"}, K.FORBIDDEN),
    (
        "openai",
        "azure",
        403,
        _e("Public access is disabled. Please configure private endpoint.", code="403"),
        K.FORBIDDEN,
    ),
    ("openai", "azure", 403, _e("Access denied due to Virtual Network/Firewall rules.", code="403"), K.FORBIDDEN),
    ("openai", "variant", 451, _e("Not here"), K.FORBIDDEN),
    ("openai", "nginx", 413, _page("413 Request Entity Too Large"), K.TOO_LARGE),
]
_TIME: list[Row] = [
    ("openai", "openrouter", 408, _e("Timed out", code=408), K.FIRST_TOKEN_TIMEOUT),
    *[("openai", "variant", status, _e("wait"), K.SERVER_ERROR) for status in (424, 460, 499)],
    *[("openai", "variant", status, _e("wait"), K.CONFLICT) for status in (409, 423, 425)],
    *[("openai", "variant", status, "", K.SERVER_ERROR) for status in (424, 460, 499, 500, 501, 502, 504)],
    *[
        ("openai", "cloudflare", status, _page(f"{status}: x"), K.SERVER_ERROR)
        for status in (520, 521, 522, 523, 524, 525, 526, 527, 530)
    ],
    ("openai", "groq", 498, _e("Flex tier capacity exceeded", code="flex_tier_capacity_exceeded"), K.OVERLOADED),
    ("openai", "huggingface", 503, {"error": "Model x is currently loading", "estimated_time": 20.0}, K.OVERLOADED),
    ("openai", "llamacpp", 503, _e("Loading model", code=503, type="unavailable_error"), K.OVERLOADED),
    ("openai", "nginx", 429, _page("429 Too Many Requests"), K.RATE_LIMITED),
    (
        "openai",
        "gemini-compat",
        429,
        [_g(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details.")],
        K.RATE_LIMITED,
    ),
    (
        "openai",
        "openai",
        429,
        _e(
            "Rate limit reached for x on requests per min. Visit the site to add a payment method.",
            type="requests",
            code="rate_limit_exceeded",
        ),
        K.RATE_LIMITED,
    ),
    (
        "openai",
        "mistral",
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded for this model.",
            "type": "service_tier_capacity_exceeded",
            "code": "3505",
        },
        K.RATE_LIMITED,
    ),
    (
        "openai",
        "cohere",
        429,
        {"message": "You are using a Trial key, which is limited to 10 API calls / minute."},
        K.RATE_LIMITED,
    ),
    (
        "openai",
        "moonshot",
        429,
        _e("The engine is currently overloaded, please try again later", type="engine_overloaded_error"),
        K.RATE_LIMITED,
    ),
    (
        "anthropic",
        "anthropic",
        429,
        _a("rate_limit_error", "This request would exceed your organization's rate limit"),
        K.RATE_LIMITED,
    ),
    ("anthropic", "anthropic", 529, _a("overloaded_error", "Overloaded"), K.OVERLOADED),
    (
        "gemini",
        "gemini",
        429,
        _g(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
        K.RATE_LIMITED,
    ),
    ("gemini", "vertex", 499, _g(499, "CANCELLED", "The operation was cancelled."), K.SERVER_ERROR),
]
_NO_MODEL += [
    ("openai", "variant", 400, _e(message), K.MODEL_MISSING)
    for message in (
        "The engine 'x' does not exist",
        "model 'x' is offline",
        "The model has reached end of life",
        "Access to this model is not permitted",
    )
]
_ACCOUNT += [
    ("openai", "variant", 400, _e(message), K.KEY_REJECTED)
    for message in (
        "Quota exceeded for your plan",
        "Your subscription has expired",
        "Account balance is negative",
        "You have insufficient permissions for this operation",
        "No credits left on your account, please top up",
    )
]
_CONTENT: list[Row] = [
    (
        "openai",
        "azure",
        400,
        _e(
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            code="content_filter",
        ),
        K.CONTENT_FILTERED,
    ),
    (
        "openai",
        "xai",
        403,
        {
            "code": "The caller does not have permission",
            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
        },
        K.CONTENT_FILTERED,
    ),
    (
        "openai",
        "alibaba",
        400,
        _e("Input data may contain inappropriate content.", code="data_inspection_failed"),
        K.CONTENT_FILTERED,
    ),
    (
        "openai",
        "openrouter",
        403,
        _e("Input was flagged", code=403, metadata={"reasons": ["violence"]}),
        K.CONTENT_FILTERED,
    ),
    ("openai", "openai", 400, _e("Your request was rejected as a result of our safety system."), K.CONTENT_FILTERED),
    (
        "anthropic",
        "anthropic",
        400,
        _a("invalid_request_error", "Output blocked by content filtering policy"),
        K.CONTENT_FILTERED,
    ),
    (
        "openai",
        "vllm",
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 8 tokens.",
            "type": "BadRequestError",
            "code": 400,
        },
        K.CONTEXT_TOO_LONG,
    ),
    (
        "openai",
        "llamacpp",
        400,
        _e("the request exceeds the available context size", code=400, type="exceed_context_size_error"),
        K.CONTEXT_TOO_LONG,
    ),
    (
        "openai",
        "tgi",
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
            "error_type": "validation",
        },
        K.CONTEXT_TOO_LONG,
    ),
    (
        "gemini",
        "gemini",
        400,
        _g(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
        K.CONTEXT_TOO_LONG,
    ),
    (
        "anthropic",
        "anthropic",
        400,
        _a("invalid_request_error", "prompt is too long: 3333404 tokens > 200000 maximum"),
        K.CONTEXT_TOO_LONG,
    ),
]
# Messages alone, in OpenAI's shape with status 400: (vendor, message, kind).
_WORDS: list[tuple[str, str, FailureKind]] = [
    ("gemini-compat", "Multiple authentication credentials received. Please pass only one.", K.KEY_REJECTED),
    ("variant", "API key is currently blocked: x", K.KEY_REJECTED),
    ("variant", "Token expired", K.KEY_REJECTED),
    ("variant", "License expired", K.KEY_REJECTED),
    ("variant", "No required SSL certificate was sent", K.KEY_REJECTED),
    ("variant", "Access from your region is not supported", K.KEY_REJECTED),
    ("azure", "The subscription is disabled.", K.KEY_REJECTED),
    ("variant", "You don't have enough funds to perform this request", K.KEY_REJECTED),
    ("novita", "not enough balance", K.KEY_REJECTED),
    ("variant", "You have no remaining quota for this month", K.KEY_REJECTED),
    ("bedrock", "Operation not allowed", K.KEY_REJECTED),
    ("snowflake", "The model you requested is unavailable in your region.", K.KEY_REJECTED),
    (
        "bedrock",
        "Access denied. This Model is marked by provider as Legacy and you have not been using the model.",
        K.MODEL_MISSING,
    ),
    ("variant", "claude-2 was retired on July 21, 2025", K.MODEL_MISSING),
    ("variant", "Model m is disabled", K.MODEL_MISSING),
    ("variant", "No route found for model m", K.MODEL_MISSING),
    ("one-api", "No available channel for model m under group default", K.MODEL_MISSING),
    ("variant", "unknown model m", K.MODEL_MISSING),
    ("variant", "m has reached its end of life", K.MODEL_MISSING),
    ("variant", "There is no model named m", K.MODEL_MISSING),
    ("variant", "Model is not supported: m", K.MODEL_MISSING),
    ("variant", "Your plan does not include access to this model", K.MODEL_MISSING),
    ("variant", "Account balance too low", K.KEY_REJECTED),
    ("variant", "Payment method declined.", K.KEY_REJECTED),
    ("variant", "Monthly spending cap reached", K.KEY_REJECTED),
    ("variant", "The model is not ready for inference", K.SERVER_ERROR),
    ("vertex", "Publisher Model projects/p/models/m is not servable in region x.", K.MODEL_MISSING),
    ("lmstudio", "Model unloaded.", K.SERVER_ERROR),
    ("lmstudio", "The model has crashed without additional information. (Exit code: 1)", K.SERVER_ERROR),
    ("huggingface", "Bad Request: Invalid state - The endpoint is paused", K.SERVER_ERROR),
    ("nvidia", "Function id 'f': DEGRADED function cannot be invoked", K.SERVER_ERROR),
    ("variant", "Service is under maintenance", K.SERVER_ERROR),
    ("azure", "API version not supported", K.WRONG_ADDRESS),
    ("azure", "Model m is enabled only for api versions 2024-12-01-preview and later", K.WRONG_ADDRESS),
    ("moonshot", "Invalid request: Your request exceeded model token limit: 8192", K.CONTEXT_TOO_LONG),
    ("snowflake", "max tokens of 4096 exceeded", K.CONTEXT_TOO_LONG),
    ("zhipu", "Prompt 超长", K.CONTEXT_TOO_LONG),
    ("deepseek", "Content Exists Risk", K.CONTENT_FILTERED),
]
_SHAPES: list[Row] = [
    ("openai", "litellm", 400, _e("Invalid model name passed in model=m.", type="None", param="None"), K.MODEL_MISSING),
    ("openai", "litellm", 400, _e("Authentication Error, expected.", type="auth_error", param="None"), K.KEY_REJECTED),
    ("openai", "litellm", 400, _e("Budget has been exceeded!", type="budget_exceeded"), K.KEY_REJECTED),
    ("openai", "novita", 400, {"code": 400, "reason": "NOT_ENOUGH_BALANCE", "message": "no"}, K.KEY_REJECTED),
    ("openai", "volcengine", 400, _e("It may be wrong.", code="SensitiveContentDetected"), K.CONTENT_FILTERED),
    (
        "openai",
        "github",
        413,
        _e("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"),
        K.TOO_LARGE,
    ),
    (
        "openai",
        "cloudflare",
        400,
        {
            "success": False,
            "errors": [
                {
                    "code": 6003,
                    "message": "Invalid request headers",
                    "error_chain": [{"code": 6111, "message": "Invalid format for Authorization header"}],
                }
            ],
        },
        K.KEY_REJECTED,
    ),
    (
        "openai",
        "cloudflare",
        400,
        {"success": False, "error": [{"code": 2001, "message": "Please configure AI Gateway in the dashboard"}]},
        K.WRONG_ADDRESS,
    ),
    (
        "openai",
        "google",
        403,
        _e("Rate Limit Exceeded", code="rateLimitExceeded"),
        K.RATE_LIMITED,
    ),
    (
        "anthropic",
        "anthropic",
        400,
        _a("invalid_request_error", "You have reached your specified workspace API usage limits."),
        K.KEY_REJECTED,
    ),
    (
        "anthropic",
        "anthropic",
        400,
        _a("invalid_request_error", "anthropic-version: header is required"),
        K.WRONG_ADDRESS,
    ),
]
_SHAPES += [("openai", vendor, 400, _e(message), kind) for vendor, message, kind in _WORDS]
VENDORS: list[Row] = [*_BAD_KEY, *_ACCOUNT, *_NO_MODEL, *_ADDRESS, *_TIME, *_CONTENT, *_SHAPES]

# The client's own faults, most of which mention the words that others are blamed with.
_CLIENTS: list[tuple[str, int, Any]] = [
    ("openai", 400, _e("Function 'check_account' has bad arguments: account is suspended")),
    ("openai", 400, _e("Missing api_key property in function schema")),
    ("openai", 400, _e("The requested model does not support the response_format parameter")),
    ("openai", 400, _e("Invalid parameter: billing_address is not allowed in metadata")),
    ("openai", 400, _e("Invalid value for 'model_settings'", type="invalid_request_error", code="invalid_value")),
    ("openai", 400, _e("Unknown parameter: 'model_settings'.", param="model_settings", code="unknown_parameter")),
    ("openai", 400, _e("Unknown model parameter: foo")),
    ("openai", 400, _e("Invalid model_kwargs: unexpected member")),
    ("openai", 400, _e("Unsupported model parameter 'top_k'")),
    ("openai", 400, _e("tools.0.function.name 'api_key' is invalid")),
    ("openai", 400, _e("Invalid 'tools[0].function.name': 'api key not valid' does not match the pattern.")),
    (
        "openai",
        400,
        _e("Invalid value: 'insufficient_quota'. Supported values are: 'auto' and 'none'.", param="tool_choice"),
    ),
    ("openai", 400, _e('messages[0].content: "Your credit balance is too low" is not an object')),
    ("openai", 400, _e("Missing required parameter: 'messages[1].tool_calls[0].function.arguments.model'.")),
    (
        "openai",
        400,
        _e(
            "Unsupported parameter: 'max_tokens' is not supported with this model.",
            param="max_tokens",
            code="unsupported_parameter",
        ),
    ),
    (
        "openai",
        400,
        _e(
            "Unsupported value: 'temperature' does not support 0.2 with this model.",
            param="temperature",
            code="unsupported_value",
        ),
    ),
    ("openai", 400, _e("Web search options not supported with this model.", param="web_search_options")),
    ("openai", 400, _e("'max_tokens' is deprecated for this model.")),
    ("openai", 400, _e("Additional properties are not allowed ('model' was unexpected) - 'response_format'")),
    (
        "openai",
        400,
        _e(
            "Invalid schema for function 'billing': 'account is suspended' is not valid under any of the given schemas.",
            code="invalid_function_parameters",
        ),
    ),
    ("openai", 400, _e("Tool call validation failed: Invalid API key", code="tool_use_failed")),
    ("openai", 400, _e("Error while downloading https://x/unauthorized.png.", code="invalid_image_url")),
    ("openai", 400, _e("No tool output found for function call call_1.", param="input")),
    ("openai", 404, _e("No such File object: file-abc", param="id")),
    ("openai", 404, _e("Previous response with id 'resp_1' not found.", code="previous_response_not_found")),
    ("openai", 413, _e("Upload too large")),
    ("openai", 415, _e("Unsupported media type: audio/x", type="invalid_request_error")),
    ("openai", 422, {"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "Invalid API key"}]}),
    ("openai", 422, _e("Unprocessable")),
    ("openai", 422, "Failed to deserialize the JSON body into the target type: missing field `messages`"),
    ("openai", 400, ""),
    ("anthropic", 400, _a("invalid_request_error", "messages.0.content.0.text: invalid api key")),
    ("anthropic", 400, _a("invalid_request_error", "tools.0.custom.name: String should match pattern")),
    (
        "anthropic",
        400,
        _a(
            "invalid_request_error",
            "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-3",
        ),
    ),
    ("anthropic", 400, _a("invalid_request_error", "metadata.api_key: Extra inputs are not permitted")),
    ("anthropic", 413, _a("request_too_large", "Request exceeds the maximum size")),
    ("gemini", 400, _g(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")),
    (
        "gemini",
        400,
        _g(
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"api_key\" at 'tools[0]': Cannot find field.",
            {"reason": "x", "fieldViolations": []},
        ),
    ),
    (
        "gemini",
        400,
        _g(
            400,
            "INVALID_ARGUMENT",
            "* GenerateContentRequest.tools[0].function_declarations[0].name: Invalid function name.",
        ),
    ),
    ("gemini", 400, _g(400, "FAILED_PRECONDITION", "The File f is not in an ACTIVE state and usage is not allowed.")),
    (
        "gemini",
        403,
        _g(403, "PERMISSION_DENIED", "You do not have permission to access the File f or it may not exist."),
    ),
    ("gemini", 404, _g(404, "NOT_FOUND", "Not found: cached content metadata 8754364356910645200.")),
]
_CLIENTS += [
    # what a client named, and what that place answered
    ("openai", 400, _e("Unable to fetch image from https://x.example/a.png: 403 Forbidden. Invalid API key.")),
    ("openai", 400, _e("Failed to download file: the server answered: unauthorized")),
    ("openai", 400, _e("MCP server x: authentication failed. Invalid access token")),
    ("openai", 424, _e("Error retrieving tool list from MCP server: 'x'. Http status code: 401", param="tools")),
    ("openai", 404, _e("Item with id 'rs_1' not found. Items are not persisted when `store` is false.")),
    ("openai", 404, _e("Conversation with id 'conv_1' not found.")),
    ("openai", 404, _e("Tool 'foo' not found in tools")),
    ("openai", 404, _e("Previous message not found")),
    ("openai", 404, _e("This one is not known here", param="voice")),
    ("anthropic", 404, _a("not_found_error", "Container not found: container_1")),
    ("anthropic", 404, _a("not_found_error", "Skill not found: skill_1")),
    ("openai", 400, _e("`max_tokens` must be greater than `budget_tokens`. Thinking budget exceeded.")),
    ("openai", 400, _e("The image URL's token expired")),
    ("openai", 400, _e("`functions` is deprecated, use `tools` instead")),
    ("openai", 400, _e("Requested modality 'audio' is not available for this model", param="modalities")),
]
CLIENTS: list[Row] = [(dialect, "client", status, body, K.BAD_REQUEST) for dialect, status, body in _CLIENTS]
