"""What `/admin/limits` shows of limits and cooldowns."""

from __future__ import annotations

from typing import Any

from proxy.admin.limits import with_cooldowns


def limit(kind: str, rests: float = 0.0) -> dict[str, Any]:
    row = {"provider": "acme", "model": "small", "key": "main", "kind": kind, "limit": 9, "used": 1, "learned": False}
    return {**row, "rest_seconds_left": rests}


def cooldown(seconds: float, model: str | None = "small", reason: str = "rate_limited") -> dict[str, Any]:
    return {"provider": "acme", "key": "main", "model": model, "reason": reason, "seconds_left": seconds}


def test_a_cooldown_after_a_429_is_a_row() -> None:
    rows = with_cooldowns([limit("rpm")], [cooldown(7.0), cooldown(9.0, model=None)])

    assert [(row["model"], row["kind"], row["rest_seconds_left"]) for row in rows] == [
        ("small", "rpm", 0.0),
        ("small", "rest", 7.0),
        ("*", "rest", 9.0),
    ]
    assert rows[1].keys() == rows[0].keys()


def test_the_longer_cooldown_of_a_key_counts() -> None:
    assert [row["rest_seconds_left"] for row in with_cooldowns([limit("rest", 5.0)], [cooldown(7.0)])] == [7.0]
    assert [row["rest_seconds_left"] for row in with_cooldowns([limit("rest", 5.0)], [cooldown(3.0)])] == [5.0]


def test_a_cooldown_for_another_reason_is_no_limit() -> None:
    assert with_cooldowns([], [cooldown(7.0, reason="key_rejected")]) == []
