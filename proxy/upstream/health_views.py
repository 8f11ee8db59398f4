"""Cooldown records, and conversions of the state of `Health` to admin rows, due probes and saved values.

Pure functions: they take the state of `Health` as arguments and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.breaker import Breaker
from proxy.core.failures import FailureKind
from proxy.core.hints import LONGEST
from proxy.core.policies import BreakerPolicy
from proxy.core.saved import saved_count, saved_seconds, saved_text

BreakerName = tuple[str, str, str]  # provider, model, key id
RestName = tuple[str, str, str | None]  # provider, key id, model (`None` for all)
REASONS = frozenset(FailureKind)


@dataclass(slots=True)
class Rest:
    """A cooldown of a key; `until` is in monotonic seconds."""

    until: float
    reason: str
    times: int = 1  # consecutive cooldowns
    seconds: float = 0.0  # whole length


@dataclass(frozen=True, slots=True)
class Due:
    """A cooldown or an open breaker. A `model` of `None` means all models; `length` is the whole time in seconds."""

    provider: str
    key: str
    model: str | None
    rest: bool  # a cooldown, else a breaker
    reason: str  # a `FailureKind`, empty if unknown
    until: float
    length: float


def breaker_rows(breakers: Mapping[BreakerName, Breaker], policy: BreakerPolicy, now: float) -> list[dict[str, Any]]:
    """Return a row for every breaker."""
    rows = []
    for (provider, model, key), breaker in breakers.items():
        state = "half-open" if breaker.state == "open" and now >= breaker.open_until else breaker.state
        rows.append(
            {
                "provider": provider,
                "model": model,
                "key": key,
                "state": state,
                "failures": breaker.failures(policy, now),
                "reason": breaker.reason,
                "openings": breaker.openings,
                "open_seconds_left": round(max(0.0, breaker.open_until - now), 3) if state == "open" else 0.0,
            }
        )
    return rows


def rest_rows(rests: Mapping[RestName, Rest], now: float) -> list[dict[str, Any]]:
    """Return a row for every active cooldown."""
    return [
        {
            "provider": provider,
            "key": key,
            "model": model,
            "reason": rest.reason,
            "seconds_left": round(rest.until - now, 3),
        }
        for (provider, key, model), rest in rests.items()
        if rest.until > now
    ]


def troubles(
    breakers: Mapping[BreakerName, Breaker],
    rests: Mapping[RestName, Rest],
    policy_of: Callable[[str], BreakerPolicy],
    now: float,
) -> list[Due]:
    """Return active cooldowns and breakers that are not closed; `policy_of` gives the policy for a reason."""
    found = [
        Due(provider, key, model, True, rest.reason, rest.until, rest.seconds)
        for (provider, key, model), rest in rests.items()
        if rest.until > now
    ]
    for (provider, model, key), breaker in breakers.items():
        if breaker.state != "closed":
            policy = policy_of(breaker.reason)
            length = min(policy.open * 2 ** min(max(breaker.openings - 1, 0), 32), policy.max_open)
            found.append(Due(provider, key, model, False, breaker.reason, breaker.open_until, length))
    return found


def exported(
    breakers: Mapping[BreakerName, Breaker], rests: Mapping[RestName, Rest], shift: float
) -> dict[str, list[dict[str, Any]]]:
    """Return breakers and cooldowns as JSON values, with times shifted by `shift` seconds."""
    return {
        "breakers": [
            {"provider": provider, "model": model, "key": key, **breaker.export(shift)}
            for (provider, model, key), breaker in breakers.items()
        ],
        "rests": [
            {
                "provider": provider,
                "key": key,
                "model": model,
                "until": round(rest.until + shift, 2),
                "reason": rest.reason,
                "times": rest.times,
                "seconds": round(rest.seconds, 2),
            }
            for (provider, key, model), rest in rests.items()
        ],
    }


def restored_breakers(
    rows: Iterable[Mapping[str, Any]], shift: float, policy_of: Callable[[str], BreakerPolicy], now: float
) -> dict[BreakerName, Breaker]:
    """Return the breakers of `exported`. Raises `ValueError`, `TypeError` or `KeyError` for invalid values."""
    return {
        (saved_text(row["provider"]), saved_text(row["model"]), saved_text(row["key"])): Breaker.restored(
            row, shift, policy_of(str(row["reason"])), now
        )
        for row in rows
    }


def restored_rests(rows: Iterable[Mapping[str, Any]], shift: float, now: float) -> dict[RestName, Rest]:
    """Return the cooldowns of `exported`, of at most `LONGEST` seconds. Raises as `restored_breakers` does."""
    rests = {}
    for row in rows:
        model = None if row["model"] is None else saved_text(row["model"])
        if row["reason"] not in REASONS:
            raise ValueError("the reason of a cooldown must be a kind of failure")
        length = min(max(saved_seconds(row["seconds"]), 0.0), LONGEST)
        until = min(saved_seconds(row["until"]) - shift, now + length)
        name = (saved_text(row["provider"]), saved_text(row["key"]), model)
        rests[name] = Rest(until, str(row["reason"]), saved_count(row["times"]), length)
    return rests
