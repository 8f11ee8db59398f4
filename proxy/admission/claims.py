"""The caller that a token names, by the claims that the configuration maps. Other claims grant nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple, get_args

from proxy.core.auth import ClaimNames
from proxy.core.model import LimitValues
from proxy.core.principal import Role

MAX_NAME = 200  # characters of a user or a team
MAX_PATTERNS = 1000
_LIMITS = {field.name for field in fields(LimitValues)}
_ROLES: tuple[Role, ...] = get_args(Role)  # the highest first


class Identity(NamedTuple):
    """The caller that a token names."""

    user: str
    team: str | None
    role: Role | None
    models: tuple[str, ...] | None
    limits: LimitValues


def identity_of(claims: Mapping[str, Any], names: ClaimNames) -> Identity:
    """Return the caller. Raises `ValueError` if a mapped claim is missing or has no usable value."""
    return Identity(
        user=_name(claims, names.user),
        team=None if names.team is None else _name(claims, names.team),
        role=None if names.role is None else _role(claims, names.role),
        models=None if names.models is None else _models(claims, names.models),
        limits=LimitValues() if names.limits is None else _limits(claims, names.limits),
    )


def _value(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, which may contain dots, or by its path."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        raise ValueError(f"the claim `{path}` is missing")
    return value


def _name(claims: Mapping[str, Any], path: str) -> str:
    value = _value(claims, path)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME or not value.isprintable():
        raise ValueError(f"the claim `{path}` must be a string of at most {MAX_NAME} characters")
    return value


def _role(claims: Mapping[str, Any], path: str) -> Role:
    """Return the highest role that the claim names: a text, or a list of texts."""
    value = _value(claims, path)
    named = value if isinstance(value, list) else [value]
    for role in _ROLES:
        if role in named:
            return role
    raise ValueError(f"the claim `{path}` must name one of {', '.join(f'`{role}`' for role in _ROLES)}")


def _models(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    value = _value(claims, path)
    if not isinstance(value, list) or len(value) > MAX_PATTERNS or not all(isinstance(each, str) for each in value):
        raise ValueError(f"the claim `{path}` must be a list of model patterns")
    return tuple(value)


def _limits(claims: Mapping[str, Any], path: str) -> LimitValues:
    value = _value(claims, path)
    if not isinstance(value, dict) or not value.keys() <= _LIMITS:
        raise ValueError(f"the claim `{path}` must be an object with members of {', '.join(sorted(_LIMITS))}")
    if not all(type(each) is int and each > 0 for each in value.values()):
        raise ValueError(f"the claim `{path}` must contain positive whole numbers")
    return LimitValues(**value)
