"""The error for a call that no deployment can serve: the reason for each deployment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from proxy.core.errors import InvalidRequest, ProxyError, Unavailable
from proxy.routing.candidates import Candidate, Query
from proxy.routing.measure import context_needed
from proxy.routing.members import Missing
from proxy.routing.selection import Selection

Named = TypeVar("Named", Candidate, Missing)

_MAX_REASONS = 8
_CODE = "no_candidate_available"
_EXCLUDED_EARLIER = ("provider", "key", "stand_in")  # excluded before their size was checked


def refusal(query: Query, route: str, selections: Sequence[Selection]) -> ProxyError:
    """Return a 400 if a retry cannot help, a 503 if only providers that were left out are missing."""
    rejected = _unique(candidate for selection in selections for candidate in selection.rejected)
    missing = _unique(model for selection in selections for model in selection.missing)
    if not rejected:
        return _no_candidates(query, route, missing)
    checked = [each for each in rejected if each.rejection is not None and each.rejection.kind not in _EXCLUDED_EARLIER]
    if checked and all(each.rejection is not None and each.rejection.kind == "context" for each in checked):
        return _too_long(query, route, checked)
    reasons = [f"{each.name}: {each.rejection.reason}" for each in rejected if each.rejection is not None]
    reasons += [f"{each.name}: {_why(each)}" for each in missing]
    return InvalidRequest(f"No model of `{route}` can serve this call. {_joined(reasons)}.", code=_CODE)


def _no_candidates(query: Query, route: str, missing: list[Missing]) -> ProxyError:
    """Return the error for a route without usable candidates."""
    left_out = [each for each in missing if each.left_out]
    if missing and not left_out:
        reasons = _joined([f"{each.name}: {_why(each)}" for each in missing])
        return InvalidRequest(f"No model of `{route}` can be used. {reasons}.", code=_CODE)
    names = dict.fromkeys(each.name.partition("/")[0] for each in left_out) or query.snapshot.left_out
    reasons = _joined([f"provider {name} is left out: {query.snapshot.left_out[name]}" for name in names])
    if reasons:
        return Unavailable(f"No model of `{route}` can be used: {reasons}.", retryable=False)
    return InvalidRequest(f"The configuration has no model for `{route}`.", code=_CODE)


def _too_long(query: Query, route: str, rejected: list[Candidate]) -> InvalidRequest:
    widest = max((each.target.deployment for each in rejected), key=lambda each: each.context_window or 0)
    return InvalidRequest(
        f"The call needs about {context_needed(widest, query.facts)} tokens of context, {query.facts.input_tokens} of "
        f"them for its input, and the largest available window of `{route}` is {widest.context_window}.",
        param="messages",
        code="context_length_exceeded",
    )


def _unique(items: Iterable[Named]) -> list[Named]:
    """Return one item of each name, in order of first occurrence."""
    return list({item.name: item for item in items}.values())


def _why(missing: Missing) -> str:
    return f"its provider is left out: {missing.why}" if missing.left_out else missing.why


def _joined(reasons: list[str]) -> str:
    more = len(reasons) - _MAX_REASONS
    return "; ".join(reasons[:_MAX_REASONS]) + (f"; and {more} more" if more > 0 else "")
