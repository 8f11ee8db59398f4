"""Reads errors of upstreams in any of the known shapes, for all dialects.

`read_error` extracts the details of an error. `is_error` is the only test for an error with status 200, in a body or an
event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.json_text import value_of
from proxy.dialects import blame

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
OUR_PARAMS = (None, "", "None", "null", "model", "stream", "api_key", "key", "authorization", "organization")


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
        named = self.param not in OUR_PARAMS or self.fields or bool(self.codes & blame.CLIENT_CODES)
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
    if value.get("object") == "error" or value.get("type") == "error" or reports_error(value.get("error")):
        return True
    found = value.get(answer)
    if found:
        return isinstance(found, list) and any(_failed(choice) for choice in found)
    if any(reports_error(value.get(name)) for name in _ERRORS) or any(value.get(name) is False for name in _SUCCESSES):
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
        if isinstance(choice, dict) and reports_error(choice.get("error")):
            yield choice["error"] if isinstance(choice["error"], dict) else {"message": str(choice["error"])}
    base = value.get("base_resp")
    yield {**base, "code": base.get("status_code")} if isinstance(base, dict) and _failed_base(base) else None


def reports_error(error: Any) -> bool:
    """Whether a member for errors contains one: `null`, `{}` and an object of nulls do not."""
    if isinstance(error, dict):
        return any(value not in (None, "", [], {}) for value in error.values())
    return error is not None and error is not False and error not in ("", 0, [])


def _failed(choice: Any) -> bool:
    return isinstance(choice, dict) and (choice.get("finish_reason") == "error" or reports_error(choice.get("error")))


def _failed_base(base: Any) -> bool:
    """Whether MiniMax reports a failure: its status is outside the answer, and 0 for success."""
    return isinstance(base, dict) and base.get("status_code") not in (None, 0)


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
