"""Callers."""

from __future__ import annotations

import pytest

from proxy.core.principal import UNKNOWN_CALLER, Identified, Principal


@pytest.mark.parametrize(
    ("caller", "tenant"),
    [
        (Identified("a", key_id="k", user="u", team="t"), "team:t"),
        (Identified("a", key_id="k", user="u"), "user:u"),
        (Identified("a", key_id="k"), "key:k"),
        (UNKNOWN_CALLER, "-"),
    ],
)
def test_the_tenant_is_the_team_else_the_user_else_the_key(caller: Principal, tenant: str) -> None:
    assert caller.tenant == tenant
