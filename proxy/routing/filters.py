"""The filters of routing: reject candidates that cannot serve the call. Each is a function of the case and a candidate.

Values that the configuration does not declare pass every filter. Health is not a filter: the attempt loop decides
whether to attempt an unhealthy target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from proxy.core.money import usd
from proxy.routing.candidates import Candidate, Case, Rejection, RejectionKind
from proxy.routing.measure import context_needed, worst_cost

# Kinds of rejections that a larger model may avoid.
OUTGROWN: frozenset[RejectionKind] = frozenset({"capability", "output", "context"})


def sift(
    case: Case,
    candidates: Iterable[Candidate],
    *,
    fit: bool = True,
    spare_stand_ins: bool = False,
    real_elsewhere: bool = False,
) -> list[Candidate]:
    """Mark each candidate that cannot serve the call with its rejection; order and number stay the same.

    `fit=False` skips the checks of the body's requirements, for models that the client named. `spare_stand_ins` rejects
    the mock's stand-ins if the client's options leave a deployment of a real provider, here or (`real_elsewhere`) among
    earlier candidates.
    """
    chosen = [_mark(each, by_choice(case, each)) for each in candidates]
    if spare_stand_ins and (real_elsewhere or any(is_real(each) for each in chosen)):
        chosen = [_mark(each, by_stand_in(each)) for each in chosen]
    judged = [_mark(each, by_fit(case, each)) for each in chosen] if fit else chosen
    return [_mark(each, by_limits(case, each)) for each in judged]


def accepted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates without a rejection."""
    return [each for each in candidates if each.rejection is None]


def is_real(candidate: Candidate) -> bool:
    """Return whether it is a real provider's deployment that the client's options allow."""
    chosen = candidate.rejection is None or candidate.rejection.kind not in ("provider", "key")
    return chosen and not candidate.target.deployment.provider.stand_in


def by_choice(case: Case, candidate: Candidate) -> Rejection | None:
    """Apply the client's `providers`, `exclude` and `key_id`."""
    deployment = candidate.target.deployment
    names = {deployment.provider.name, deployment.name}
    if case.providers and not names & case.providers:
        return Rejection("provider", "not among router.providers")
    if names & case.exclude:
        return Rejection("provider", "excluded by router.exclude")
    key_id = case.options.key_id
    if key_id is not None and not any(key.id == key_id for key in deployment.provider.keys):
        return Rejection("key", "its provider has no key of the id in router.key_id")
    return None


def by_stand_in(candidate: Candidate) -> Rejection | None:
    """Reject a mock that stands in for a provider without keys, if a real provider is available."""
    if candidate.target.deployment.provider.stand_in:
        return Rejection("stand_in", "the mock stands in only where no real provider is left")
    return None


def by_fit(case: Case, candidate: Candidate) -> Rejection | None:
    """Check the body's requirements: kind, capabilities, output length and context window."""
    deployment, facts = candidate.target.deployment, case.facts
    if deployment.kind != case.kind:
        return Rejection("kind", f"a model of kind {deployment.kind}, not {case.kind}")
    if deployment.capabilities is not None and (lacking := facts.capabilities - deployment.capabilities):
        return Rejection("capability", f"does not declare {', '.join(sorted(lacking))}")
    if deployment.max_output is not None and facts.max_tokens is not None and facts.max_tokens > deployment.max_output:
        return Rejection("output", f"answers with at most {deployment.max_output} tokens")
    window = deployment.context_window
    if window is not None and (needed := context_needed(deployment, facts)) > window:
        return Rejection("context", f"needs about {needed} tokens of context, has {window}")
    return None


def by_limits(case: Case, candidate: Candidate) -> Rejection | None:
    """Apply `require`, `max_latency_ms` and `max_cost_usd`; unknown values pass, except an unknown price."""
    capabilities = candidate.target.deployment.capabilities
    if capabilities is not None and not case.require <= capabilities:
        return Rejection("capability", "lacks a capability of router.require")
    slowest, dearest = case.options.max_latency_ms, case.options.max_cost_usd
    if slowest is not None and candidate.latency is not None and candidate.latency * 1000 > slowest:
        return Rejection("latency", f"takes about {candidate.latency * 1000:.0f} ms, over router.max_latency_ms")
    if dearest is not None:
        worst = worst_cost(candidate.target.deployment, case.facts)
        if worst is None:
            return Rejection("cost", "has no known price, which router.max_cost_usd needs")
        if usd(worst) > dearest:
            return Rejection("cost", f"may cost {usd(worst):.6f} USD, over router.max_cost_usd")
    return None


def _mark(candidate: Candidate, rejection: Rejection | None) -> Candidate:
    """Set the rejection, unless the candidate already has one."""
    return (
        candidate if rejection is None or candidate.rejection is not None else replace(candidate, rejection=rejection)
    )
