"""Families whose values other components hold; they are read at each scrape, in the event loop."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.core.model import KEYLESS
from proxy.core.snapshot import Snapshot
from proxy.observe.exposition import Family, series
from proxy.observe.series import cooldown_reasons

STATES = {"closed": 0, "half-open": 1, "open": 2}


def breakers(rows: Iterable[dict[str, Any]], snapshot: Snapshot) -> Family:
    """The state of each breaker of a configured key; models that are not configured count as one, `other`."""
    known = snapshot.deployments
    keys = _keys(snapshot)
    worst: dict[str, float] = {}
    for row in rows:
        provider, key = row["provider"], row["key"]
        if (provider, key) not in keys:
            continue  # removed from the configuration
        model = row["model"] if f"{provider}/{row['model']}" in known else "other"
        labels = [("provider", provider), ("model", model), ("key", key)]
        name = series("signalbox_breaker_state", labels)
        worst[name] = max(worst.get(name, 0), STATES[row["state"]])
    return Family("signalbox_breaker_state", "gauge", "0 closed, 1 half-open, 2 open.", worst, "max")


def cooldowns(rows: Iterable[dict[str, Any]], snapshot: Snapshot) -> Family:
    """Count each configured key once per reason, however many models its cooldowns are for."""
    known = _keys(snapshot)
    keys = {(row["provider"], row["reason"], row["key"]) for row in rows if (row["provider"], row["key"]) in known}
    tally = Tally({(name, why): 0 for name in snapshot.providers for why in cooldown_reasons(snapshot)})
    tally.update((provider, reason) for provider, reason, _ in keys if provider in snapshot.providers)
    counts: Tally[str] = Tally()
    for (name, reason), number in tally.items():
        labels = [("provider", snapshot.providers[name].label), ("reason", reason)]
        counts[series("signalbox_keys_in_cooldown", labels)] += number
    text = "Keys in cooldown, for one model or for all."
    return Family("signalbox_keys_in_cooldown", "gauge", text, dict(counts), "max")


def providers(snapshot: Snapshot) -> Family:
    """1 for a provider with a key."""
    usable = {name: not provider.stand_in for name, provider in snapshot.providers.items()}
    usable |= dict.fromkeys(snapshot.left_out, False)
    name, text = "signalbox_provider_usable", "1 if a key of the provider is set, else 0."
    values: dict[str, float] = {
        series(name, [("provider", each)]): int(is_usable) for each, is_usable in usable.items()
    }
    return Family(name, "gauge", text, values, "min")


def lag(seconds: float) -> Family:
    """Event-loop lag."""
    name, text = "signalbox_event_loop_lag_seconds", "Event-loop lag: the longest delay seen recently."
    return Family(name, "gauge", text, {name: seconds}, "max")


def retries_refused(number: int) -> Family:
    """Attempts that the retry budget has not allowed."""
    name = "signalbox_retries_refused_total"
    text = "Attempts not made because the retry budget was exhausted."
    return Family(name, "counter", text, {name: number})


def classifications(results: Mapping[str, int]) -> Family:
    """Profiles by a language model, and why there was none."""
    name, text = "signalbox_llm_classifications_total", "Profiles asked of the classifying model, by result."
    values: dict[str, float] = {series(name, [("result", result)]): number for result, number in results.items()}
    return Family(name, "counter", text, values)


def judgements(results: Mapping[tuple[str, str], int]) -> Family:
    """Answers that a model has judged, and shadow calls, by result."""
    name, text = "signalbox_judgements_total", "Answers given to the judging model, and shadow calls, by result."
    values: dict[str, float] = {
        series(name, [("kind", kind), ("result", result)]): number for (kind, result), number in results.items()
    }
    return Family(name, "counter", text, values)


def key_look_ups(number: int) -> Family:
    """Look-ups of keys, users and teams in the store."""
    name, text = "signalbox_key_lookups_total", "Look-ups of keys, users and teams in the store."
    return Family(name, "counter", text, {name: number})


def _keys(snapshot: Snapshot) -> set[tuple[str, str]]:
    """Return the configured keys by provider and id: not those of users."""
    return {
        (provider.name, key.id if key else KEYLESS)
        for provider in snapshot.providers.values()
        for key in provider.keys or (None,)
    }


def state(*, degraded: bool) -> Family:
    """Whether the shared state is unavailable."""
    name, text = "signalbox_state_degraded", "1 while the shared state is unavailable, else 0."
    return Family(name, "gauge", text, {name: int(degraded)}, "max")


def store(*, degraded: bool) -> Family:
    """Whether the store is unavailable."""
    name, text = "signalbox_store_degraded", "1 while the store is unavailable, else 0."
    return Family(name, "gauge", text, {name: int(degraded)}, "max")
