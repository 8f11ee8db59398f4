"""Virtual keys, users and teams as rows of their tables, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import RowMapping, Table

from proxy.core.accounts import Budget, ModelLimits, Team, User, VirtualKey
from proxy.core.model import LimitValues
from proxy.store import schema
from proxy.store.errors import InvalidValue
from proxy.store.values import MAX_ID, check_id, check_text, microseconds, seconds, to_json

Entity = TypeVar("Entity", VirtualKey, User, Team)

SECRET = frozenset({"digest", "pepper_id"})  # not in the audit log
_RENAMED = {"user": "user_id", "team": "team_id"}  # `user` is a reserved word in SQL


@dataclass(frozen=True, slots=True)
class Mapper(Generic[Entity]):
    """The table of one type, and the conversions."""

    kind: str  # in the audit log and in messages
    table: Table
    read: Callable[[Mapping[str, Any]], Entity]

    def values(self, entity: Entity) -> dict[str, Any]:
        """Return the row of an entity. Raises `InvalidValue`."""
        row: dict[str, Any] = {}
        for name in entity.__struct_fields__:
            row[_RENAMED.get(name, name)] = _column(name, getattr(entity, name))
        return row


def columns(mapping: RowMapping, prefix: str) -> dict[str, Any]:
    """Return the columns whose label starts with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in mapping.items() if name.startswith(prefix)}


def _column(name: str, value: Any) -> Any:
    if name in ("id", "name"):
        return check_id(value, name)
    if name in ("user", "team"):
        return None if value is None else check_id(value, name)
    if name in ("models", "budget"):
        return None if value is None else to_json(value)
    if name == "model_limits":
        return to_json(value) if value else None
    if name in ("limits", "metadata"):
        return to_json(value)
    if name in ("created_at", "expires_at"):
        return None if value is None else _time(name, value)
    return check_text(value, name, MAX_ID) if isinstance(value, str) else value


def _time(name: str, value: float) -> int:
    if not 0 <= value < 1e11:
        raise InvalidValue(f"`{name}` must be a time between 1970 and 5138")
    return microseconds(value)


def _read_common(row: Mapping[str, Any]) -> dict[str, Any]:
    models, budget, model_limits = row["models"], row["budget"], row["model_limits"]
    return {
        "id": row["id"],
        "models": None if models is None else msgspec.json.decode(models, type=tuple[str, ...]),
        "limits": msgspec.json.decode(row["limits"], type=LimitValues),
        "model_limits": {} if model_limits is None else msgspec.json.decode(model_limits, type=ModelLimits),
        "budget": None if budget is None else msgspec.json.decode(budget, type=Budget),
        "disabled": bool(row["disabled"]),
        "created_at": seconds(row["created_at"]),
    }


def _read_team(row: Mapping[str, Any]) -> Team:
    return Team(**_read_common(row))


def _read_user(row: Mapping[str, Any]) -> User:
    return User(**_read_common(row), role=row["role"], team=row["team_id"])


def _read_key(row: Mapping[str, Any]) -> VirtualKey:
    expires = row["expires_at"]
    return VirtualKey(
        **_read_common(row),
        name=row["name"],
        digest=bytes(row["digest"]),
        pepper_id=row["pepper_id"],
        prefix=row["prefix"],
        last4=row["last4"],
        user=row["user_id"],
        team=row["team_id"],
        expires_at=None if expires is None else seconds(expires),
        metadata=msgspec.json.decode(row["metadata"]),
        created_by=row["created_by"],
    )


MAPPERS: Mapping[type, Mapper[Any]] = {
    Team: Mapper("team", schema.teams, _read_team),
    User: Mapper("user", schema.users, _read_user),
    VirtualKey: Mapper("key", schema.keys, _read_key),
}
