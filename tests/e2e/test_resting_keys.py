"""Probes of resting keys as a provider sees them: when, with which key, and what follows for users.

The upstream's log is the truth. Time goes by only as the tests say, and the prober looks at once when it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import upstreams
from tests.support.boxes import KEYS, Box, boxed
from tests.support.clocks import ServerClock
from tests.support.model_lists import LIST, ListingUpstream, listing_upstream, models
from tests.support.upstreams import Script, Wire, refuse
from tests.support.waiting import until

REST = 60.0  # seconds that a rejected key rests at first
SOONEST, LATEST = REST - 5, REST - 2.5  # between which a probe goes out


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListingUpstream]:
    """An upstream with a list, and a prober whose patience no slow machine ends."""
    monkeypatch.setattr("proxy.upstream.probe_requests.TIMEOUT_SECONDS", 3600.0)
    with listing_upstream() as found:
        yield found


def keyed(url: str, keys: list[dict[str, str]], **resilience: Any) -> dict[str, Any]:
    """A provider with these keys."""
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": url, "keys": keys}},
        "models": [{"id": "up/a"}],
        "resilience": {"breaker": {"consecutive": 1}, "retry": {"same_target": 0}, **resilience},
    }


def set_forward(box: Box, clock: ServerClock, seconds: float) -> None:
    """Let time go by, and the prober look."""
    clock.pass_(seconds)
    box.rounds()


def users_of(listing: ListingUpstream, key: str) -> int:
    """How many calls came with that key."""
    return sum(f"sk-{key}-" in request.headers.get("authorization", "") for request in listing.calls)


def rejecting(key: str) -> Script:
    """Rejects one key and takes the others."""

    async def script(wire: Wire) -> None:
        good = models if wire.request.model == LIST else upstreams.whole
        bad = f"sk-{key}-" in wire.request.headers["authorization"]
        await (refuse(401) if bad else good)(wire)

    return script


def test_a_rejected_key_is_used_again_once_it_can_list_models(listing: ListingUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    listing.script("a", refuse(401), upstreams.whole)
    config = keyed(listing.url, KEYS[:1])

    with boxed(tmp_path, config, clock) as box:
        first = box.ask("up/a")
        rests = box.cooldowns()
        set_forward(box, clock, SOONEST - 0.1)
        early = listing.requested
        clock.pass_(LATEST - SOONEST + 0.2)
        until(lambda: not box.cooldowns())
        again = box.ask("up/a")

    assert first.status_code == 502
    assert rests == [("one", None, "key_rejected", REST)]
    assert early == ["a"]
    assert listing.requested == ["a", LIST, "a"]
    assert listing.requests[1].headers["authorization"] == "Bearer sk-one-00000000"
    assert again.status_code == 200


def test_a_key_that_stays_rejected_rests_twice_as_long_each_time(listing: ListingUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    listing.script("a", rejecting("one"))
    listing.script(LIST, rejecting("one"))

    with boxed(tmp_path, keyed(listing.url, KEYS), clock) as box:
        answers = [box.ask("up/a") for _ in range(2)]
        reported, early, probed, risked = [], [], [], users_of(listing, "one")
        for seconds in (60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0):
            [(key, model, reason, left)] = box.cooldowns()
            reported.append((key, model, reason, left))
            lists = listing.requested.count(LIST)
            set_forward(box, clock, seconds - 5.1)
            answers.append(box.ask("up/a"))
            early.append(listing.requested.count(LIST) - lists)
            clock.pass_(2.7)
            until(lambda: box.cooldowns()[0][3] > 5)  # longer than what was left
            probed.append(listing.requested.count(LIST) - lists)

    assert reported == [("one", None, "key_rejected", at) for at in (60, 120, 240, 480, 960, 1800, 1800)]
    assert (early, probed) == ([0] * 7, [1] * 7)
    assert [answer.status_code for answer in answers] == [200] * 9
    assert risked == users_of(listing, "one") == 1
    probes = {request.headers["authorization"] for request in listing.requests if request.model == LIST}
    assert probes == {"Bearer sk-one-00000000"}


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_key_that_can_only_list_models_has_growing_cooldowns(
    listing: ListingUpstream, tmp_path: Path, status: int
) -> None:
    clock = ServerClock()
    listing.script("a", refuse(status))

    with boxed(tmp_path, keyed(listing.url, KEYS[:1]), clock) as box:
        reported = []
        for _ in range(3):
            box.ask("up/a")
            reported.append(box.cooldowns()[0][3])
            clock.pass_(reported[-1] - 2.4)
            until(lambda: not box.cooldowns())

    assert reported == [60, 120, 240]


@pytest.mark.parametrize("script", [refuse(500), refuse(404), refuse(429), upstreams.reset])
def test_what_says_nothing_of_a_rejected_key_leaves_it_as_it_is(
    listing: ListingUpstream, tmp_path: Path, script: Script
) -> None:
    clock = ServerClock()
    listing.script("a", rejecting("one"))
    listing.script(LIST, script)

    with boxed(tmp_path, keyed(listing.url, KEYS), clock) as box:
        for _ in range(2):
            box.ask("up/a")
        clock.pass_(LATEST + 0.1)
        while listing.next().model != LIST:
            pass
        set_forward(box, clock, 1)
        rests = box.cooldowns()

    assert rests == [("one", None, "key_rejected", pytest.approx(REST - LATEST - 1.1, abs=0.01))]
    assert listing.requested.count(LIST) == 1


@pytest.mark.parametrize("chat", [True, False])
def test_a_token_probe_may_end_a_long_rate_limit_cooldown(
    listing: ListingUpstream, tmp_path: Path, *, chat: bool
) -> None:
    clock = ServerClock()
    listing.script("a", refuse(429, headers={"retry-after": "600"}), upstreams.whole)
    config = keyed(listing.url, KEYS[:1], probes={"chat": chat}, queue={"max_wait": "0s"})

    with boxed(tmp_path, config, clock) as box:
        refused = box.ask("up/a")
        set_forward(box, clock, 597.6)
        if chat:
            until(lambda: not box.cooldowns())
        else:
            set_forward(box, clock, 1)
        answer = box.ask("up/a")

    assert int(refused.headers["retry-after-ms"]) == pytest.approx(600_000, abs=1)
    assert listing.requested == (["a", LIST, "probe of a", "a"] if chat else ["a"])
    assert answer.status_code == (200 if chat else 429)
