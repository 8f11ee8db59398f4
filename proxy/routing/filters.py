"""The filters of routing: reject candidates that cannot serve the call.

Each is a function of the query and a candidate. Values that the configuration does not declare pass every filter.
Health is not a filter: the attempt loop decides whether to attempt an unhealthy target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.core.money import usd
from proxy.routing.candidates import HEALTHY, Candidate, Query, Rejection, RejectionKind
from proxy.routing.measure import context_needed, worst_cost

# Kinds of rejections that a larger model may avoid.
AVOIDED_BY_LARGER: frozenset[RejectionKind] = frozenset({"capability", "output", "context"})


def apply_filters(
    query: Query,
    candidates: Iterable[Candidate],
    *,
    fit: bool = True,
    avoid_stand_ins: bool = False,
    real_elsewhere: bool = False,
) -> list[Candidate]:
    """Mark each candidate that cannot serve the call with its rejection; order and number stay the same.

    `fit=False` skips the checks of the body's requirements, for models that the client named. `avoid_stand_ins` rejects
    the mock's stand-ins if the client's options leave a deployment of a real provider, here or (`real_elsewhere`) among
    earlier candidates.
    """
    by_client = [(candidate, by_choice(query, candidate)) for candidate in candidates]
    drop_stand_ins = avoid_stand_ins and (
        real_elsewhere
        or any(choice is None and not candidate.target.deployment.provider.stand_in for candidate, choice in by_client)
    )
    marked = []
    for candidate, choice in by_client:
        rejection = choice or (by_stand_in(candidate) if drop_stand_ins else None)
        if rejection is None:
            rejection = (by_fit(query, candidate) if fit else None) or by_limits(query, candidate)
        marked.append(candidate if rejection is None else candidate._replace(rejection=rejection))
    return marked


def apply_conditions(query: Query, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Mark each accepted candidate that cannot serve the call now. If that were all, mark none.

    The attempt loop then decides whether to wait, or with which error to answer.
    """
    marked = [
        candidate
        if candidate.rejection is not None or (rejection := by_conditions(query, candidate)) is None
        else candidate._replace(rejection=rejection)
        for candidate in candidates
    ]
    return marked if accepted(marked) else list(candidates)


def accepted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates without a rejection."""
    return [candidate for candidate in candidates if candidate.rejection is None]


def is_real(candidate: Candidate) -> bool:
    """Return whether it is a real provider's deployment that the client's options allow."""
    allowed = candidate.rejection is None or candidate.rejection.kind not in ("provider", "key")
    return allowed and not candidate.target.deployment.provider.stand_in


def by_choice(query: Query, candidate: Candidate) -> Rejection | None:
    """Apply the client's `providers`, `exclude` and `key_id`."""
    deployment = candidate.target.deployment
    names = {deployment.provider.name, deployment.name}
    if query.providers and not names & query.providers:
        return Rejection("provider", "not among router.providers")
    if names & query.exclude:
        return Rejection("provider", "excluded by router.exclude")
    key_id = query.options.key_id
    if key_id is not None and not any(key.id == key_id for key in deployment.provider.keys):
        return Rejection("key", "its provider has no key with the id in router.key_id")
    return None


def by_conditions(query: Query, candidate: Candidate) -> Rejection | None:
    """Reject a deployment that cannot serve the call within the time that it may wait, or within a budget."""
    health, patience = query.health_of(candidate.target), query.patience
    if health is HEALTHY and not query.conditions.rooms:
        return None
    if not health.available and health.retry_after > patience:
        return Rejection("unavailable", f"not available now: {health.reason or 'unhealthy'}")
    if health.wait > patience:
        return Rejection("capacity", "its limits have no capacity within the time that the call may wait")
    room = query.conditions.rooms.get(candidate.target.deployment.provider.name)
    if room is not None and (1 if candidate.cost is None else candidate.cost) > room.nusd:
        return Rejection("budget", f"the budget {room.budget} has less left than the call may cost")
    return None


def by_stand_in(candidate: Candidate) -> Rejection | None:
    """Reject a mock that stands in for a provider without keys, if a real provider is available."""
    if candidate.target.deployment.provider.stand_in:
        return Rejection("stand_in", "a stand-in is used only if no real provider is left")
    return None


def by_fit(query: Query, candidate: Candidate) -> Rejection | None:
    """Check the body's requirements: kind, capabilities, output length and context window."""
    deployment, facts = candidate.target.deployment, query.facts
    if deployment.kind != query.kind:
        return Rejection("kind", f"a model of kind {deployment.kind}, not {query.kind}")
    if deployment.capabilities is not None and (lacking := facts.capabilities - deployment.capabilities):
        return Rejection("capability", f"does not declare {', '.join(sorted(lacking))}")
    longest = deployment.max_output
    if longest is not None and (facts.max_tokens or 0) > longest and not facts.soft_limit:
        return Rejection("output", f"answers with at most {longest} tokens")
    window = deployment.context_window
    if window is not None and (needed := context_needed(deployment, facts)) > window:
        return Rejection("context", f"needs about {needed} tokens of context, has {window}")
    return None


def by_limits(query: Query, candidate: Candidate) -> Rejection | None:
    """Apply `require`, `max_latency_ms` and `max_cost_usd`; unknown values pass, except an unknown price."""
    capabilities = candidate.target.deployment.capabilities
    if capabilities is not None and not query.require <= capabilities:
        return Rejection("capability", "lacks a capability of router.require")
    max_latency, max_cost = query.options.max_latency_ms, query.options.max_cost_usd
    if max_latency is not None and candidate.latency is not None and candidate.latency * 1000 > max_latency:
        return Rejection("latency", f"takes about {candidate.latency * 1000:.0f} ms, over router.max_latency_ms")
    if max_cost is not None:
        worst = worst_cost(candidate.target.deployment, query.facts)
        if worst is None:
            return Rejection("cost", "has no known price, which router.max_cost_usd needs")
        if usd(worst) > max_cost:
            return Rejection("cost", f"may cost {usd(worst):.6f} USD, over router.max_cost_usd")
    return None
