"""Operations on users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from proxy.admin.actor import Actor
from proxy.admin.bodies import read_values
from proxy.admin.objects import Objects, changes
from proxy.admin.values import (
    Body,
    BudgetBody,
    LimitsBody,
    ModelLimitsBody,
    ObjectId,
    Patterns,
    shown_budget,
    shown_limits,
    shown_model_limits,
)
from proxy.core.accounts import User
from proxy.core.timestamps import iso


class UserChange(Body):
    """The fields of a user that can change."""

    role: Literal["admin", "auditor", "member"] = "member"
    team: ObjectId | None = None
    models: Patterns | None = None
    limits: LimitsBody | None = None
    model_limits: ModelLimitsBody | None = None
    budget: BudgetBody | None = None
    disabled: bool = False


class UserBody(UserChange):
    """A new user."""

    id: ObjectId


class Users(Objects[User]):
    """The users."""

    kind = User
    what = "user"

    def shown(self, row: User) -> dict[str, Any]:
        """Return the user as an answer has it."""
        return {
            "id": row.id,
            "role": row.role,
            "team": row.team,
            "models": row.models,
            "limits": shown_limits(row.limits),
            "model_limits": shown_model_limits(row.model_limits),
            "budget": shown_budget(row.budget),
            "disabled": row.disabled,
            "created_at": iso(row.created_at),
        }

    async def _made(self, actor: Actor, values: Mapping[str, Any]) -> tuple[User, dict[str, Any]]:
        body = read_values(UserBody, values)
        return User(created_at=self._now(), **changes(body, None)), {}

    def _with(self, row: User, values: Mapping[str, Any]) -> User:
        body = read_values(UserChange, values)
        return msgspec.structs.replace(row, **changes(body, row))

    def _check_grant(self, actor: Actor, row: User) -> None:
        actor.check_role(row.role)
        super()._check_grant(actor, row)
