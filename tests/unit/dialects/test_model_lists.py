"""Where each provider's list of models is."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.clock import SystemClock
from proxy.core.model import Provider, ProviderKey
from proxy.core.wire import UpstreamRequest
from proxy.dialects.table import Dialects
from tests.support.calls import provider


def model_list(provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
    return Dialects(SystemClock())[provider.dialect].model_list(provider, key)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"base_url": "https://acme.test/v1"}, "https://acme.test/v1/models"),
        (
            {"base_url": "https://a.test/openai/deployments/{model}", "api_version": "2024-10-21"},
            "https://a.test/openai/models?api-version=2024-10-21",
        ),
        ({"base_url": "https://acme.test/{model}/v1"}, None),
        ({"dialect": "anthropic", "base_url": "https://acme.test"}, "https://acme.test/v1/models?limit=1"),
        ({"dialect": "anthropic", "base_url": "https://acme.test/v1"}, "https://acme.test/v1/models?limit=1"),
        ({"dialect": "gemini", "base_url": "https://acme.test"}, "https://acme.test/v1beta/models?pageSize=1"),
        ({"dialect": "gemini", "base_url": "https://acme.test/v1"}, "https://acme.test/v1/models?pageSize=1"),
        ({"dialect": "gemini", "vertex": True}, None),
        ({"dialect": "mock"}, None),
    ],
)
def test_each_provider_has_its_list_in_a_place_of_its_own(fields: dict[str, Any], url: str | None) -> None:
    request = model_list(provider(**fields), None)

    assert (request.url if request else None) == url
    assert request is None or (request.method, request.content) == ("GET", b"")


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {"authorization": "Bearer sk-main-secret"}),
        ({"auth_header": "api-key"}, {"api-key": "sk-main-secret"}),
        (
            {"dialect": "anthropic", "auth_header": "x-api-key"},
            {"x-api-key": "sk-main-secret", "anthropic-version": "2023-06-01"},
        ),
        ({"dialect": "anthropic", "api_version": "2030-01-01"}, {"anthropic-version": "2030-01-01"}),
        ({"headers": {"X-Team": "a"}}, {"x-team": "a", "accept-encoding": "identity"}),
    ],
)
def test_the_request_carries_what_the_provider_asks_of_any(fields: dict[str, Any], headers: dict[str, str]) -> None:
    acme = provider(**fields)

    request = model_list(acme, acme.keys[0])

    assert request
    assert headers.items() <= request.headers.items()


def test_a_keyless_provider_gets_no_credential() -> None:
    request = model_list(provider(keyless=True), None)

    assert request
    assert "authorization" not in request.headers
