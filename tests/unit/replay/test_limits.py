"""Tests of proxy/replay/limits.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.model import Deployment, LimitValues, ProviderKey
from proxy.replay.limits import DAY, FOREVER, Limits
from tests.unit.routing.build import provider


def limited(*keys: LimitValues | None, **limits: int) -> Deployment:
    """A model with these limits, at a provider with a key for each of `keys`."""
    held = tuple(ProviderKey(f"k{at}", "v", limits=own) for at, own in enumerate(keys or (None,)))
    return Deployment(provider("p", keys=held), "m", limits=LimitValues(**limits) if limits else None)


def used(deployment: Deployment, *times: float, tokens: int = 10, seconds: float = 1.0) -> Limits:
    """Limits after calls at these times."""
    limits = Limits()
    for time in times:
        limits.take(deployment, time, tokens, seconds)
    return limits


def test_without_limits_there_is_no_wait() -> None:
    deployment = limited()

    assert used(deployment, *[0.0] * 50).wait(deployment, 0.0, 10**9) == 0.0


@pytest.mark.parametrize(
    ("limits", "wait"),
    [({"rpm": 2}, 50.0), ({"tpm": 25}, 50.0), ({"rpd": 2}, DAY - 10.0), ({"tpd": 20}, DAY - 10.0), ({"rpm": 3}, 0.0)],
)
def test_a_window_slides(limits: dict[str, int], wait: float) -> None:
    deployment = limited(**limits)
    found = used(deployment, 0.0, 5.0)

    assert found.wait(deployment, 10.0, 10) == wait
    assert found.wait(deployment, 10.0 + wait, 10) == 0.0


def test_a_call_larger_than_a_window_never_fits() -> None:
    deployment = limited(tpm=5)

    assert Limits().wait(deployment, 0.0, 6) == FOREVER


def test_concurrent_calls_occupy_slots_as_long_as_they_take() -> None:
    deployment = limited(concurrency=2)
    found = used(deployment, 0.0, 1.0, seconds=10.0)

    assert found.wait(deployment, 4.0, 1) == 6.0
    assert found.wait(deployment, 10.5, 1) == 0.0


def test_every_key_has_its_own_limits() -> None:
    deployment = limited(None, LimitValues(rpm=2), rpm=1)
    found = used(deployment, 0.0, 0.0, 0.0)

    assert found.wait(deployment, 1.0, 1) > 0.0
    assert used(deployment, 0.0, 0.0).wait(deployment, 1.0, 1) == 0.0


def test_a_provider_without_keys_has_the_limits_once() -> None:
    deployment = Deployment(replace(provider("p"), keys=()), "m", limits=LimitValues(rpm=1))

    assert used(deployment, 0.0).wait(deployment, 1.0, 1) == 59.0
