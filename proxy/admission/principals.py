"""Turns an account into a principal: the models, limits and budgets of its key, its user and its team together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from proxy.core.accounts import Account, Budget, BudgetScope
from proxy.core.model import LimitValues
from proxy.core.principal import OF_MODEL, Identified, Owner, Role

UNLIMITED = LimitValues()
_SCOPES: tuple[BudgetScope, ...] = ("key", "user", "team")  # of the parts of an account


def refusal(account: Account) -> str | None:
    """Return why the account may not be used: one of its parts is disabled, or was deleted while the key was made."""
    key, user, team = account
    if key is not None and key.user is not None and user is None:
        return f"The user `{key.user}` of the key `{key.id}` does not exist."
    owner = (key.team if key else None) or (user.team if user else None)
    if owner is not None and team is None:
        return f"The team `{owner}` does not exist."
    for what, row in zip(("key", "user", "team"), account, strict=True):
        if row is not None and row.disabled:
            return f"The {what} `{row.id}` is disabled."
    return None


def principal_of(
    account: Account,
    *,
    name: str,
    user: str | None = None,
    team: str | None = None,
    role: Role | None = None,
    models: tuple[str, ...] | None = None,
    limits: LimitValues = UNLIMITED,
    key_limits: LimitValues = UNLIMITED,
) -> Identified:
    """Return the principal of a key, or of a user with a token.

    A token may name `user`, `team` and `role`, and restrict the user to `models` and `limits`. `key_limits` are those
    of a key that has none of its own.
    """
    key, own_user, own_team = account
    user = user or (key.user if key else None)
    team = team or (key.team if key else None) or (own_user.team if own_user else None)
    limited: list[tuple[Owner, LimitValues]] = []
    if key is not None:
        limited.append((("key", key.id), key_limits if key.limits == UNLIMITED else key.limits))
    if user is not None:
        limited.append((("user", user), _tighter(limits, own_user.limits if own_user else UNLIMITED)))
    if own_team is not None:
        limited.append((("team", own_team.id), own_team.limits))
    for scope, row in zip(_SCOPES, account, strict=True):
        if row is not None:
            of_models = row.model_limits.items()
            limited += [((scope, row.id, OF_MODEL, pattern), values) for pattern, values in of_models]
    return Identified(
        name,
        key_id=key.id if key else None,
        user=user,
        team=team,
        role=role or (own_user.role if own_user else "member"),
        models=tuple(each for each in (models, *_models(account)) if each is not None),
        limits=tuple((owner, values) for owner, values in limited if values != UNLIMITED),
        budgets=tuple(_budgets(account)),
    )


def _models(account: Account) -> Iterator[tuple[str, ...] | None]:
    return (row.models for row in account if row is not None)


def _budgets(account: Account) -> Iterator[tuple[BudgetScope, str, Budget]]:
    for scope, row in zip(_SCOPES, account, strict=True):
        if row is not None and row.budget is not None:
            yield scope, row.id, row.budget


def _tighter(one: LimitValues, other: LimitValues) -> LimitValues:
    """Return the lower of each limit."""
    if UNLIMITED in (one, other):
        return one if other == UNLIMITED else other
    pairs = {field.name: (getattr(one, field.name), getattr(other, field.name)) for field in fields(LimitValues)}
    return LimitValues(
        **{kind: min((each for each in pair if each is not None), default=None) for kind, pair in pairs.items()}
    )
