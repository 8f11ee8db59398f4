"""The header that carries a provider key."""

from __future__ import annotations

from proxy.core.model import Provider, ProviderKey


def credential(provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    """Return the header for `key`, with `Bearer` only in `authorization`; empty without a key."""
    if key is None:
        return {}
    name = provider.auth_header.lower()
    return {name: f"Bearer {key.value}" if name == "authorization" else key.value}
