"""The identity of a provider key: a digest of its value, base URL and headers.

If any of these changes, cooldowns, breakers and learned limits of the old key do not apply to the new one. Counters of
limits stay, because most providers count per account.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from proxy.core.model import KEYLESS, Provider, ProviderKey
from proxy.core.snapshot import Snapshot


def identity(provider: Provider, key: ProviderKey | None) -> str:
    """Return a digest that changes with the key, the address or the headers of calls."""
    parts = (
        (provider.name, provider.dialect, provider.base_url, provider.api_version, provider.vertex, provider.proxy),
        *((provider.ca,) if provider.ca else ()),
        (provider.auth_header, sorted(provider.headers.items())),
        (key.id, key.value) if key else KEYLESS,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def identities(snapshot: Snapshot) -> dict[tuple[str, str], str]:
    """Return the digests of all keys, by (provider, key id); a provider without keys has one entry."""
    return {
        (provider.name, key.id if key else KEYLESS): identity(provider, key)
        for provider in snapshot.providers.values()
        for key in provider.keys or (None,)
    }


def replaced(provider: Provider, key: ProviderKey | None, active: Mapping[tuple[str, str], str]) -> bool:
    """Return whether the key of that id has been replaced since the attempt began."""
    current = active.get((provider.name, key.id if key else KEYLESS))
    return current is not None and current != identity(provider, key)
