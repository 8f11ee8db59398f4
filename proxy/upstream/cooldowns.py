"""Cooldowns: a provider key that is not used for a while after a failure, for one model (429) or for all (401, 403).

No clock in this module; times are arguments, in monotonic seconds. State is kept by name, so it survives a reload.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from proxy.core.failures import FailureKind
from proxy.core.hints import LONGEST
from proxy.core.model import RouteKey
from proxy.core.saved import SavedCooldown

MAX_COOLDOWNS = 10_000  # `any_model` lets clients name models; the oldest are dropped


class CooldownKey(NamedTuple):
    """What is in cooldown: a key for one model, or for all models with `None`."""

    provider: str
    key_id: str
    model: str | None


@dataclass(slots=True)
class Cooldown:
    """A cooldown of a key; it stays known after its end, until a call with the key succeeds."""

    until: float
    reason: FailureKind
    times: int = 1  # consecutive cooldowns
    seconds: float = 0.0  # whole length


class Cooldowns:
    """The cooldowns of all keys; `entries` is empty while every key works."""

    def __init__(self) -> None:
        self.entries: dict[CooldownKey, Cooldown] = {}

    def of(self, route: RouteKey, now: float) -> Cooldown | None:
        """Return the cooldown that is active for a route key."""
        entries = self.entries
        if not entries:
            return None
        for key in _keys(route):
            cooldown = entries.get(key)
            if cooldown and cooldown.until > now:
                return cooldown
        return None

    def start(self, key: CooldownKey, reason: FailureKind, seconds: float, times: int, now: float) -> None:
        """Start a cooldown of `seconds`, the `times`-th in a row; a longer one stays."""
        before = self.entries.get(key)
        until = max(now + seconds, before.until if before else 0.0)
        self.entries[key] = Cooldown(until, reason, times, until - now)
        while len(self.entries) > MAX_COOLDOWNS:
            del self.entries[next(iter(self.entries))]

    def end(self, key: CooldownKey, now: float) -> None:
        """End a cooldown; the next success of the key resets the count of consecutive ones."""
        cooldown = self.entries.get(key)
        if cooldown:
            cooldown.until = min(cooldown.until, now)

    def accepted(self, route: RouteKey, now: float) -> None:
        """Drop expired cooldowns of a key that works, which resets the count of consecutive ones."""
        for key in _keys(route):
            cooldown = self.entries.get(key)
            if cooldown and cooldown.until <= now:
                del self.entries[key]

    def reset(self, provider: str | None, model: str | None, key_id: str | None) -> list[CooldownKey]:
        """End matching cooldowns (`None` matches all); return their keys."""
        keys = [key for key in self.entries if _matches(key, provider, model, key_id)]
        for key in keys:
            del self.entries[key]
        return keys

    def rows(self, now: float) -> list[dict[str, Any]]:
        """Return a row for every active cooldown, for `/admin/providers` and metrics."""
        return [
            {
                "provider": key.provider,
                "key": key.key_id,
                "model": key.model,
                "reason": cooldown.reason.value,
                "seconds_left": round(cooldown.until - now, 3),
            }
            for key, cooldown in self.entries.items()
            if cooldown.until > now
        ]

    def export(self, shift: float) -> list[SavedCooldown]:
        """Return the cooldowns to save, with times later by `shift` seconds."""
        return [
            SavedCooldown(
                provider=key.provider,
                key=key.key_id,
                model=key.model,
                until=round(cooldown.until + shift, 2),
                reason=cooldown.reason,
                times=cooldown.times,
                seconds=round(cooldown.seconds, 2),
            )
            for key, cooldown in self.entries.items()
        ]

    def restore(self, saved: Iterable[SavedCooldown], shift: float, now: float) -> None:
        """Restore what `export` returned, each cut to `LONGEST` seconds; existing cooldowns stay."""
        restored = {}
        for row in saved:
            length = min(max(row.seconds, 0.0), LONGEST)
            until = min(row.until - shift, now + length)
            restored[CooldownKey(row.provider, row.key, row.model)] = Cooldown(until, row.reason, row.times, length)
        self.entries = {**restored, **self.entries}


def _keys(route: RouteKey) -> tuple[CooldownKey, CooldownKey]:
    provider, model, key_id = route
    return CooldownKey(provider, key_id, None), CooldownKey(provider, key_id, model)


def _matches(key: CooldownKey, provider: str | None, model: str | None, key_id: str | None) -> bool:
    wanted = ((provider, key.provider), (model, key.model), (key_id, key.key_id))
    return all(want is None or want == have for want, have in wanted)
