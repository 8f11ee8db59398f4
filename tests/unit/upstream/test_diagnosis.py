"""Diagnoses of a provider, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.policies import BreakerPolicy
from proxy.upstream.diagnosis import HEALTHY, Diagnosis, diagnose
from proxy.upstream.health import Health
from tests.support.calls import deployment, live, provider
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

MODELS = ("a", "b", "c")


def down(model: str, key: str = "k1", state: str = "open", of: str = "acme") -> dict[str, Any]:
    return {"breakers": {"provider": of, "model": model, "key": key, "state": state}}


def rejected(key: str = "k1", of: str = "acme") -> dict[str, Any]:
    return {"cooldowns": {"provider": of, "key": key, "model": None, "reason": "key_rejected"}}


def resting(model: str, key: str = "k1") -> dict[str, Any]:
    return {"cooldowns": {"provider": "acme", "key": key, "model": model, "reason": "rate_limited"}}


def counted(model: str, used: int, limit: int | None = 10, rest: float = 0.0, key: str = "k1") -> dict[str, Any]:
    row = {"provider": "acme", "model": model, "key": key, "used": used, "limit": limit, "rest_seconds_left": rest}
    return {"limits": row}


def diagnosed(
    *rows: dict[str, Any], models: tuple[str, ...] = MODELS, keys: tuple[str, ...] = ("k1", "k2")
) -> Diagnosis:
    sorted_rows: dict[str, list[Any]] = {"breakers": [], "cooldowns": [], "limits": []}
    for each in rows:
        for kind, row in each.items():
            sorted_rows[kind].append(row)
    return diagnose("acme", models, keys, **sorted_rows)


ALL = tuple(down(model, key) for model in MODELS for key in ("k1", "k2"))


@pytest.mark.parametrize(
    ("rows", "status", "pattern"),
    [
        ((), "healthy", None),
        ((down("a", state="closed"),), "healthy", None),
        ((down("a", of="other"), rejected(of="other")), "healthy", None),
        ((down("gone"), down("a", "gone")), "healthy", None),
        ((counted("a", 9), counted("a", 3, None)), "healthy", None),
        ((down("a"),), "degraded", "isolated"),
        ((down("a", state="half-open"),), "degraded", "isolated"),
        ((down("a"), down("a", "k2")), "degraded", "isolated"),
        ((down("a"), down("b")), "degraded", "widespread"),
        (ALL, "unhealthy", "widespread"),
        ((rejected(),), "degraded", "auth"),
        ((rejected(), rejected("k2")), "unhealthy", "auth"),
        ((rejected(), down("a", "k2")), "degraded", "auth"),
        ((rejected(), *ALL), "unhealthy", "auth"),
        ((resting("a"),), "degraded", "limits"),
        ((counted("a", 10),), "degraded", "limits"),
        ((counted("a", 0, None, 5.0),), "degraded", "limits"),
        (tuple(resting(model, key) for model in MODELS for key in ("k1", "k2")), "unhealthy", "limits"),
        ((down("a"), resting("a")), "degraded", "isolated"),
        ((resting("a"), resting("b"), down("c")), "degraded", "limits"),
    ],
)
def test_status_and_pattern(rows: tuple[dict[str, Any], ...], status: str, pattern: str | None) -> None:
    diagnosis = diagnosed(*rows)

    assert (diagnosis.status, diagnosis.pattern) == (status, pattern)
    assert diagnosis.advice.endswith(".")


def test_what_is_healthy_says_so() -> None:
    assert diagnosed() == HEALTHY


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((rejected(),), "`k1`"),
        ((rejected(), rejected("k2")), "`k1`, `k2`"),
        ((down("b"),), "`b`"),
        (ALL, "status page"),
        ((resting("a"),), "Add a key"),
    ],
)
def test_the_advice_names_what_is_to_be_done(rows: tuple[dict[str, Any], ...], says: str) -> None:
    assert says in diagnosed(*rows).advice


def test_a_provider_s_only_model_is_all_of_it() -> None:
    assert diagnosed(down("a"), models=("a",), keys=("k1",)) == diagnosed(*ALL)
    assert diagnosed(rejected("-"), models=("a",), keys=()).pattern == "auth"
    assert "configure" in diagnosed(rejected("-"), models=("a",), keys=()).advice


def test_many_names_are_not_all_listed() -> None:
    keys = tuple(f"k{number}" for number in range(9))

    assert "and 6 more" in diagnosed(*(rejected(key) for key in keys), keys=keys).advice


def test_a_provider_without_models_is_not_ill() -> None:
    assert diagnosed(rejected(), models=()) == HEALTHY


async def test_the_rows_are_those_of_health_and_limits() -> None:
    clock = FakeClock()
    config = live(breaker=BreakerPolicy(consecutive=1))
    health, limits = Health(clock, config), Limits(MemoryCounters(clock), clock, config)
    models = [deployment(name, provider("acme", "k1")) for name in MODELS]
    for each, kind in zip(models, (FailureKind.SERVER_ERROR, FailureKind.RATE_LIMITED), strict=False):
        lease = health.lease(each)
        assert lease
        lease.fail(UpstreamFailure(kind, "x"))
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}
    limits.learn(models[2], "k1", spent, clock.time())

    rows = {"breakers": health.breaker_rows(), "cooldowns": health.cooldown_rows(), "limits": await limits.rows()}

    assert diagnose("acme", MODELS, ("k1",), **rows) == diagnosed(
        down("a"), resting("b"), counted("c", 0, None, 9.0), keys=("k1",)
    )


@pytest.mark.parametrize(
    ("reason", "pattern", "words"),
    [
        ("wrong_address", "widespread", "`base_url`"),
        ("model_missing", "isolated", "Check the id of `big`"),
        ("forbidden", "isolated", "firewall"),
        ("server_error", "isolated", "Look at `big`"),
    ],
)
def test_what_the_configuration_has_to_mend_is_said(reason: str, pattern: str, words: str) -> None:
    row = {"provider": "acme", "model": "big", "key": "-", "state": "open", "reason": reason}

    found = diagnose("acme", ["small", "big", "other"], [], breakers=[row])

    assert (found.status, found.pattern) == ("degraded", pattern)
    assert words in found.advice
