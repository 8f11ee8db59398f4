"""Requests for the list of a provider's models: they cost nothing, and show that it answers and accepts the key."""

from __future__ import annotations

from proxy.core.model import Provider, ProviderKey
from proxy.core.wire import UpstreamRequest
from proxy.dialects.credential import credential


def list_request(
    provider: Provider, key: ProviderKey | None, url: str, headers: dict[str, str] | None = None
) -> UpstreamRequest:
    """Return a GET of `url` with the dialect's `headers`, the provider's own, and the key."""
    sent = {
        "accept": "application/json",
        **(headers or {}),
        **{name.lower(): value for name, value in provider.headers.items()},
        "accept-encoding": "identity",
        **credential(provider, key),
    }
    return UpstreamRequest(url, sent, b"", provider.timeouts.connect, provider.proxy, provider.ca, method="GET")
