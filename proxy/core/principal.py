"""The identified caller of a request, and what it may use."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

from proxy.core.accounts import Budget, BudgetScope
from proxy.core.model import LimitValues

Role = Literal["admin", "auditor", "member"]
Owner = tuple[str, ...]  # whose limits are counted: ("key", id), ("user", id) or ("team", id)
OF_MODEL = "model"  # (*owner, OF_MODEL, pattern) owns the limits for the models that match the pattern


class Principal:
    """A caller. Calls with the same `name` wait in the queue behind each other, and share what a provider remembers.

    The class attributes are those of an anonymous caller, who may use everything.
    """

    __slots__ = ("_name",)

    key_id: str | None = None  # of a virtual key
    user: str | None = None
    team: str | None = None
    role: Role = "member"
    models: tuple[tuple[str, ...], ...] = ()  # lists of patterns such as `openai/*`; each list must match
    limits: tuple[tuple[Owner, LimitValues], ...] = ()
    budgets: tuple[tuple[BudgetScope, str, Budget], ...] = ()  # scope, id, budget

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The name in `/admin/queues`; it contains no credential."""
        return self._name

    @property
    def tenant(self) -> str:
        """The owner of stored dialogs and of sealed reasoning: the team, else the user, else the key."""
        if self.team is not None:
            return f"team:{self.team}"
        if self.user is not None:
            return f"user:{self.user}"
        return "-" if self.key_id is None else f"key:{self.key_id}"

    def allows(self, names: Sequence[str]) -> bool:
        """Return whether every list of patterns matches one of `names`: a model's id, or the route that leads to it."""
        return all(_matches(patterns, names) for patterns in self.models)


class Identified(Principal):
    """A caller whose credential was verified."""

    __slots__ = ("budgets", "key_id", "limits", "models", "role", "team", "user")

    def __init__(
        self,
        name: str,
        *,
        key_id: str | None = None,
        user: str | None = None,
        team: str | None = None,
        role: Role = "member",
        models: tuple[tuple[str, ...], ...] = (),
        limits: tuple[tuple[Owner, LimitValues], ...] = (),
        budgets: tuple[tuple[BudgetScope, str, Budget], ...] = (),
    ) -> None:
        super().__init__(name)
        self.key_id = key_id
        self.user = user
        self.team = team
        self.role = role
        self.models = models
        self.limits = limits
        self.budgets = budgets


UNKNOWN_CALLER = Principal("-")


def _matches(patterns: Sequence[str], names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
