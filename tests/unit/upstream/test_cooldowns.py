"""Cooldowns of keys: for one model or for all, listed, saved and restored."""

from __future__ import annotations

from proxy.core.failures import FailureKind
from proxy.core.hints import LONGEST
from proxy.core.model import RouteKey
from proxy.upstream.cooldowns import Cooldown, CooldownKey, Cooldowns

KEY, MODEL = CooldownKey("acme", "main", None), CooldownKey("acme", "main", "small")
SMALL, LARGE = RouteKey("acme", "small", "main"), RouteKey("acme", "large", "main")


def started(key: CooldownKey, seconds: float = 60.0) -> Cooldowns:
    cooldowns = Cooldowns()
    cooldowns.start(key, FailureKind.RATE_LIMITED, seconds, 1, 100.0)
    return cooldowns


def test_a_cooldown_applies_to_its_model_or_to_all() -> None:
    assert started(KEY).of(SMALL, 100.0) == started(KEY).of(LARGE, 100.0) != None  # noqa: E711
    assert started(MODEL).of(SMALL, 100.0)
    assert started(MODEL).of(LARGE, 100.0) is None
    assert started(KEY).of(RouteKey("acme", "small", "other"), 100.0) is None
    assert started(KEY).of(SMALL, 160.0) is None


def test_a_longer_cooldown_stays() -> None:
    cooldowns = started(KEY)

    cooldowns.start(KEY, FailureKind.KEY_REJECTED, 10.0, 2, 110.0)

    assert cooldowns.entries == {KEY: Cooldown(160.0, FailureKind.KEY_REJECTED, 2, 50.0)}


def test_only_an_expired_cooldown_is_dropped_after_a_success() -> None:
    cooldowns = started(KEY)

    cooldowns.accepted(SMALL, 159.0)
    assert cooldowns.entries
    cooldowns.accepted(SMALL, 160.0)

    assert not cooldowns.entries


def test_rows_show_active_cooldowns() -> None:
    row = {"provider": "acme", "key": "main", "model": "small", "reason": "rate_limited", "seconds_left": 50.0}

    assert started(MODEL).rows(110.0) == [row]
    assert started(MODEL).rows(160.0) == []


def test_saved_cooldowns_are_restored_by_another_clock() -> None:
    before, after = started(MODEL), started(MODEL, 5.0)
    before.start(KEY, FailureKind.KEY_REJECTED, 60.0, 3, 100.0)

    after.restore(before.export(1000.0), 990.0, 120.0)

    assert after.entries == {
        KEY: Cooldown(170.0, FailureKind.KEY_REJECTED, 3, 60.0),
        MODEL: Cooldown(105.0, FailureKind.RATE_LIMITED, 1, 5.0),  # existing ones stay
    }


def test_a_restored_cooldown_is_bounded() -> None:
    after = Cooldowns()

    after.restore(started(KEY, 1e9).export(0.0), 0.0, 0.0)

    assert after.entries[KEY].until == LONGEST
