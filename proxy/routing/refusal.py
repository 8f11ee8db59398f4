"""The error for a call that no deployment can serve, with the reason for each deployment."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.errors import InvalidRequest, ProxyError, Unavailable
from proxy.core.model import Deployment
from proxy.routing.candidates import Query
from proxy.routing.measure import context_needed
from proxy.routing.members import Missing
from proxy.routing.selection import Selection

_MAX_REASONS = 8
_CODE = "no_candidate_available"
_BEFORE_SIZE = ("provider", "key", "stand_in")  # rejections that precede the check of the size


def refusal(query: Query, route: str, selections: Sequence[Selection]) -> ProxyError:
    """Return a 400 if a retry cannot help, a 503 if only providers that were left out are missing."""
    rejected = {
        candidate.name: (candidate.target.deployment, candidate.rejection)
        for selection in selections
        for candidate in selection.rejected
        if candidate.rejection is not None
    }
    missing = {model.name: model for selection in selections for model in selection.missing}
    if not rejected:
        return _no_candidates(query, route, list(missing.values()))
    sized = [(deployment, why.kind) for deployment, why in rejected.values() if why.kind not in _BEFORE_SIZE]
    if sized and all(kind == "context" for _, kind in sized):
        return _too_long(query, route, [deployment for deployment, _ in sized])
    reasons = [f"{name}: {why.reason}" for name, (_, why) in rejected.items()]
    reasons += [f"{name}: {_reason(model)}" for name, model in missing.items()]
    return InvalidRequest(f"No model of `{route}` can serve this call. {_joined(reasons)}.", code=_CODE)


def _no_candidates(query: Query, route: str, missing: list[Missing]) -> ProxyError:
    """Return the error for a route without usable candidates."""
    left_out = [model for model in missing if model.left_out]
    if missing and not left_out:
        reasons = _joined([f"{model.name}: {_reason(model)}" for model in missing])
        return InvalidRequest(f"No model of `{route}` can be used. {reasons}.", code=_CODE)
    names = dict.fromkeys(model.name.partition("/")[0] for model in left_out) or query.snapshot.left_out
    reasons = _joined([f"provider {name} is left out: {query.snapshot.left_out[name]}" for name in names])
    if reasons:
        return Unavailable(f"No model of `{route}` can be used: {reasons}.", retryable=False)
    return InvalidRequest(f"The configuration has no model for `{route}`.", code=_CODE)


def _too_long(query: Query, route: str, deployments: list[Deployment]) -> InvalidRequest:
    widest = max(deployments, key=lambda deployment: deployment.context_window or 0)
    return InvalidRequest(
        f"The call needs about {context_needed(widest, query.facts)} tokens of context, {query.facts.input_tokens} of "
        f"them for its input, and the largest available window of `{route}` is {widest.context_window}.",
        param="messages",
        code="context_length_exceeded",
    )


def _reason(missing: Missing) -> str:
    return f"its provider is left out: {missing.reason}" if missing.left_out else missing.reason


def _joined(reasons: list[str]) -> str:
    more = len(reasons) - _MAX_REASONS
    return "; ".join(reasons[:_MAX_REASONS]) + (f"; and {more} more" if more > 0 else "")
