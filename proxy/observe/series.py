"""The label values that a configuration can produce, used to create series with the value 0.

Prometheus sees no increase in a series whose first value is 1: its `increase()` and `rate()` are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from proxy.core.failures import VERDICTS, FailureKind
from proxy.core.model import OTHER, TIERS
from proxy.core.record import AttemptOutcome
from proxy.core.snapshot import Snapshot

STATUSES = ("200", "400", "429", "499", "500", "502", "503", "504")
DIRECT = (*STATUSES, "404", "413", "422")  # without another target, the client receives the provider's status
NOT_ATTEMPTED = ("400", "429", "499", "502", "503", "504")  # no target of the route was available
UNROUTED = ("400", "403", "404", "408", "413", "429", "499", "500", "503")
OUTCOMES = (*(kind.value for kind in FailureKind), *(end.value for end in AttemptOutcome if end != "started"))
KINDS = ("input", "output", "cached", "reasoning")
MOST_REQUEST_SERIES = 8_000  # further series start with their first event

Target = tuple[str, str]  # the labels provider and model


def targets(snapshot: Snapshot) -> list[Target]:
    """Return provider and model of all targets; `other` stands for models that are not listed."""
    labels = [deployment.labels for deployment in snapshot.deployments.values()]
    labels += [(provider.label, OTHER) for provider in snapshot.providers.values() if provider.any_model]
    return list(dict.fromkeys(labels))


def priced(snapshot: Snapshot) -> list[Target]:
    """Return the targets with a price."""
    deployments = snapshot.deployments.values()
    return list(dict.fromkeys(deployment.labels for deployment in deployments if deployment.billed_price))


def requests(snapshot: Snapshot) -> Iterator[tuple[str, str, str, str]]:
    """Yield route, provider, model and status of calls: unrouted ones, named models, then all other routes."""
    yield from ((OTHER, OTHER, OTHER, status) for status in dict.fromkeys((*UNROUTED, *NOT_ATTEMPTED)))
    yield from islice(dict.fromkeys(_requests(snapshot)), MOST_REQUEST_SERIES)


def cooldown_reasons(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the kinds of failure that put a key into cooldown."""
    return tuple(kind.value for kind in FailureKind if snapshot.failures[VERDICTS[kind].failure_class].key != "none")


def _requests(snapshot: Snapshot) -> Iterator[tuple[str, str, str, str]]:
    direct = [(deployment.name, deployment.labels) for deployment in snapshot.deployments.values()]
    direct += [(OTHER, target) for target in targets(snapshot) if target[1] == OTHER]
    yield from ((route, *target, status) for route, target in direct for status in DIRECT)
    routed = list(_routed(snapshot))
    routes = [*snapshot.deployments, *(route for route, _ in routed)]
    yield from ((route, OTHER, OTHER, status) for route in dict.fromkeys(routes) for status in NOT_ATTEMPTED)
    yield from ((route, *target, status) for route, target in routed for status in STATUSES)


def _routed(snapshot: Snapshot) -> Iterator[tuple[str, Target]]:
    by_tier = {tier: _named(snapshot, snapshot.tiers.get(tier)) or _tier(snapshot, tier) for tier in TIERS}
    for tier, members in by_tier.items():
        yield from ((f"tier/{tier}", member) for member in members)
    for scenario, entries in snapshot.scenarios.items():
        names = [entry.model for entry in entries]
        inside = [member for tier in TIERS if f"tier/{tier}" in names for member in by_tier[tier]]
        yield from ((f"scenario/{scenario}", member) for member in (*_named(snapshot, names), *inside))
    tiered = list(dict.fromkeys(member for members in by_tier.values() for member in members))
    deployments = snapshot.deployments.values()
    chosen = tiered or [deployment.labels for deployment in deployments if deployment.kind == "chat"]
    for route in ("auto", "mode/fast", "mode/balanced", "mode/accurate"):
        yield from ((route, member) for member in chosen)
    yield from (("auto", deployment.labels) for deployment in deployments if deployment.kind != "chat")


def _named(snapshot: Snapshot, names: Iterable[str] | None) -> list[Target]:
    deployments = (snapshot.deployments.get(name) for name in names or ())
    return [deployment.labels for deployment in deployments if deployment is not None]


def _tier(snapshot: Snapshot, tier: str) -> list[Target]:
    return [deployment.labels for deployment in snapshot.deployments.values() if deployment.tier == tier]
