"""Policies for users' own provider keys that other settings rule out."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.check.user_keys import user_key_problems
from proxy.config.compile.providers import compile_providers
from proxy.config.settings.schema import Settings

AUTH = {"mode": "keys", "encryption_key": "k" * 32}
KEYED = {"base_url": "https://api.test/v1", "keys": [{"value": "sk-0123456789abcdef"}]}
UNSET = {"base_url": "https://api.test/v1", "keys": [{"id": "main", "value": ""}]}
KEYLESS = {"base_url": "http://127.0.0.1:11434/v1"}


def settings(auth: dict[str, Any], *, store: str = "sqlite", **providers: Any) -> Settings:
    mode = {"mode": auth["mode"]}
    made = Settings.model_validate({"auth": {**auth, "mode": "none"}, "store": store, "providers": providers})
    return made.model_copy(update={"auth": made.auth.model_copy(update=mode)})


def found(of: Settings) -> list[str]:
    return [".".join(map(str, each.path)) for each in user_key_problems(of)]


@pytest.mark.parametrize(
    ("auth", "store"),
    [({**AUTH, "mode": "none"}, "sqlite"), (AUTH, "none"), ({**AUTH, "encryption_key": None}, "sqlite")],
    ids=["no users", "no store", "no key"],
)
def test_only_needs_users_a_store_and_an_encryption_key(auth: dict[str, Any], store: str) -> None:
    assert found(settings({**auth, "provider_keys": "only"}, store=store)) == ["auth.provider_keys"]
    assert found(settings(auth, store=store, p={**KEYED, "user_keys": "only"})) == ["providers.p.user_keys"]
    assert found(settings(auth, store=store, p=KEYED)) == []


def test_only_is_accepted_where_it_can_work() -> None:
    assert found(settings({**AUTH, "provider_keys": "only"}, p={**KEYED, "user_keys": "only"})) == []


@pytest.mark.parametrize(("policy", "places"), [("only", 1), ("prefer", 1), ("off", 0)])
def test_policy_of_a_keyless_provider_is_rejected(policy: str, places: int) -> None:
    assert len(found(settings(AUTH, p={**KEYLESS, "user_keys": policy}))) == places


def test_providers_policy_replaces_the_general_one() -> None:
    of = settings({**AUTH, "provider_keys": "off"}, a=KEYED, b={**KEYED, "user_keys": "prefer"}, c=KEYLESS)

    providers, _ = compile_providers(of)

    assert {name: provider.user_keys for name, provider in providers.items()} == {"a": "off", "b": "prefer", "c": "off"}


def test_provider_without_a_key_is_usable_with_own_keys_only() -> None:
    of = settings(AUTH, a=UNSET, b={**UNSET, "user_keys": "only"})

    providers, left_out = compile_providers(of)

    assert list(left_out) == ["a"]
    assert [(key.id, key.value) for key in providers["b"].keys] == [("main", "")]
