"""Readers for the members of Google's requests, which are JSON forms of protocol buffers.

Names are accepted in camelCase and in snake_case, numbers also as strings, a list of one object also as the object, and
null as absent (protobuf.dev/programming-guides/json). A wrong type is an `InvalidRequest` that names the member.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from proxy.core.errors import InvalidRequest

Members = Mapping[str, Any]

_SNAKE = re.compile(r"(?<=[A-Za-z0-9])_([a-z0-9])")
_LONGEST_NUMBER = 32  # characters of a number that is written as a string


def wrong(where: str, expected: str) -> InvalidRequest:
    """Return the error for a member of a wrong type."""
    return InvalidRequest(f"`{where}` must be {expected}.", param=where)


def members_of(value: Any, where: str) -> dict[str, Any]:
    """Return an object's members under their camelCase names, without nulls.

    Raises `InvalidRequest` for another value, and for a member that is there under both of its names.
    """
    if not isinstance(value, dict):
        raise wrong(where, "an object")
    members: dict[str, Any] = {}
    for given, member in value.items():
        if member is not None:
            name = _camel(given)
            if name in members:
                raise InvalidRequest(f"`{place(where, name)}` is given twice, as `{given}` too.", param=where)
            members[name] = member
    return members


def objects_of(members: Members, name: str, where: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return the objects of a list with the place of each, such as `contents[2]`; of a single object, that one."""
    value, where = members.get(name), place(where, name)
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    found = [(f"{where}[{index}]", item) for index, item in enumerate(items)]
    return [(at, members_of(item, at)) for at, item in found]


def object_of(members: Members, name: str, where: str = "") -> dict[str, Any]:
    """Return the members of an object; none if it is absent."""
    value = members.get(name)
    return {} if value is None else members_of(value, place(where, name))


def text_of(members: Members, name: str, where: str = "") -> str | None:
    """Return a string."""
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(place(where, name), "a string")
    return value


def needed_text(members: Members, name: str, where: str) -> str:
    """Return a string that must be there and not be empty."""
    value = text_of(members, name, where)
    if not value:
        where = place(where, name)
        raise InvalidRequest(f"`{where}` is missing; it must be a string that is not empty.", param=where)
    return value


def texts_of(members: Members, name: str, where: str = "") -> list[str]:
    """Return a list of strings; a single string is a list of one."""
    value = members.get(name)
    items = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise wrong(place(where, name), "a list of strings")
    return items


def flag_of(members: Members, name: str, where: str = "") -> bool:
    """Return a boolean; false if it is absent."""
    value = members.get(name, False)
    if not isinstance(value, bool):
        raise wrong(place(where, name), "a boolean")
    return value


def number_of(members: Members, name: str, where: str = "") -> float | int | None:
    """Return a finite number."""
    value = members.get(name)
    number = _number(value)
    if value is not None and number is None:
        raise wrong(place(where, name), "a number")
    return number


def integer_of(members: Members, name: str, where: str = "", *, least: int | None = None) -> int | None:
    """Return an integer of at least `least`; `1.0` and `"1"` are integers too."""
    value = members.get(name)
    number = _number(value)
    whole = number is not None and number == int(number)
    if value is not None and (not whole or (least is not None and number is not None and number < least)):
        raise wrong(place(where, name), "an integer" if least is None else f"an integer of at least {least}")
    return None if number is None else int(number)


def place(where: str, name: str) -> str:
    """Return the path of a member for errors."""
    return f"{where}.{name}" if where else name


def _camel(name: str) -> str:
    return _SNAKE.sub(lambda match: match[1].upper(), name) if "_" in name else name


def _number(value: Any) -> float | int | None:
    """Return a finite number, also of a string that is one; else `None`."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_NUMBER:
        try:
            value = int(value) if value.lstrip("-").isdigit() else float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None
