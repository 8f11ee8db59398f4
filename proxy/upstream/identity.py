"""The identity of a provider key: a digest of its value, base URL and headers.

If any of these changes, cooldowns, breakers and learned limits of the old key do not apply to the new one. Counters of
limits stay, because most providers count per account.
"""

from __future__ import annotations

import hashlib

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


def replaced(provider: Provider, key: ProviderKey | None, in_force: Snapshot) -> bool:
    """Return whether the key of that id has been replaced since the attempt began."""
    current = in_force.providers.get(provider.name)
    if current is None or current is provider:
        return False
    key_id = key.id if key else KEYLESS
    same_id = [other for other in current.keys or (None,) if (other.id if other else KEYLESS) == key_id]
    return bool(same_id) and identity(current, same_id[0]) != identity(provider, key)


def changed_keys(before: Snapshot, now: Snapshot) -> list[tuple[str, str]]:
    """Return (provider, key id) for each key that is new, has another value, or has another base URL."""
    old = identities(before)
    return [name for name, digest in identities(now).items() if digest != old.get(name)]
