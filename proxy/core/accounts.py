"""Virtual keys, users and teams as they are stored. Times are seconds since 1970, money is in nano-dollars."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from msgspec import Struct

from proxy.core.model import LimitValues

Period = Literal["day", "week", "month", "total"]
BudgetScope = Literal["total", "provider", "team", "user", "key"]
ModelLimits = dict[str, LimitValues]  # by pattern, such as `openai/gpt-4o` or `tier/*`


class Budget(Struct, frozen=True):
    """The most that may be spent in one period; `hard`: calls beyond it are rejected, else they only warn."""

    nusd: int
    period: Period = "month"
    hard: bool = True
    timezone: str = "UTC"  # in which periods begin


class Team(Struct, frozen=True, kw_only=True):
    """A team. `models` are patterns of model ids and routes that its members may use; `None` allows all."""

    id: str
    models: tuple[str, ...] | None = None
    limits: LimitValues = LimitValues()
    model_limits: ModelLimits = {}
    budget: Budget | None = None
    disabled: bool = False
    created_at: float = 0.0


class User(Struct, frozen=True, kw_only=True):
    """A user, member of at most one team."""

    id: str
    role: Literal["admin", "auditor", "member"] = "member"
    team: str | None = None
    models: tuple[str, ...] | None = None
    limits: LimitValues = LimitValues()
    model_limits: ModelLimits = {}
    budget: Budget | None = None
    disabled: bool = False
    created_at: float = 0.0


class VirtualKey(Struct, frozen=True, kw_only=True):
    """A key that Signalbox issued. The key itself is not stored, only its `digest`: HMAC-SHA-256 under a pepper."""

    id: str
    name: str
    digest: bytes
    pepper_id: str  # identifies the pepper without revealing it
    prefix: str  # the first characters of the key, to recognise it
    last4: str
    user: str | None = None
    team: str | None = None
    models: tuple[str, ...] | None = None
    limits: LimitValues = LimitValues()
    model_limits: ModelLimits = {}
    budget: Budget | None = None
    expires_at: float | None = None
    disabled: bool = False
    metadata: dict[str, Any] = {}
    created_at: float = 0.0
    created_by: str = ""


class Account(NamedTuple):
    """A key with its user and team, as one look-up returns them; a user without a key comes from a token."""

    key: VirtualKey | None
    user: User | None
    team: Team | None
