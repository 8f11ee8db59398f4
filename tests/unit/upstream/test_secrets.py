"""Which secrets are looked for in what a provider sends."""

from __future__ import annotations

from base64 import b64encode

import pytest

from proxy.core.model import Provider, ProviderKey
from proxy.upstream.secrets import Cleaners

PROVIDER = Provider(
    "acme",
    "openai",
    "https://user:base-password@acme.test/v1",
    keys=(ProviderKey("main", "sk-main-0123456789"), ProviderKey("spare", "sk-spare-9876543210")),
    headers={"x-tenant": "Bearer tenant-token-1", "X-Title": "A public title", "user-agent": "some-agent/1.0"},
    proxy="http://me:proxy%2Dpassword@proxy.test:3128",
)


@pytest.mark.parametrize(
    "secret",
    [
        "sk-main-0123456789",
        "sk-spare-9876543210",
        "Bearer tenant-token-1",
        "tenant-token-1",
        "base-password",
        "proxy%2Dpassword",
        "proxy-password",
        b64encode(b"me:proxy-password").decode(),
        "the-admin-token",
    ],
)
def test_every_secret_of_a_provider_is_masked(secret: str) -> None:
    assert secret not in Cleaners(["the-admin-token"]).of(PROVIDER).text(f"I got {secret} from you")


@pytest.mark.parametrize("text", ["A public title", "some-agent/1.0", "acme.test", "tenant x", "main"])
def test_what_is_public_is_not_masked(text: str) -> None:
    assert Cleaners(["the-admin-token"]).of(PROVIDER).text(text) == text


def test_the_filter_is_kept_until_the_provider_changes() -> None:
    cleaners = Cleaners()
    other = Provider("acme", "openai", "https://acme.test/v1", keys=(ProviderKey("main", "sk-new-0123456789"),))

    assert cleaners.of(PROVIDER) is cleaners.of(PROVIDER)
    assert cleaners.of(other).text("sk-new-0123456789") == "***"
    assert cleaners.of(PROVIDER).text("sk-main-0123456789") == "***"
