"""The decision record as JSON values, without `id` and `attempts`. It contains no text of the prompt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.core.call import Call
from proxy.core.money import usd
from proxy.core.plan import DeploymentHealth
from proxy.routing.affinity import affinity_record
from proxy.routing.auto import Ranking
from proxy.routing.candidates import Candidate, Query
from proxy.routing.classify.rules import Profile
from proxy.routing.members import Missing
from proxy.routing.selection import OrderedTargets

_MAX_NAME = 300  # characters


def decision_record(
    call: Call,
    query: Query,
    *,
    route: str,
    rule: str,
    mode: str | None,
    reason: str,
    ordered: OrderedTargets,
    rejected: Iterable[Candidate],
    missing: Iterable[Missing],
    profile: Profile | None,
    ranking: Ranking | None = None,
) -> dict[str, Any]:
    """Return the decision record of one call. The same call and health give the same record."""
    agent = {} if call.agent is None else {"agent": {"id": call.agent.agent.id, "version": call.agent.agent.version}}
    return {
        "model": call.model[:_MAX_NAME],
        **agent,
        "route": route,
        "rule": rule,
        "reason": reason,
        "profile": None if profile is None else profile_record(profile),
        "constraints": _constraints(query, mode),
        "candidates": _candidates(query, reason, ordered, rejected, missing),
        "chosen": ordered.targets[0].name if ordered.targets else None,
        **(affinity_record(call, ordered.targets[0]) if ordered.targets else {}),
        **({} if ranking is None else {"ranking": _ranking(query, ranking)}),
        "config_version": call.snapshot.version,
    }


def profile_record(profile: Profile) -> dict[str, Any]:
    """Return a profile; the last three members are there if they say something."""
    return {
        "task": profile.task,
        "tier": profile.tier,
        "score": profile.score,
        "confidence": profile.confidence,
        "classifier": profile.classifier,
        "features": [{"name": name, "weight": weight} for name, weight in profile.features],
        **({"needs": list(profile.needs)} if profile.needs else {}),
        **({"fallback": profile.fallback} if profile.fallback else {}),
        **({} if profile.before_learning is None else {"before_learning": profile.before_learning}),
    }


def _ranking(query: Query, ranking: Ranking) -> dict[str, Any]:
    """Return what the scores of the candidates depend on."""
    conditions = query.conditions
    calibration, warm = conditions.calibration, conditions.warm
    return {
        "needs": ranking.needed,
        "quality": query.snapshot.quality,
        "weights": dict(ranking.weights),
        "predictor": conditions.predictor.version,
        "calibration": None if calibration is None else calibration.record(),
        "warm": None if warm is None else {"model": warm.model, "cached_tokens": warm.tokens},
        "propensity": ranking.propensity,
        **({"explore": conditions.explore} if conditions.explore else {}),
    }


def _constraints(query: Query, mode: str | None) -> dict[str, Any]:
    """Return the body's requirements and the client's options."""
    facts, options = query.facts, query.options
    requested: dict[str, Any] = {
        "mode": mode,
        "requested_mode": options.mode,
        "choices": facts.choices if facts.choices > 1 else None,
        "max_tokens": facts.max_tokens,
        "max_cost_usd": options.max_cost_usd,
        "max_latency_ms": options.max_latency_ms,
        "max_wait_seconds": options.max_wait_seconds,
        "require": list(options.require) or None,
        "providers": list(options.providers) or None,
        "exclude": list(options.exclude) or None,
        "key_id": options.key_id,
        "task": options.task,
        "fallbacks": list(options.fallbacks) or None,
        "client_id": options.client_id,
    }
    needs: dict[str, Any] = {"input_tokens": facts.input_tokens, "capabilities": sorted(facts.capabilities)}
    return needs | {name: value for name, value in requested.items() if value is not None}


def _candidates(
    query: Query, reason: str, ordered: OrderedTargets, rejected: Iterable[Candidate], missing: Iterable[Missing]
) -> list[dict[str, Any]]:
    """Return the targets in the plan's order, then the rejected ones; every deployment once."""
    rows: dict[str, dict[str, Any]] = {}
    for position, candidate in enumerate(ordered.targets):
        health = query.health_of(candidate.target)
        why = "next in order" if health.available else f"not available now: {health.reason or 'unhealthy'}"
        status, why = ("fallback", why) if position else ("chosen", reason)
        rows[candidate.name] = _row(candidate, status, why, health)
    for candidate in (*ordered.surplus, *rejected):
        if candidate.name not in rows and candidate.rejection is not None:
            rows[candidate.name] = _row(
                candidate, "rejected", candidate.rejection.reason, query.health_of(candidate.target)
            )
    for model in missing:
        rows.setdefault(model.name, _missing_row(model))
    return list(rows.values())


def _row(candidate: Candidate, status: str, reason: str, health: DeploymentHealth) -> dict[str, Any]:
    deployment = candidate.target.deployment
    return {
        "provider": deployment.provider.name,
        "model": deployment.model,
        "status": status,
        "reason": reason,
        "filter": None if candidate.rejection is None else candidate.rejection.kind,
        "score": candidate.score,
        "terms": candidate.terms,
        "predicted_success": None if candidate.success is None else round(candidate.success, 4),
        "estimated_cost_usd": None if candidate.cost is None else usd(candidate.cost),
        "estimated_wait_ms": round(max(health.wait, health.retry_after) * 1000, 1),
        "latency_ms": None if candidate.latency is None else round(candidate.latency * 1000, 1),
        "measured": health.latency is not None,
        "available": health.available,
    }


def _missing_row(missing: Missing) -> dict[str, Any]:
    provider, _, model = missing.name.partition("/")
    return {
        "provider": provider,
        "model": model,
        "status": "rejected",
        "reason": f"provider left out: {missing.reason}" if missing.left_out else missing.reason,
        "filter": "left_out",
        "score": None,
        "terms": {},
        "predicted_success": None,
        "estimated_cost_usd": None,
        "estimated_wait_ms": 0,
        "latency_ms": None,
        "measured": False,
        "available": False,
    }
