"""`POST /v1/feedback`: a judgement of the answer to a call, or of a routed prompt. See `docs/learning.md`."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admission.permissions import PRINCIPAL
from proxy.core.errors import InvalidRequest
from proxy.http.reading import BodyReader
from proxy.learning.service import Learning

FIELDS = ("id", "score", "thumbs", "model", "comment")
LONGEST_COMMENT = 2_000  # characters
_THUMBS = {"up": 1.0, "down": 0.0}


class Feedback:
    """The endpoint."""

    def __init__(self, learning: Learning, read: BodyReader) -> None:
        self._learning = learning
        self._read = read

    async def give(self, request: Request) -> Response:
        """`POST /v1/feedback`: keep a score in place of an earlier one for the same answer."""
        id, score, model, comment = read_feedback(await self._read(request))
        label = await self._learning.give(request.scope[PRINCIPAL], id, score, model, comment)
        return JSONResponse({"object": "feedback", "id": id, "model": label.model, "score": label.score})


def read_feedback(raw: bytes) -> tuple[str, float, str | None, str | None]:
    """Return the id, the score, the model and the comment of a body. Raises `InvalidRequest`."""
    try:
        body = json.loads(raw, parse_constant=_not_finite)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    for name in body:
        if name not in FIELDS:
            text = name[:80].encode("ascii", "replace").decode()
            raise InvalidRequest(f"`{text}`: there is no such field; the fields are {', '.join(FIELDS)}.", param=text)
    model = None if body.get("model") is None else _text(body, "model")
    return _text(body, "id"), _score(body), model, _comment(body.get("comment"))


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 512 or not value.isprintable():
        raise InvalidRequest(f"`{name}` must be a string of 1 to 512 characters.", param=name)
    return value


def _comment(value: Any) -> str | None:
    """Return a comment, which may have several lines; `None` without one."""
    if value is None:
        return None
    fits = isinstance(value, str) and 0 < len(value) <= LONGEST_COMMENT and "\0" not in value
    if not fits or value.encode("utf-8", "replace").decode() != value:
        message = f"`comment` must be a string of 1 to {LONGEST_COMMENT} characters of valid Unicode."
        raise InvalidRequest(message, param="comment")
    return str(value)


def _score(body: dict[str, Any]) -> float:
    score, thumbs = body.get("score"), body.get("thumbs")
    if (score is None) == (thumbs is None):
        raise InvalidRequest("Send either `score`, 0 to 1, or `thumbs`, `up` or `down`.", param="score")
    if thumbs is not None:
        if not isinstance(thumbs, str) or thumbs not in _THUMBS:
            raise InvalidRequest("`thumbs` must be `up` or `down`.", param="thumbs")
        return _THUMBS[thumbs]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1 or math.isnan(score):
        raise InvalidRequest("`score` must be a number from 0 to 1.", param="score")
    return float(score)


def _not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
