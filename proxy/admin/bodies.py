"""Request bodies of the admin API, validated strictly: unknown fields are rejected by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from proxy.core.errors import InvalidRequest

_LONGEST = 80  # characters of a field's name
Body = TypeVar("Body", bound=BaseModel)


def read_body(kind: type[Body], raw: bytes, hint: str = "") -> Body:
    """Read a body. Raises `InvalidRequest` with the first error, followed by `hint`."""
    return read_values(kind, read_object(raw, hint), hint)


def read_object(raw: bytes, hint: str = "") -> dict[str, Any]:
    """Read a JSON object. Raises `InvalidRequest`."""
    try:
        value = json.loads(raw, parse_constant=_not_finite)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("The body is not valid JSON.") from exc
    if not isinstance(value, dict):
        raise InvalidRequest(f"`body`: must be a JSON object{hint}.", param="body")
    return value


def read_values(kind: type[Body], values: Mapping[str, Any], hint: str = "") -> Body:
    """Read an object. Raises `InvalidRequest` with the first error, followed by `hint`."""
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:_LONGEST] or "body"
        problem = "there is no such field" if first["type"] == "extra_forbidden" else _problem(first["msg"])
        raise InvalidRequest(f"`{where}`: {problem}{hint}.", param=where) from exc


def fields_hint(fields: Iterable[str]) -> str:
    """Return a hint that names the fields of a body."""
    return f"; the fields are {', '.join(f'`{field}`' for field in fields)}"


def _problem(message: str) -> str:
    own = message.removeprefix("Value error, ")
    return own if own != message else message[:1].lower() + message[1:]


def _not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
