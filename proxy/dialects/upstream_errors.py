"""Reads and classifies errors of upstreams, for all dialects, by status, code, words and shape of the body.

`read_error` extracts the details of an error from any of the known shapes. `kind_of` decides what the error blames: the
client's request, whose error passes to the client unchanged, or the key, the account, the model or the address, which
are failures of the target. `is_error` is the only test for an error that comes with status 200, in a body or an event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.hints import retry_after
from proxy.core.json_text import value_of
from proxy.dialects import blame

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
_TEXT_NAMES = """
    message detail error_description error_message error_msg errorMessage msg Message faultstring status_msg title
"""
_MESSAGES = tuple(_TEXT_NAMES.split())
# Members by which an object that is no answer is an error: one that holds it, one that denies success, its text.
_ERROR_NAMES = "detail errors fault Error error_msg error_message errorMessage error_code errorCode"
_ERRORS = tuple(_ERROR_NAMES.split())
_SUCCESSES = ("success", "ok")
_TEXTS = ("message", "msg", "Message")
_CODE_NAMES = ("code", "type", "status", "error_type", "error_code", "errorCode", "reason", "__type", "Code")
_MOST_DETAILS = 50
_SHOWN = 1000  # characters of a message that is no text
_STATUS = re.compile("[45][0-9][0-9]")
# Naming these does not blame the request.
_OUR_PARAMS = (None, "", "None", "null", "model", "stream", "api_key", "key", "authorization", "organization")


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """The details of an error. `words` is its text in the form of `blame.normal`, `codes` are in lower case."""

    message: str | None = None
    plain: str = ""  # the body, if it is text and not JSON
    words: str = ""
    codes: frozenset[str] = frozenset()
    status: int | None = None  # the number in the body
    param: str | None = None
    code: str | None = None
    wait: float | None = None  # seconds until a model is loaded
    reasons: bool = False  # the error says more than that access is forbidden
    fields: bool = False  # the error lists members of the request, each with its fault
    page: bool = False  # a web page instead of an answer of an API
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blames_request(self) -> bool:
        """Whether it names a member of the request, or has a code that only a request can cause."""
        named = self.param not in _OUR_PARAMS or self.fields or bool(self.codes & blame.CLIENT_CODES)
        return named or blame.names_member(self.words)


def read_error(value: Any, body: bytes = b"") -> ErrorDetails:
    """Read a body: `value` is its JSON, `None` if it is not JSON; `body` are its bytes."""
    error = error_in(value)
    message = _message(error)
    if message is None and isinstance(value, str):
        message = value[:_SHOWN]
    page = value is None and body[:64].lstrip(b" \t\r\n\xef\xbb\xbf")[:1] == b"<"
    plain = "" if value is not None or page or body == b"null" else body[: blame.LONGEST].decode("utf-8", "replace")
    detail = error.get("detail")
    return ErrorDetails(
        message=message,
        plain=plain.strip(),
        words=blame.normal(" ".join([message or plain, *_more(error)])),
        codes=frozenset(_codes(error)),
        status=_named_status(error),
        param=_string(error.get("param")),
        code=_string(error.get("code")),
        wait=_seconds(error.get("estimated_time")),
        reasons=any(_is_reason(error.get(name)) for name in (*_MESSAGES, *_CODE_NAMES)),
        fields=isinstance(detail, list) and bool(detail) and isinstance(detail[0], dict),
        page=page,
        error=error,
    )


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
    kind, told = kind_of(status or 400, details, own), status or 400
    if status is None and kind in (_K.BAD_REQUEST, _K.WRONG_ADDRESS):
        kind, told = _K.SERVER_ERROR, 500
    return UpstreamFailure(
        kind,
        details.message or "the upstream sent an error without a message",
        status=told,
        retry_after=retry_after({}, text, 0.0),
        native=native,
        param=details.param,
        code=code or details.code,
    )


def error_in(value: Any) -> Mapping[str, Any]:
    """The error in a body: its `error`, an object or a text, or else the body's own members."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return {}
    for found in _candidates(value):
        if isinstance(found, dict) and found:
            return found
        if isinstance(found, str) and found:
            text = next((value[name] for name in _MESSAGES if _string(value.get(name))), found)
            return {**value, "message": text, "reason": found}
    return value if not isinstance(value.get("error"), dict) else value["error"]


def is_error(value: Mapping[str, Any], answer: str = "choices") -> bool:
    """Whether an object that came with status 200 is an error; `answer` is the member that every answer has."""
    if value.get("object") == "error" or value.get("type") == "error" or says_error(value.get("error")):
        return True
    found = value.get(answer)
    if found:
        return isinstance(found, list) and any(_failed(choice) for choice in found)
    if any(says_error(value.get(name)) for name in _ERRORS) or any(value.get(name) is False for name in _SUCCESSES):
        return True
    return any(isinstance(value.get(name), str) for name in _TEXTS) or _failed_base(value.get("base_resp"))


def error_event(event: bytes) -> bool:
    """Whether an event's name says that it is an error."""
    if event.startswith(b"data:"):
        return False
    return any(line[6:].strip() == b"error" for line in event.splitlines() if line.startswith(b"event:"))


def bare_json(event: bytes) -> Any:
    """An object between events without a field name, or with the name `error`: some servers send errors like this."""
    text = event.strip().removeprefix(b"error:").lstrip()
    if text[:1] not in (b"{", b"["):
        return None
    value = value_of(text)
    return value[0] if isinstance(value, list) and value else value


def _candidates(value: Mapping[str, Any]) -> Iterator[Any]:
    """The places of an object that may contain an error, the most important first."""
    yield value.get("error")
    for errors in (value.get("error"), value.get("errors")):
        if isinstance(errors, list) and errors and _message(value) is None:
            yield errors[0]
    yield value.get("fault")
    yield value.get("Error")
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and says_error(choice.get("error")):
            yield choice["error"] if isinstance(choice["error"], dict) else {"message": str(choice["error"])}
    base = value.get("base_resp")
    yield {**base, "code": base.get("status_code")} if isinstance(base, dict) and _failed_base(base) else None


def says_error(error: Any) -> bool:
    """Whether a member for errors contains one: `null`, `{}` and an object of nulls do not."""
    if isinstance(error, dict):
        return any(value not in (None, "", [], {}) for value in error.values())
    return error is not None and error is not False and error not in ("", 0, [])


def _failed(choice: Any) -> bool:
    return isinstance(choice, dict) and (choice.get("finish_reason") == "error" or says_error(choice.get("error")))


def _failed_base(base: Any) -> bool:
    """Whether MiniMax reports a failure: its status is outside the answer, and 0 for success."""
    return isinstance(base, dict) and base.get("status_code") not in (None, 0)


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
    if details.param in _OUR_PARAMS and not blame.RESOURCE.search(details.words):
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


def _more(error: Mapping[str, Any]) -> Iterator[str]:
    """Text in addition to the message: the message of a provider behind a gateway, and Google's details."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw:
        inner = value_of(raw) if raw.lstrip()[:1] in ("{", "[") else None
        yield (_message(error_in(inner)) or "") if inner is not None else raw
    for detail in details_of(error):
        if isinstance(detail.get("detail"), str):
            yield detail["detail"][:1000]
    chain = error.get("error_chain")  # Cloudflare
    for link in chain[:4] if isinstance(chain, list) else ():
        yield (_message(error_in(link)) or "")[:1000]


def details_of(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Google's details, objects of several types."""
    found = error.get("details")
    return [detail for detail in found[:_MOST_DETAILS] if isinstance(detail, dict)] if isinstance(found, list) else []


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    inner = error.get("innererror")
    for part in (error, inner if isinstance(inner, dict) else {}, *details_of(error)):
        for name in _CODE_NAMES:
            found = part.get(name)
            if isinstance(found, (str, int)) and not isinstance(found, bool) and len(str(found)[:101]) <= 100:
                yield str(found).rpartition("#")[2].strip().lower().replace(" ", "_")


def _named_status(error: Mapping[str, Any]) -> int | None:
    for name in ("code", "status_code", "status", "statusCode"):
        number = error.get(name)
        if isinstance(number, str) and _STATUS.fullmatch(number):
            number = int(number)
        if isinstance(number, int) and 400 <= number <= 599:
            return number
    return None


def _message(error: Mapping[str, Any]) -> str | None:
    found = [error[name] for name in _MESSAGES if error.get(name)]
    text = next((each for each in found if isinstance(each, str)), None)
    if text is not None:
        return text
    other = next((each for each in found if isinstance(each, (dict, list))), None)
    return None if other is None else json.dumps(other, ensure_ascii=False)[:_SHOWN]


def _is_reason(value: Any) -> bool:
    if isinstance(value, str):
        return not blame.is_bare(value)
    return isinstance(value, (dict, list)) and bool(value)


def _seconds(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 <= value < 86_400 else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
