"""Resolution of names and tiers to the deployments of a snapshot, independent of the call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import unquote

from proxy.core.model import TIERS, Deployment, Kind, Tier
from proxy.core.model_ids import undated
from proxy.core.plan import Target
from proxy.core.snapshot import Snapshot

MAX_MODEL_ID = 256
_TIER_NAMES: dict[str, Tier] = {f"tier/{tier}": tier for tier in TIERS}


@dataclass(frozen=True, slots=True)
class Missing:
    """A model that cannot be used."""

    name: str
    reason: str
    left_out: bool  # its provider is left out; otherwise the model is disabled or unknown


@dataclass(frozen=True, slots=True)
class Members:
    """The targets of a route, in the configured order."""

    targets: tuple[Target, ...]
    missing: tuple[Missing, ...] = ()
    ordered: bool = False  # in the operator's order, which must be kept
    unordered: tuple[slice, ...] = ()  # parts that come from a tier and may be sorted


def find(snapshot: Snapshot, name: str) -> Deployment | Missing:
    """Return the deployment of an exact `provider/model`, also through `any_model`, or why there is none."""
    if deployment := snapshot.deployments.get(name):
        return deployment
    provider_name, _, model = name.partition("/")
    if (reason := snapshot.left_out.get(provider_name)) is not None:
        return Missing(name, reason, left_out=True)
    if name in snapshot.known:
        return Missing(name, "it is disabled in the configuration", left_out=False)
    provider = snapshot.providers.get(provider_name)
    if provider is None:
        return Missing(name, "no such provider", left_out=False)
    if not provider.any_model or not sane_model(model):
        return Missing(name, "no such model", left_out=False)
    known = snapshot.catalogue.get(provider_name, {})
    if template := known.get(model) or known.get(undated(model)):
        return replace(template, model=model)
    return Deployment(provider, model, timeouts=provider.timeouts, listed=False)


def sane_model(model: str) -> bool:
    """Return whether a model id from a client is safe to send upstream; it may become a part of the URL path."""
    if not 0 < len(model) <= MAX_MODEL_ID or not model.isprintable() or any(map(str.isspace, model)):
        return False
    return not any(part in (".", "..") for part in unquote(unquote(model)).replace("\\", "/").split("/"))


def tier_members(snapshot: Snapshot, tier: Tier, kind: Kind = "chat") -> Members:
    """Return the models of a tier: the operator's list, or all models of that kind that declare the tier."""
    names = snapshot.tiers.get(tier)
    if names is None:
        deployments = snapshot.deployments.values()
        return Members(tuple(Target(one) for one in deployments if one.tier == tier and one.kind == kind))
    targets, missing = [], []
    for name in names:
        member = find(snapshot, name)
        if isinstance(member, Missing):
            missing.append(member)
        elif member.kind == kind:
            targets.append(Target(member))
    return Members(tuple(targets), tuple(missing), ordered=True)


def scenario_members(snapshot: Snapshot, name: str, kind: Kind = "chat") -> Members:
    """Return the targets of a scenario in order; a tier is replaced by its models of that kind."""
    targets: list[Target] = []
    missing: list[Missing] = []
    unordered: list[slice] = []
    for entry in snapshot.scenarios[name]:
        tier = _TIER_NAMES.get(entry.model)
        if tier is not None:
            members = tier_members(snapshot, tier, kind)
            missing += members.missing
            if not members.ordered:
                unordered.append(slice(len(targets), len(targets) + len(members.targets)))
            targets += [Target(target.deployment, entry.overrides) for target in members.targets]
            continue
        member = find(snapshot, entry.model)
        if isinstance(member, Missing):
            missing.append(member)
        else:
            targets.append(Target(member, entry.overrides))
    return Members(tuple(targets), tuple(missing), ordered=True, unordered=tuple(unordered))


def auto_members(snapshot: Snapshot, kind: Kind = "chat") -> Members:
    """Return the targets of `auto`: models of that kind with a tier, or all of that kind if none has a tier."""
    deployments = [deployment for deployment in snapshot.deployments.values() if deployment.kind == kind]
    tiers = listed_tiers(snapshot)
    tiered = [deployment for deployment in deployments if deployment.tier or deployment.name in tiers]
    return Members(tuple(Target(deployment) for deployment in tiered or deployments))


def listed_tiers(snapshot: Snapshot) -> dict[str, Tier]:
    """Return the tier of each model in an explicit tier list, the highest if there are several."""
    return {name: tier for tier in TIERS for name in snapshot.tiers.get(tier) or ()}


def next_tier(tier: Tier) -> Tier | None:
    """Return the next higher tier."""
    following = TIERS.index(tier) + 1
    return TIERS[following] if following < len(TIERS) else None
