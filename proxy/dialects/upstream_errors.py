"""What the errors of all APIs have in common: where they stand in a body, and what a status says by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.core.failures import FailureKind

_KINDS = {
    401: FailureKind.KEY_REJECTED,
    402: FailureKind.KEY_REJECTED,
    403: FailureKind.KEY_REJECTED,
    404: FailureKind.MODEL_MISSING,
    408: FailureKind.FIRST_TOKEN_TIMEOUT,
    429: FailureKind.RATE_LIMITED,
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}
_REASONS = ("message", "detail", "type", "code", "status")
_BARE = re.compile(r"(?:403)?\s{0,20}(?:forbidden|access denied)?\W{0,200}", re.I)


def kind_of_status(status: int, error: Mapping[str, Any], own: Mapping[int, FailureKind] | None = None) -> FailureKind:
    """The kind of an `error` of which only the status tells anything; `own` are the statuses of one API alone.

    A 403 is the key's only where the API itself gives a reason: a firewall's, mostly HTML, may be for one prompt.
    """
    if status == 403 and not any(_is_reason(error.get(name)) for name in _REASONS):
        return FailureKind.FORBIDDEN
    kind = (own or {}).get(status) or _KINDS.get(status)
    if kind is not None:
        return kind
    return FailureKind.BAD_REQUEST if 400 <= status < 500 else FailureKind.SERVER_ERROR


def error_in(value: Any) -> Mapping[str, Any]:
    """The error that a body holds: its `error`, an object or a text, or else the body's own members."""
    if not isinstance(value, dict):
        return {}
    error = value.get("error")
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else value


def _is_reason(value: Any) -> bool:
    if isinstance(value, str):
        return not _BARE.fullmatch(value)
    return isinstance(value, (dict, list)) and bool(value)
