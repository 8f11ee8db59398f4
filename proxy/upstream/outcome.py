"""The client's error when no target could answer, or an answer broke off: maps failures to `ProxyError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.core.durations import duration_text
from proxy.core.errors import (
    BudgetExceeded,
    InvalidRequest,
    ModelNotFound,
    ProxyError,
    RateLimited,
    RequestTooLarge,
    Unavailable,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
)
from proxy.core.failures import RULES, FailureClass, FailureKind, FailureRule, UpstreamFailure
from proxy.core.model import Deployment
from proxy.core.record import AttemptRecord
from proxy.upstream.health import Block
from proxy.upstream.own_keys import rejected_key
from proxy.upstream.run import FailedTarget, worst

MINUTE = 60.0  # `retry-after` of a request that exceeds a limit by itself
_MOST_CHARACTERS = 300  # characters of a provider's message, if several targets are named
_MOST_NAMED = 8

_UNCHANGED = ("messages", "generate")  # formats whose clients receive the upstream's own errors
_OF_OPERATOR = (FailureKind.KEY_REJECTED, FailureKind.FORBIDDEN, FailureKind.WRONG_ADDRESS)

_REFUSED = {  # failures caused by the call itself: param and code of the 400
    FailureKind.CONTEXT_TOO_LONG: ("messages", "context_length_exceeded"),
    FailureKind.CONTENT_FILTERED: (None, "content_filter"),
    FailureKind.TOO_LARGE: (None, "no_candidate_available"),
}


def error_for(
    failed: Sequence[FailedTarget],
    attempts: Sequence[AttemptRecord],
    *,
    only: bool,
    rules: Mapping[FailureClass, FailureRule] = RULES,
) -> ProxyError:
    """Return the error after the last failure. It is not retryable, because all targets have been attempted.

    `only`: the plan had no other target. `rules` give the cooldown after a rate limit without `retry-after`.
    """
    chosen = worst(failed)
    error = _error_of(chosen, failed, attempts, only=only, rules=rules)
    if chosen.failure.format in _UNCHANGED:
        _pass_unchanged(error, chosen, failed, only=only)
    return error


def _error_of(
    chosen: FailedTarget,
    failed: Sequence[FailedTarget],
    attempts: Sequence[AttemptRecord],
    *,
    only: bool,
    rules: Mapping[FailureClass, FailureRule],
) -> ProxyError:
    """Return the error in the proxy's own words, but for a request that the upstream rejected."""
    failure = chosen.failure
    if not failure.verdict.sent:
        return _unsent(failure, _others(failed, chosen))
    if failure.kind in (FailureKind.BAD_REQUEST, FailureKind.CONFLICT):
        fields = {"param": failure.param, "code": failure.code}
        error = UpstreamRejected(str(failure), failure.status or 400, failure.native, fields)
        error.native_format = failure.format
        return error
    if failure.kind is FailureKind.KEY_REJECTED and chosen.deployment.provider.own_key is not None:
        return rejected_key(chosen.deployment, failure.status)
    others = _others(failed, chosen)
    if failure.kind in _REFUSED and not _is_from_proxy(failure):
        param, code = _REFUSED[failure.kind]
        return InvalidRequest(str(failure) + others, param=param, code=code, retryable=False)
    tried = f" ({len(attempts)} attempts)" if len(attempts) > 1 else ""
    where = f"`{chosen.deployment.name}`"
    what = str(failure).rstrip(". ")
    match failure.kind:
        case FailureKind.TOO_LARGE:
            return RequestTooLarge(f"{where}: {_words(chosen)}{tried}.{others}", retryable=False)
        case FailureKind.MODEL_MISSING if only:
            return ModelNotFound(f"{where}: the provider does not have this model: {what}", retryable=False)
        case FailureKind.RATE_LIMITED:
            message = f"{where}: the provider's rate limit is reached{tried}: {what}.{others}"
            seconds = rules["rate_limit"].rest if failure.retry_after is None else failure.retry_after
            return RateLimited(message, retry_after=seconds, retryable=False)
        case FailureKind.OVERLOADED:
            message = f"{where}: the provider is overloaded{tried}: {what}.{others}"
            return Unavailable(message, code="overloaded", retry_after=failure.retry_after, retryable=False)
        case FailureKind.FIRST_TOKEN_TIMEOUT:
            return UpstreamTimeout(f"{where}: {what}{tried}.{others}", retryable=False)
        case _:
            return UpstreamError(f"{where}: {_words(chosen)}{tried}.{others}", retryable=False)


def _pass_unchanged(error: ProxyError, chosen: FailedTarget, failed: Sequence[FailedTarget], *, only: bool) -> None:
    """Add the upstream's own error to `error`: its status, body and headers, in the format that the client uses.

    A failure that blames the proxy's key, the address or the model is described by the proxy. So are several failed
    targets, unless the failure is of the request, because clients read the reason from the upstream's words.
    """
    failure = chosen.failure
    if failure.kind in _OF_OPERATOR or (failure.kind is FailureKind.MODEL_MISSING and not only):
        return
    error.native_headers = failure.headers
    alone = all(each.deployment.name == chosen.deployment.name for each in failed)
    if failure.native is None or failure.status is None or not (alone or failure.failure_class == "content"):
        return
    error.native_body, error.native_format, error.native_status = failure.native, failure.format, failure.status
    error.retryable = True  # the upstream's headers decide


def _unsent(failure: UpstreamFailure, others: str) -> ProxyError:
    """Return the error if no request could be sent."""
    if failure.kind is FailureKind.OVER_BUDGET:
        return BudgetExceeded(f"{failure}{others}", retry_after=failure.retry_after)
    if failure.kind is FailureKind.OVER_LIMIT:
        seconds = failure.retry_after
        return RateLimited(f"{failure}{others}", retry_after=seconds or MINUTE, retryable=seconds is not None)
    return InvalidRequest(str(failure), param=failure.param, code=failure.code, retryable=False)


def _words(failed: FailedTarget) -> str:
    """Return the message for one failed target, without its name."""
    failure = failed.failure
    status = failure.status
    what = str(failure).rstrip(". ")[:_MOST_CHARACTERS]
    match failure.kind:
        case FailureKind.KEY_REJECTED:
            # The client's key is valid. The provider's message may contain a part of the provider key.
            if failed.deployment.provider.own_key is not None:
                return f"the provider rejected your own key `{failed.key_id}` or its account with status {status}"
            return f"the provider rejected the proxy's key `{failed.key_id}` or its account with status {status}"
        case FailureKind.MODEL_MISSING:
            return f"the provider does not have this model: {what}"
        case FailureKind.WRONG_ADDRESS:
            return f"no API answers at this address (status {status}); check `base_url` of the provider: {what}"
        case FailureKind.FORBIDDEN:
            return f"an intermediary before the provider's API rejected the call (status {status}): {what}"
        case FailureKind.TOO_LARGE if _is_from_proxy(failure):
            return f"a proxy before the provider's API rejected the size of the request (status {status})"
        case FailureKind.RATE_LIMITED | FailureKind.OVERLOADED:
            return f"{failure.kind.replace('_', ' ')}: {what}"
        case _:
            return what


def _others(failed: Sequence[FailedTarget], chosen: FailedTarget) -> str:
    """Return a sentence with the other failed targets, each with its newest failure."""
    newest = {each.deployment.name: each for each in failed if each.deployment.name != chosen.deployment.name}
    listed = "; ".join(f"`{name}`: {_words(each)}" for name, each in list(newest.items())[:_MOST_NAMED])
    return f" Also failed: {listed}." if listed else ""


def _is_from_proxy(failure: UpstreamFailure) -> bool:
    """Return whether a 413 came from a proxy, not from the API's token limit."""
    words = str(failure).lower()
    return failure.kind is FailureKind.TOO_LARGE and "limit" not in words and "tokens" not in words


def broken_error(failure: UpstreamFailure, deployment: Deployment | None) -> ProxyError:
    """Return the error of an answer that broke off after its commit point."""
    where = f"`{deployment.name}`" if deployment else "the upstream"
    kind = UpstreamTimeout if failure.status == 504 else UpstreamError
    return kind(f"The answer of {where} broke off: {str(failure).rstrip('. ')}.")


def reported_error(failure: UpstreamFailure) -> ProxyError:
    """Return the error that the upstream itself reported in a stream, with the upstream's message."""
    if failure.kind is FailureKind.RATE_LIMITED:
        return RateLimited(str(failure), code=failure.code)
    if failure.kind is FailureKind.OVERLOADED:
        return Unavailable(str(failure), code=failure.code or "overloaded")
    return UpstreamError(str(failure), code=failure.code)


def deadline_error(seconds: float) -> ProxyError:
    """Return the error for a call whose hard deadline of `seconds` has passed."""
    return UpstreamTimeout(
        f"No answer began within `resilience.deadline.hard` ({duration_text(seconds)}).",
        code="deadline_exceeded",
        retryable=False,
    )


def nothing_tried(blocks: Sequence[tuple[Deployment, Block]]) -> ProxyError:
    """Return the error if no attempt was possible: all keys in cooldown, or breakers open during a probe."""
    listed = "; ".join(f"`{deployment.name}`: {block.message}" for deployment, block in blocks[:_MOST_NAMED])
    limited = [block.retry_after for _, block in blocks if block.reason == FailureKind.RATE_LIMITED]
    if limited:
        return RateLimited(f"All targets are rate limited: {listed}.", retry_after=min(limited))
    open_for = [block.retry_after for _, block in blocks if block.reason == "circuit_open"]
    if open_for:
        message = f"No target can be asked: {listed}."
        return Unavailable(message, code="no_candidate_available", retry_after=max(1.0, min(open_for)))
    rejected = [deployment for deployment, block in blocks if block.reason == FailureKind.KEY_REJECTED]
    own = next((deployment for deployment in rejected if deployment.provider.own_key is not None), None)
    if own is not None:
        return rejected_key(own)
    if rejected:
        return UpstreamError(f"No target can be asked: {listed}.", retryable=False)
    return InvalidRequest(
        f"No target can be asked: {listed}.", param="router.key_id", code="no_candidate_available", retryable=False
    )
