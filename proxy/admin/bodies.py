"""Request bodies of the admin API, validated strictly: unknown fields are rejected by name."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from proxy.core.errors import InvalidRequest

_LONGEST = 80  # characters of a field's name
Body = TypeVar("Body", bound=BaseModel)


def read_body(kind: type[Body], raw: bytes, hint: str = "") -> Body:
    """Read a body. Raises `InvalidRequest` with the first error, followed by `hint`."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("The body is not valid JSON.") from exc
    if not isinstance(value, dict):
        raise InvalidRequest(f"`body`: must be a JSON object{hint}.", param="body")
    try:
        return kind.model_validate(value)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:_LONGEST] or "body"
        problem = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise InvalidRequest(f"`{where}`: {problem}{hint}.", param=where) from exc
