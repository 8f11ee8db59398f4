"""Accounts that may not be used."""

from __future__ import annotations

import pytest

from proxy.admission.principals import refusal
from proxy.core.accounts import Account, Team, User, VirtualKey


def key(user: str | None = None, team: str | None = None) -> VirtualKey:
    return VirtualKey(
        id="key_1", name="n", digest=b"", pepper_id="p", prefix="sb-", last4="0000", user=user, team=team
    )  # fmt: skip


@pytest.mark.parametrize(
    "account",
    [
        Account(key(), None, None),
        Account(key(user="ann"), User(id="ann"), None),
        Account(key(user="ann", team="red"), User(id="ann", team="blue"), Team(id="red")),
        Account(None, User(id="ann", team="red"), Team(id="red")),
        Account(None, None, None),
    ],
)
def test_a_whole_account_may_be_used(account: Account) -> None:
    assert refusal(account) is None


@pytest.mark.parametrize(
    "account",
    [
        Account(key(user="ann"), None, None),  # the user was deleted while the key was created
        Account(key(team="red"), None, None),
        Account(key(user="ann"), User(id="ann", team="red"), None),
        Account(None, User(id="ann", team="red"), None),
    ],
)
def test_a_key_without_its_owner_may_not_be_used(account: Account) -> None:
    assert "does not exist" in (refusal(account) or "")


def test_a_disabled_part_disables_the_account() -> None:
    assert refusal(Account(key(team="red"), None, Team(id="red", disabled=True))) == "The team `red` is disabled."
