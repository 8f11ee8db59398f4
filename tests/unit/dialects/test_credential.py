"""How a provider is shown one of our keys."""

from __future__ import annotations

import pytest

from proxy.core.model import Provider, ProviderKey
from proxy.dialects.credential import credential


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("authorization", {"authorization": "Bearer sk-1"}),
        ("Authorization", {"authorization": "Bearer sk-1"}),
        ("X-Api-Key", {"x-api-key": "sk-1"}),
    ],
)
def test_a_key_is_a_bearer_only_in_authorization(header: str, expected: dict[str, str]) -> None:
    provider = Provider("acme", "openai", "", auth_header=header)

    assert credential(provider, ProviderKey("main", "sk-1")) == expected


def test_without_a_key_there_is_no_header() -> None:
    assert credential(Provider("acme", "openai", ""), None) == {}
