"""The proxy's own request options: the body's `router` object, or the `x-router-*` headers. The body has priority."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.call import NO_OPTIONS, RouterOptions
from proxy.core.errors import InvalidRequest
from proxy.core.model import MODES, TASKS

PREFIX = "x-router-"
_LONGEST = 256  # characters of a string
_PLANNED = {
    "cache": "cache",
}


def read_options(value: Any, headers: Mapping[str, str]) -> RouterOptions:
    """Return the options. Raises `InvalidRequest` for an unknown name or a wrong type. Header names are lower case."""
    if value is None and PREFIX not in "\n".join(headers):
        return NO_OPTIONS  # as for most calls
    options = {}
    for name in headers:
        if name.startswith(PREFIX):
            option = name.removeprefix(PREFIX).replace("-", "_")
            options[option] = _parse(option, headers[name].strip())
    if value is not None:
        if not isinstance(value, dict):
            raise InvalidRequest("`router` must be an object.", param="router")
        options |= {name: item for name, item in value.items() if item is not None}
    return RouterOptions(**{name: _read(name, item) for name, item in options.items()}) if options else NO_OPTIONS


def _parse(name: str, text: str) -> Any:
    """Return a header's text as the value that the body would have."""
    reader = _READERS.get(name)
    if reader is _number:
        try:
            return float(text)
        except ValueError:
            return text
    if reader is _boolean:
        return {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}.get(text.lower(), text)
    if reader is _names:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _read(name: str, value: Any) -> Any:
    param = f"router.{name}"
    if name == "variables":  # those of an agent are removed before the options are read
        raise InvalidRequest(f"`{param}` is for calls to an agent (`model: agent/<id>`).", param=param)
    if name in _PLANNED:
        raise InvalidRequest(f"`{param}` is not supported by this version: it has no {_PLANNED[name]}.", param=param)
    reader = _READERS.get(name)
    if reader is None:
        known = ", ".join(f"`{item}`" for item in _READERS)
        raise InvalidRequest(f"Unknown option `{_short(param)}`; the options are {known}.", param=_short(param))
    return reader(param, value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _string(param: str, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > _LONGEST:
        raise InvalidRequest(f"`{param}` must be a string of 1 to {_LONGEST} characters.", param=param)
    return value


def _number(param: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise InvalidRequest(f"`{param}` must be a number that is not negative.", param=param)
    return number


def _boolean(param: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"`{param}` must be true or false.", param=param)
    return value


def _names(param: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 64 or not all(isinstance(item, str) and item for item in value):
        raise InvalidRequest(f"`{param}` must be a list of at most 64 names.", param=param)
    return tuple(_string(param, item) for item in value)


def _one_of(words: tuple[str, ...]) -> Callable[[str, Any], str]:
    def read(param: str, value: Any) -> str:
        if value not in words:
            raise InvalidRequest(f"`{param}` must be one of {', '.join(words)}.", param=param)
        return str(value)

    return read


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "mode": _one_of(MODES),
    "max_wait_seconds": _number,
    "max_cost_usd": _number,
    "max_latency_ms": _number,
    "require": _names,
    "providers": _names,
    "exclude": _names,
    "key_id": _string,
    "client_id": _string,
    "task": _one_of(TASKS),
    "conversation": _string,
    "debug": _boolean,
    "disable_thinking": _boolean,
    "fallbacks": _names,
}
