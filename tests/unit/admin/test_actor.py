"""No object may do more than its creator."""

from __future__ import annotations

import pytest

from proxy.admin.actor import Actor
from proxy.core.accounts import Budget
from proxy.core.errors import NotAllowed
from proxy.core.model import LimitValues
from proxy.core.principal import Identified

NONE = LimitValues()
USD = 10**9


def models(*patterns: str) -> Actor:
    return Actor("ann", Identified("ann", role="admin", models=(patterns,)))


def limits(**values: int) -> Actor:
    return Actor("ann", Identified("ann", role="admin", limits=((("user", "ann"), LimitValues(**values)),)))


def budget(most: Budget) -> Actor:
    return Actor("ann", Identified("ann", role="admin", budgets=(("user", "ann", most),)))


def test_the_admin_token_is_unlimited() -> None:
    Actor("admin-token").check_grant(None, NONE, None)
    Actor("admin-token").check_role("admin")


@pytest.mark.parametrize("granted", ["openai/*", "openai/gpt-4o", "openai/gpt-?", "openai/*-mini"])
def test_models_within_its_own_may_be_granted(granted: str) -> None:
    models("anthropic/x", "openai/*").check_grant((granted,), NONE, None)


@pytest.mark.parametrize("granted", [None, ("*",), ("openai/gpt-4o", "mistral/x"), ("?penai/*",), ("openai*",)])
def test_other_models_may_not_be_granted(granted: tuple[str, ...] | None) -> None:
    with pytest.raises(NotAllowed, match="^`models`: "):
        models("openai/*").check_grant(granted, NONE, None)


@pytest.mark.parametrize(
    ("own", "granted"),
    [
        ("?", "*"),  # `*` also matches longer names
        ("?????x", "[a-z]x"),  # five characters as a text, one as a pattern
        ("*]x", "[y]x"),  # the bracket is part of the pattern only
    ],
)
def test_a_wider_pattern_that_looks_narrower_is_rejected(own: str, granted: str) -> None:
    with pytest.raises(NotAllowed):
        models(own).check_grant((granted,), NONE, None)


def test_every_list_of_its_own_models_counts() -> None:
    actor = Actor("ann", Identified("ann", role="admin", models=(("openai/*",), ("*/gpt-4o",))))

    actor.check_grant(("openai/gpt-4o",), NONE, None)
    with pytest.raises(NotAllowed):
        actor.check_grant(("openai/gpt-5",), NONE, None)


def test_limits_within_its_own_may_be_granted() -> None:
    limits(rpm=10).check_grant(None, LimitValues(rpm=10, tpm=5), None)


@pytest.mark.parametrize("granted", [NONE, LimitValues(rpm=11), LimitValues(tpm=5)])
def test_higher_limits_may_not_be_granted(granted: LimitValues) -> None:
    with pytest.raises(NotAllowed, match=r"^`limits\.rpm`: .* at most 10\.$"):
        limits(rpm=10).check_grant(None, granted, None)


@pytest.mark.parametrize(
    ("own", "granted"),
    [
        (Budget(nusd=5 * USD), Budget(nusd=5 * USD)),
        (Budget(nusd=5 * USD), Budget(nusd=5 * USD, period="total")),
        (Budget(nusd=5 * USD, period="day"), Budget(nusd=5 * USD, period="month")),
        (Budget(nusd=5 * USD, hard=False), Budget(nusd=1 * USD, hard=False)),
    ],
)
def test_a_budget_within_its_own_may_be_granted(own: Budget, granted: Budget) -> None:
    budget(own).check_grant(None, NONE, granted)


@pytest.mark.parametrize(
    ("own", "granted"),
    [
        (Budget(nusd=5 * USD), None),
        (Budget(nusd=5 * USD), Budget(nusd=5 * USD + 1)),
        (Budget(nusd=5 * USD), Budget(nusd=5 * USD, period="day")),
        (Budget(nusd=5 * USD), Budget(nusd=1 * USD, hard=False)),
        (Budget(nusd=5 * USD, period="week"), Budget(nusd=5 * USD, period="month")),  # a week can be in two months
        (Budget(nusd=5 * USD, period="day"), Budget(nusd=5 * USD, period="day", timezone="Asia/Tokyo")),
        (Budget(nusd=5 * USD, period="total"), Budget(nusd=5 * USD, period="month")),
    ],
)
def test_a_larger_budget_may_not_be_granted(own: Budget, granted: Budget | None) -> None:
    with pytest.raises(NotAllowed, match="^`budget`: "):
        budget(own).check_grant(None, NONE, granted)


def test_only_an_admin_grants_roles() -> None:
    member = Actor("bob", Identified("bob", role="auditor"))

    Actor("ann", Identified("ann", role="admin")).check_role("admin")
    member.check_role("member")
    with pytest.raises(NotAllowed):
        member.check_role("admin")
