"""Operations on virtual keys. The key itself is in the answer to its creation only."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from proxy.admin.actor import Actor
from proxy.admin.bodies import read_values
from proxy.admin.objects import Objects, changes
from proxy.admin.values import (
    Body,
    BudgetBody,
    LimitsBody,
    Metadata,
    ModelLimitsBody,
    Name,
    ObjectId,
    Patterns,
    Time,
    shown_budget,
    shown_limits,
    shown_model_limits,
)
from proxy.admission.keys import IssuedKey
from proxy.core.accounts import VirtualKey
from proxy.core.errors import InvalidRequest
from proxy.core.timestamps import iso
from proxy.store.accounts import Accounts

Issue = Callable[[], IssuedKey]


class KeyChange(Body):
    """The fields of a key that can change."""

    name: Name = ""
    user: ObjectId | None = None
    team: ObjectId | None = None
    models: Patterns | None = None
    limits: LimitsBody | None = None
    model_limits: ModelLimitsBody | None = None
    budget: BudgetBody | None = None
    expires_at: Time | None = None
    disabled: bool = False
    metadata: Metadata | None = None


class KeyBody(KeyChange):
    """A new key."""

    name: Name


class Keys(Objects[VirtualKey]):
    """The virtual keys; `issue` makes one. Without a pepper there is no `issue`."""

    kind = VirtualKey
    what = "key"

    def __init__(
        self,
        accounts: Accounts,
        now: Callable[[], float],
        changed: Callable[[], Awaitable[None]],
        issue: Issue | None,
        *,
        counts_shared: bool = True,
    ) -> None:
        super().__init__(accounts, now, changed, counts_shared=counts_shared)
        self._issue = issue

    def shown(self, row: VirtualKey) -> dict[str, Any]:
        """Return the key as an answer has it; `prefix` and `last4` are the parts of it that are shown."""
        return {
            "id": row.id,
            "name": row.name,
            "prefix": row.prefix,
            "last4": row.last4,
            "user": row.user,
            "team": row.team,
            "models": row.models,
            "limits": shown_limits(row.limits),
            "model_limits": shown_model_limits(row.model_limits),
            "budget": shown_budget(row.budget),
            "expires_at": iso(row.expires_at),
            "disabled": row.disabled,
            "metadata": row.metadata,
            "created_at": iso(row.created_at),
            "created_by": row.created_by,
        }

    async def _made(self, actor: Actor, values: Mapping[str, Any]) -> tuple[VirtualKey, dict[str, Any]]:
        body = read_values(KeyBody, values)
        now = self._now()
        if body.expires_at is not None and body.expires_at <= now:
            raise InvalidRequest("`expires_at`: must be in the future.", param="expires_at")
        if self._issue is None:
            raise InvalidRequest("Keys need a pepper; set `auth.pepper` (SIGNALBOX_PEPPER) to 32 random bytes or more.")
        issued = self._issue()
        row = VirtualKey(
            id=f"key_{secrets.token_hex(10)}",
            digest=issued.digest,
            pepper_id=issued.pepper_id,
            prefix=issued.prefix,
            last4=issued.last4,
            created_at=now,
            created_by=actor.name,
            **_changes(body, None),
        )
        return row, {"key": issued.key}

    def _with(self, row: VirtualKey, values: Mapping[str, Any]) -> VirtualKey:
        body = read_values(KeyChange, values)
        return msgspec.structs.replace(row, **_changes(body, row))


def _changes(body: KeyChange, before: VirtualKey | None) -> dict[str, Any]:
    fields = changes(body, before)
    if "metadata" in fields:
        fields["metadata"] = fields["metadata"] or {}
    return fields
