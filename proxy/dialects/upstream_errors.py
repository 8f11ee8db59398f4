"""Classifies errors of upstreams, for all dialects, by status, code, words and shape of the body.

`kind_of` decides what the error blames: the client's request, whose error passes to the client unchanged, or the key,
the account, the model or the address, which are failures of the target.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.hints import retry_after
from proxy.dialects import blame
from proxy.dialects.error_details import OUR_PARAMS, ErrorDetails

_K = FailureKind
_KINDS = {
    401: _K.KEY_REJECTED,
    402: _K.KEY_REJECTED,
    403: _K.KEY_REJECTED,
    404: _K.MODEL_MISSING,
    405: _K.WRONG_ADDRESS,
    407: _K.WRONG_ADDRESS,
    408: _K.FIRST_TOKEN_TIMEOUT,
    409: _K.CONFLICT,
    410: _K.MODEL_MISSING,
    421: _K.WRONG_ADDRESS,
    423: _K.CONFLICT,  # locked
    424: _K.SERVER_ERROR,  # the model behind the server has failed
    425: _K.CONFLICT,  # too early
    426: _K.WRONG_ADDRESS,
    429: _K.RATE_LIMITED,
    451: _K.FORBIDDEN,
    460: _K.SERVER_ERROR,  # of a load balancer: its client has gone
    498: _K.OVERLOADED,  # Groq: its flex tier has no room
    499: _K.SERVER_ERROR,  # of a proxy: its client has gone
    503: _K.OVERLOADED,
    529: _K.OVERLOADED,
}
# Of the HTTP between us and the upstream, unless the API itself explains them: the client chose none of it.
_OF_HTTP = frozenset({406, 411, 412, 414, 415, 416, 417, 418, 428, 431, 444, 494, 495, 496, 497})


def kind_of(status: int, details: ErrorDetails, own: Mapping[int, FailureKind] | None = None) -> FailureKind:
    """Return what an error blames; `own` are statuses that only one API uses."""
    if not 400 <= status < 500 or status in (401, 402, 408):
        return _by_status(status, details, own)
    if status == 429:
        return _of_429(details)
    return _of_request(status, details) or _of_target(status, details) or _by_status(status, details, own)


def failure_of(
    status: int,
    details: ErrorDetails,
    *,
    own: Mapping[int, FailureKind] | None = None,
    headers: Mapping[str, str] | None = None,
    text: str = "",
    now: float = 0.0,
    native: bytes | None = None,
    code: str | None = None,
) -> UpstreamFailure:
    """The failure of an answer that is not a 2xx; `text` may contain a time to retry after."""
    wait = retry_after(headers or {}, text, now)
    plain = details.plain if 400 <= status < 500 else ""  # the text of a 5xx page explains nothing
    return UpstreamFailure(
        kind_of(status, details, own),
        details.message or plain or f"the upstream answered with status {status}",
        status=status,
        retry_after=details.wait if wait is None else wait,
        native=native,
        param=details.param,
        code=code or details.code,
    )


def failure_in_200(
    details: ErrorDetails,
    *,
    named: int | None,
    own: Mapping[int, FailureKind] | None = None,
    text: str = "",
    native: bytes | None = None,
    code: str | None = None,
) -> UpstreamFailure:
    """The failure of an error that came with status 200; `named` is the status in the error, if any.

    Without a status, the codes and words decide; without any of these, it is the upstream's own error.
    """
    status = named or details.status or (429 if blame.LIMIT.search(details.words) else None)
    kind, shown = kind_of(status or 400, details, own), status or 400
    if status is None and kind in (_K.BAD_REQUEST, _K.WRONG_ADDRESS):
        kind, shown = _K.SERVER_ERROR, 500
    return UpstreamFailure(
        kind,
        details.message or "the upstream sent an error without a message",
        status=shown,
        retry_after=retry_after({}, text, 0.0),
        native=native,
        param=details.param,
        code=code or details.code,
    )


def _of_429(details: ErrorDetails) -> FailureKind:
    """A limit, unless waiting does not help. Google's words for a limit are others' words for an empty account."""
    if blame.TOO_LARGE.search(details.words):
        return _K.TOO_LARGE  # for more tokens than a minute ever has
    if details.codes & blame.ACCOUNT_CODES:
        return _K.KEY_REJECTED
    if (
        "resource_exhausted" not in details.codes
        and "rate limit" not in details.words
        and blame.ACCOUNT.search(details.words)
    ):
        return _K.KEY_REJECTED
    return _K.RATE_LIMITED


def _of_request(status: int, details: ErrorDetails) -> FailureKind | None:
    """A fault of the request that another target may accept."""
    metadata = details.error.get("metadata")
    moderated = status == 403 and isinstance(metadata, dict) and "reasons" in metadata
    named = blame.kind_of_codes(details.codes)
    if status in (400, 403, 422) and (named is _K.CONTENT_FILTERED or moderated):
        return _K.CONTENT_FILTERED
    large = status in (400, 403, 413, 422)
    if large and (named is _K.CONTEXT_TOO_LONG or blame.CONTEXT.search(details.words)):
        return _K.CONTEXT_TOO_LONG
    if status == 413 and blame.TOO_LARGE.search(details.words):
        return _K.TOO_LARGE
    if status in (400, 403, 413) and details.codes & {"rate_limit_exceeded", "ratelimitexceeded"}:
        return _K.RATE_LIMITED
    if status in (400, 403, 422) and not details.blames_request and blame.FILTERED.search(details.words):
        return _K.CONTENT_FILTERED
    return None


def _of_target(status: int, details: ErrorDetails) -> FailureKind | None:
    """The key, the account, the model or the address, if a code or the words blame them."""
    named = blame.kind_of_codes(details.codes)
    if named in (_K.MODEL_MISSING, _K.WRONG_ADDRESS):
        return named
    if status == 424 and details.blames_request:
        return _K.BAD_REQUEST  # a server of tools that the client named has failed
    if named is _K.KEY_REJECTED and not (
        status == 403 and not details.blames_request and blame.MODEL.search(details.words)
    ):
        return named
    if details.blames_request and not (status == 404 or "organization must be verified" in details.words):
        return None
    if status not in (403, 404) and (blame.KEY.search(details.words) or blame.ACCOUNT.search(details.words)):
        return _K.KEY_REJECTED
    if status == 404:
        return _of_404(details)
    if status in (400, 422) and blame.DOWN.search(details.words):
        return _K.SERVER_ERROR
    if status in (400, 422) and blame.SETTINGS.search(details.words):
        return _K.WRONG_ADDRESS
    if blame.MODEL.search(details.words):
        return _K.MODEL_MISSING
    return _K.FORBIDDEN if status == 403 and blame.NETWORK.search(details.words) else None


def _of_404(details: ErrorDetails) -> FailureKind:
    if blame.MODEL.search(details.words):
        return _K.MODEL_MISSING
    if details.page or not details.words or blame.ROUTE.search(details.words):
        return _K.WRONG_ADDRESS
    if details.param in OUR_PARAMS and not blame.RESOURCE.search(details.words):
        return _K.MODEL_MISSING
    return _K.BAD_REQUEST  # of a file or a cache that the client named; the key and the model are fine


def _by_status(status: int, details: ErrorDetails, own: Mapping[int, FailureKind] | None) -> FailureKind:
    """The kind of an error that only has a status.

    A 403 blames the key only if the API itself gives a reason: one of a firewall, mostly HTML, may be for one prompt.
    """
    if status == 403 and (details.page or not details.reasons):
        return _K.FORBIDDEN
    if status == 410 and not details.reasons:
        return _K.WRONG_ADDRESS
    kind = (own or {}).get(status) or _KINDS.get(status)
    if kind is not None:
        return kind
    if not 400 <= status < 500:
        return _K.SERVER_ERROR
    if status == 413 and details.page:
        return _K.TOO_LARGE  # of a proxy before the API, which has a limit of its own
    return _K.WRONG_ADDRESS if details.page or (status in _OF_HTTP and not details.reasons) else _K.BAD_REQUEST
