"""Request bodies of the admin API, validated strictly: unknown fields are rejected by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from proxy.core.errors import InvalidRequest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_LONGEST = 80  # characters of a field's name
Body = TypeVar("Body", bound=BaseModel)


def read_body(kind: type[Body], raw: bytes) -> Body:
    """Read a body. Raises `InvalidRequest` with the first error."""
    return read_values(kind, read_object(raw))


def read_object(raw: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises `InvalidRequest`."""
    try:
        value = json.loads(raw, parse_constant=_not_finite)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("The body is not valid JSON.") from exc
    if not isinstance(value, dict):
        raise InvalidRequest("`body`: must be a JSON object.", param="body")
    return value


def read_values(kind: type[Body], values: Mapping[str, Any]) -> Body:
    """Read an object. Raises `InvalidRequest` with the first error."""
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:_LONGEST] or "body"
        raise InvalidRequest(f"`{where}`: {_problem(kind, first)}.", param=where) from exc


def _problem(kind: type[BaseModel], error: ErrorDetails) -> str:
    """Return what is wrong, and what is accepted."""
    where, message = error["loc"], error["msg"]
    if error["type"] == "extra_forbidden":
        return f"there is no such field{_fields(_model(kind, where[:-1]))}"
    if error["type"] in ("model_type", "model_attributes_type"):
        return f"must be an object{_fields(_model(kind, where))}"
    if error["type"] == "missing":
        return "is required"
    own = message.removeprefix("Value error, ")
    if own != message:
        return own
    return (message[:1].lower() + message[1:]).replace("input should be", "must be").replace("a valid ", "a ")


def _fields(model: type[BaseModel]) -> str:
    return f"; the fields are {', '.join(f'`{field}`' for field in model.model_fields)}"


def _model(kind: type[BaseModel], where: Iterable[int | str]) -> type[BaseModel]:
    """Return the type of the object at a place of the body."""
    for name in where:
        annotation = kind.model_fields[str(name)].annotation
        kind = next(
            type_
            for type_ in (annotation, *get_args(annotation))
            if isinstance(type_, type) and issubclass(type_, BaseModel)
        )
    return kind


def _not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
