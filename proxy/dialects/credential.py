"""How a provider is shown one of our keys."""

from __future__ import annotations

from proxy.core.model import Provider, ProviderKey


def credential(provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    """The header that carries the key, `Bearer` before it in `authorization` alone; none without a key."""
    if key is None:
        return {}
    name = provider.auth_header.lower()
    return {name: f"Bearer {key.value}" if name == "authorization" else key.value}
