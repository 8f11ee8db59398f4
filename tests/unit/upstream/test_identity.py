"""Who gets our calls, and as whom: what makes somebody else of it, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.model import KEYLESS, ProviderKey, Timeouts
from proxy.upstream.identity import identities, identity, replaced
from tests.support.calls import deployment, provider, snapshot

ACME = provider()
KEY = ACME.keys[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"base_url": "https://acme.test/v2"},
        {"dialect": "anthropic"},
        {"auth_header": "api-key"},
        {"api_version": "2024-10-21"},
        {"headers": {"openai-organization": "org-1"}},
        {"proxy": "http://user:password@way.test:3128"},
        {"ca": "-----BEGIN CERTIFICATE-----"},
        {"vertex": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_address_or_another_face_is_somebody_else(changed: dict[str, Any]) -> None:
    assert identity(replace(ACME, **changed), KEY) != identity(ACME, KEY)


def test_another_value_or_another_id_is_another_key() -> None:
    others = [replace(KEY, value="sk-another"), replace(KEY, id="another"), None]

    assert len({identity(ACME, key) for key in (KEY, *others)}) == 4


def test_what_leads_to_the_same_place_is_the_same() -> None:
    patient = replace(ACME, timeouts=Timeouts(total=5.0), any_model=True, stream_usage="never", prompt_cache="auto")
    one, two = replace(ACME, headers={"a": "1", "b": "2"}), replace(ACME, headers={"b": "2", "a": "1"})

    assert identity(patient, replace(KEY, weight=7)) == identity(ACME, KEY)
    assert identity(one, KEY) == identity(two, KEY)


def test_every_key_and_every_keyless_provider_has_an_identity() -> None:
    two = provider("two", keys=(ProviderKey("a", "sk-same"), ProviderKey("b", "sk-same")))

    found = identities(snapshot(deployment(of=two), deployment(of=provider("none", keyless=True))))

    assert set(found) == {("two", "a"), ("two", "b"), ("none", KEYLESS)}
    assert len(set(found.values())) == 3


def test_no_secret_can_be_read_from_it() -> None:
    of = replace(ACME, headers={"x-token": "private"}, proxy="http://user:private@way.test")

    found = identity(of, replace(KEY, value="private"))

    assert len(found) == 64
    assert "private" not in found


def test_a_key_at_another_address_is_replaced() -> None:
    moved = replace(ACME, base_url="https://elsewhere.test/v1")
    in_force = snapshot(deployment(of=moved))

    assert replaced(ACME, KEY, in_force)
    assert not replaced(moved, KEY, in_force)
    assert not replaced(ACME, replace(KEY, id="unknown"), in_force)
