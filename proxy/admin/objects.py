"""Operations on stored objects (keys, users, teams), as the admin API and the shell commands use them.

Bodies and answers are plain values; `docs/usage.md` and `docs/keys.md` describe them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from proxy.admin.actor import Actor
from proxy.admin.pages import invalid_after
from proxy.admin.values import (
    MOST_MODEL_LIMITS,
    BudgetBody,
    LimitsBody,
    ModelLimitsBody,
    budget_of,
    limits_of,
    model_limits_of,
    visible,
)
from proxy.core.accounts import Team, User, VirtualKey
from proxy.core.errors import InvalidRequest, NotAllowed, NotFound
from proxy.store.accounts import Accounts
from proxy.store.errors import Exists, InUse, Missing

Row = TypeVar("Row", VirtualKey, User, Team)
Owner = TypeVar("Owner", User, Team)


class Objects(ABC, Generic[Row]):
    """One kind of object. Every method raises `ProxyError`; a change is in force when it returns."""

    kind: type[Row]
    what: str  # in messages

    def __init__(
        self,
        accounts: Accounts,
        now: Callable[[], float],
        changed: Callable[[], Awaitable[None]],
        *,
        counts_shared: bool = True,
    ) -> None:
        self._accounts = accounts
        self._counts_shared = counts_shared  # False: several processes, each of which counts for itself
        self._now = now  # seconds since 1970
        self._changed = changed  # awaited after every change

    async def create(self, actor: Actor, values: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, and return it."""
        row, once = await self._made(actor, values)
        self._check_budget(values)
        self._check_grant(actor, row)
        await self._create_references(actor, values)
        try:
            await self._accounts.create(row, actor.name)
        except Exists:
            message = f"`id`: there is a {self.what} `{row.id}` already; change that one, or choose another id."
            raise InvalidRequest(message, param="id") from None
        await self._changed()
        return {**self.shown(row), **once}

    async def page(self, limit: int, after: str | None) -> dict[str, Any]:
        """Return the objects after the id `after`."""
        if after is not None and not visible(after):
            raise invalid_after()
        rows = await self._accounts.list(self.kind, after, limit)
        last = rows[-1].id if rows else None
        more = len(rows) == limit and bool(await self._accounts.list(self.kind, last, 1))
        return {"object": "list", "data": [self.shown(row) for row in rows], "has_more": more, "last_id": last}

    async def get(self, id: str) -> dict[str, Any]:
        """Return one object."""
        return self.shown(await self._found(id))

    async def change(self, actor: Actor, id: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change the fields that `values` name, and return the object."""

        def changed(row: Row) -> Row:
            after = self._with(row, values)
            self._check_grant(actor, after)
            return after

        self._check_budget(values)
        changed(await self._found(id))  # before references are looked up: the first error is that of the body
        await self._create_references(actor, values)
        try:
            row = await self._accounts.change(self.kind, id, changed, actor.name)
        except Missing:
            raise self._missing(id) from None
        await self._changed()
        return self.shown(row)

    async def delete(self, actor: Actor, id: str) -> dict[str, Any]:
        """Delete an object."""
        await self._found(id)
        try:
            await self._accounts.delete(self.kind, id, actor.name)
        except Missing:
            raise self._missing(id) from None
        except InUse as exc:
            raise InvalidRequest(f"The {self.what} `{id}` cannot be deleted: {exc}.") from None
        await self._changed()
        return {"id": id, "deleted": True}

    @abstractmethod
    def shown(self, row: Row) -> dict[str, Any]:
        """Return the object as an answer has it, without secrets."""
        ...

    @abstractmethod
    async def _made(self, actor: Actor, values: Mapping[str, Any]) -> tuple[Row, dict[str, Any]]:
        """Return a new row, and what only the answer to its creation has."""
        ...

    @abstractmethod
    def _with(self, row: Row, values: Mapping[str, Any]) -> Row:
        """Return the row with changes."""
        ...

    def _check_budget(self, values: Mapping[str, Any]) -> None:
        """Raise `InvalidRequest` for a budget that could not be kept."""
        if values.get("budget") is not None and not self._counts_shared:
            message = (
                "`budget`: with several workers a budget needs a shared `state`; set `state: redis://...`, or use one"
            )
            raise InvalidRequest(f"{message} worker (`server.workers`, `--workers`).", param="budget")

    def _check_grant(self, actor: Actor, row: Row) -> None:
        """Raise `NotAllowed` if the actor may not grant the row."""
        actor.check_grant(row.models, row.limits, row.budget, row.model_limits)

    async def _create_references(self, actor: Actor, values: Mapping[str, Any]) -> None:
        """Create the user and the team that a body names, if they do not exist: without limits, a member of the team.

        Raises `InvalidRequest` if the actor may not create an object without limits.
        """
        user, team = values.get("user"), values.get("team")
        if team is not None and await self._accounts.get(Team, team) is None:
            await self._create_reference(actor, "team", Team(id=team, created_at=self._now()))
        if user is not None and await self._accounts.get(User, user) is None:
            await self._create_reference(actor, "user", User(id=user, team=team, created_at=self._now()))

    async def _create_reference(self, actor: Actor, field: str, row: Owner) -> None:
        try:
            actor.check_grant(None, row.limits, None)
        except NotAllowed:
            message = f"`{field}`: there is no {field} `{row.id}`; create it first, or omit the field."
            raise InvalidRequest(message, param=field) from None
        with suppress(Exists):  # another request has created it meanwhile
            await self._accounts.create(row, actor.name)

    async def _found(self, id: str) -> Row:
        row = await self._accounts.get(self.kind, id) if visible(id) else None
        if row is None:
            raise self._missing(id)
        return row

    def _missing(self, id: str) -> NotFound:
        return NotFound(f"There is no {self.what} `{shown_id(id)}`.")


class Change(Protocol):
    """A body that may name limits and a budget."""

    limits: LimitsBody | None
    model_limits: ModelLimitsBody | None
    budget: BudgetBody | None

    @property
    def named(self) -> dict[str, Any]:
        """The fields that the body names, with their values."""
        ...


def changes(body: Change, before: VirtualKey | User | Team | None) -> dict[str, Any]:
    """Return the fields of a row that a body changes.

    Raises `InvalidRequest` for a budget without an amount, and for too many models with limits.
    """
    fields = body.named
    if "limits" in fields:
        fields["limits"] = limits_of(body.limits, before.limits if before else None)
    if "model_limits" in fields:
        fields["model_limits"] = model_limits_of(body.model_limits, before.model_limits if before else None)
        if len(fields["model_limits"]) > MOST_MODEL_LIMITS:
            message = f"`model_limits`: must name at most {MOST_MODEL_LIMITS} models."
            raise InvalidRequest(message, param="model_limits")
    if "budget" in fields:
        try:
            fields["budget"] = budget_of(body.budget, before.budget if before else None)
        except ValueError as exc:
            raise InvalidRequest(f"`budget`: {exc}.", param="budget") from exc
    return fields


def shown_id(id: str) -> str:
    """Return an id for an error message: printable and not too long."""
    return re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]", "?", id[:100])
