"""Operations on teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from proxy.core.accounts import Team
from proxy.core.timestamps import iso


class TeamChange(Body):
    """The fields of a team that can change."""

    models: Patterns | None = None
    limits: LimitsBody | None = None
    model_limits: ModelLimitsBody | None = None
    budget: BudgetBody | None = None
    disabled: bool = False


class TeamBody(TeamChange):
    """A new team."""

    id: ObjectId


class Teams(Objects[Team]):
    """The teams."""

    kind = Team
    what = "team"

    def shown(self, row: Team) -> dict[str, Any]:
        """Return the team as an answer has it."""
        return {
            "id": row.id,
            "models": row.models,
            "limits": shown_limits(row.limits),
            "model_limits": shown_model_limits(row.model_limits),
            "budget": shown_budget(row.budget),
            "disabled": row.disabled,
            "created_at": iso(row.created_at),
        }

    async def _made(self, actor: Actor, values: Mapping[str, Any]) -> tuple[Team, dict[str, Any]]:
        body = read_values(TeamBody, values)
        return Team(created_at=self._now(), **changes(body, None)), {}

    def _with(self, row: Team, values: Mapping[str, Any]) -> Team:
        body = read_values(TeamChange, values)
        return msgspec.structs.replace(row, **changes(body, row))
