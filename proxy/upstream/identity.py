"""Who gets our calls, and as whom: what is held against a key was said of the key at that host, under those headers.

When any of it changes, what the one before has said is not the next one's fault. Limits' counts are another matter:
most providers count by account, whatever leads there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from proxy.core.types import KEYLESS, Provider, ProviderKey, Snapshot


def identity(provider: Provider, key: ProviderKey | None) -> str:
    """A digest that stays the same for as long as the same calls would go to the same place under the same key."""
    who = (
        (provider.name, provider.dialect, provider.base_url, provider.api_version, provider.vertex, provider.proxy),
        *((provider.ca,) if provider.ca else ()),
        (provider.auth_header, sorted(provider.headers.items())),
        (key.id, key.value) if key else KEYLESS,
    )
    return hashlib.sha256(repr(who).encode()).hexdigest()


def identities(snapshot: Snapshot) -> dict[tuple[str, str], str]:
    """The digests of all keys, by provider and key id; a provider without keys has one of its own."""
    return {
        (provider.name, key.id if key else KEYLESS): identity(provider, key)
        for provider in snapshot.providers.values()
        for key in provider.keys or (None,)
    }


def replaced(provider: Provider, key: ProviderKey | None, in_force: Mapping[tuple[str, str], str]) -> bool:
    """Whether somebody else goes by that name now, who is not to suffer for what this one does."""
    current = in_force.get((provider.name, key.id if key else KEYLESS))
    return current is not None and current != identity(provider, key)
