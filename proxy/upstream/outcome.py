"""What the client is told when no target could answer: from failures to `ProxyError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.core.durations import duration_text
from proxy.core.errors import (
    InvalidRequest,
    ModelNotFound,
    ProxyError,
    RateLimited,
    Unavailable,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
)
from proxy.core.failures import RULES, FailureClass, FailureKind, FailureRule, UpstreamFailure
from proxy.core.types import Attempt, Deployment
from proxy.upstream.health import Block

_REFUSED = {  # for what the call itself is: param and code of the 400
    FailureKind.CONTEXT_TOO_LONG: ("messages", "context_length_exceeded"),
    FailureKind.CONTENT_FILTERED: (None, "content_filter"),
    FailureKind.TOO_LARGE: (None, "no_candidate_available"),
}


def error_for(
    failure: UpstreamFailure,
    attempts: Sequence[Attempt],
    *,
    only: bool,
    rules: Mapping[FailureClass, FailureRule] = RULES,
) -> ProxyError:
    """The error after the last failure; another try is of no use, since all targets have been tried.

    `only` says that the plan had no other target; by the `rules` a key rests whose provider does not say for how long.
    """
    if failure.kind is FailureKind.UNSUPPORTED:
        return InvalidRequest(str(failure), param=failure.param, code=failure.code, retryable=False)
    last = attempts[-1]
    where = f"`{last.provider}/{last.model}`"
    tried = f" ({len(attempts)} attempts)" if len(attempts) > 1 else ""
    what = str(failure).rstrip(". ")
    match failure.kind:
        case FailureKind.BAD_REQUEST:
            fields = {"param": failure.param, "code": failure.code}
            return UpstreamRejected(str(failure), failure.status or 400, failure.native, fields)
        case FailureKind.CONTEXT_TOO_LONG | FailureKind.CONTENT_FILTERED | FailureKind.TOO_LARGE as kind:
            param, code = _REFUSED[kind]
            return InvalidRequest(str(failure), param=param, code=code, retryable=False)
        case FailureKind.MODEL_MISSING if only:
            return ModelNotFound(f"{where}: the provider does not have this model: {what}", retryable=False)
        case FailureKind.RATE_LIMITED:
            message = f"{where}: the provider's rate limit is reached{tried}: {what}."
            seconds = rules["rate_limit"].rest if failure.retry_after is None else failure.retry_after
            return RateLimited(message, retry_after=seconds, retryable=False)
        case FailureKind.OVERLOADED:
            message = f"{where}: the provider is overloaded{tried}: {what}."
            return Unavailable(message, code="overloaded", retry_after=failure.retry_after, retryable=False)
        case FailureKind.FIRST_TOKEN_TIMEOUT:
            return UpstreamTimeout(f"{where}: {what}{tried}.", retryable=False)
        case FailureKind.KEY_REJECTED:
            # 502, never 401: the client's own key is fine. The provider's words may repeat a part of ours.
            message = f"{where}: the provider rejected our key `{last.key_id}` with status {failure.status}{tried}."
            return UpstreamError(message, retryable=False)
        case _:
            return UpstreamError(f"{where}: {what}{tried}.", retryable=False)


def deadline_error(seconds: float) -> ProxyError:
    """The call's time is over, whatever is left of its plan."""
    return UpstreamTimeout(
        f"No answer began within `resilience.deadline.hard` ({duration_text(seconds)}).",
        code="deadline_exceeded",
        retryable=False,
    )


def nothing_tried(blocks: Sequence[tuple[Deployment, Block]]) -> ProxyError:
    """No target may be asked at the moment: all keys rest, or a probe decides first whether they may be used."""
    listed = "; ".join(f"`{deployment.name}`: {block.message}" for deployment, block in blocks[:8])
    limited = [block.retry_after for _, block in blocks if block.reason == FailureKind.RATE_LIMITED]
    if limited:
        return RateLimited(f"All targets are rate limited: {listed}.", retry_after=min(limited))
    open_for = [block.retry_after for _, block in blocks if block.reason == "circuit_open"]
    if open_for:
        message = f"No target can be asked: {listed}."
        return Unavailable(message, code="no_candidate_available", retry_after=max(1.0, min(open_for)))
    rejected = [block.retry_after for _, block in blocks if block.reason == FailureKind.KEY_REJECTED]
    if rejected:
        return UpstreamError(f"No target can be asked: {listed}.", retryable=False)
    return InvalidRequest(
        f"No target can be asked: {listed}.", param="router.key_id", code="no_candidate_available", retryable=False
    )
