"""The choice between the keys of a provider: smooth weighted round robin, which spreads shares evenly.

Source: nginx, "Upstream: smooth weighted round-robin balancing", commit 52327e0627f4, 2012.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.model import ProviderKey, RouteKey

Choice = tuple[ProviderKey | None, RouteKey]


class KeyRing:
    """Remembers the share that each key of each provider has had."""

    def __init__(self) -> None:
        self._credits: dict[str, dict[str, float]] = {}  # provider -> key id -> credit

    def next(self, choices: Sequence[Choice]) -> Choice:
        """Return the next of the keys of one provider, each with its route key."""
        if len(choices) == 1:
            return choices[0]
        credit = self._credits.setdefault(choices[0][1].provider, {})
        total = 0.0
        for key, route in choices:
            weight = key.weight if key else 1
            credit[route.key_id] = credit.get(route.key_id, 0.0) + weight
            total += weight
        best = max(choices, key=lambda choice: credit[choice[1].key_id])
        credit[best[1].key_id] -= total
        return best
