"""Model names: resolves the name in `model`, lists the usable names, and suggests similar ones.

Matching is case-sensitive and exact; only suggestions are approximate. An ambiguous name is rejected with all its
meanings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from proxy.core.agents import PREFIX, Agent
from proxy.core.errors import InvalidRequest, ModelNotFound
from proxy.core.model import MODES, RESERVED, TIERS, Deployment, Kind, Mode, Tier
from proxy.core.model_ids import undated
from proxy.core.plan import Target
from proxy.core.snapshot import Snapshot
from proxy.routing.members import (
    MAX_MODEL_ID,
    Members,
    Missing,
    auto_members,
    find,
    sane_model,
    scenario_members,
    tier_members,
)

NameKind = Literal["model", "alias", "tier", "scenario", "mode", "auto", "agent"]

OWNER = "signalbox"  # the owner of all names except providers' models

_MAX_ALIAS_DEPTH = 16  # loading the configuration rejects loops
_MAX_SHOWN = 80
_MAX_COMPARED = 64
_SUGGESTIONS = 3
_MIN_SIMILARITY = 0.4  # share of common letter pairs


@dataclass(frozen=True, slots=True)
class Rule:
    """The meaning of a name: `rule` is how it was resolved, `form` how a member is selected."""

    rule: str  # direct | alias | bare | tier | scenario | auto | mode | agent | default
    route: str
    form: Literal["single", "tier", "scenario", "auto"]
    members: Members
    tier: Tier | None = None
    mode: Mode | None = None  # the client's, by `mode/x`
    note: str = ""  # the reason text for a single target
    asked: str = ""  # the name as the client sent it; set only for callers who may not use every model
    param: str = "model"  # the parameter with that name
    agent: str = ""  # `agent/support`, if the name stands for that agent


@dataclass(frozen=True, slots=True)
class UsableName:
    """One entry of `GET /v1/models`."""

    id: str
    owner: str
    kind: NameKind
    deployment: Deployment | None = None


def resolve(
    snapshot: Snapshot, name: str, *, param: str = "model", use_default: bool = True, kind: Kind = "chat"
) -> Rule:
    """Resolve `name`. Raises `ModelNotFound` or `InvalidRequest`.

    `routing.default` replaces an unknown name only if it has a model of the requested `kind`.
    """
    rule = _reserved(snapshot, name, param) or _alias(snapshot, name, param) or _model(snapshot, name, param)
    if rule is not None:
        return rule
    if use_default and snapshot.default_route is not None:
        default = resolve(snapshot, snapshot.default_route, param=param, use_default=False)
        members = members_of_kind(default, snapshot, kind).targets
        if not default.members.targets or any(target.deployment.kind == kind for target in members):
            return replace(default, rule="default")
    raise ModelNotFound(f"The model {shown(name)} does not exist.{_hint(snapshot, name)}", param=param)


def route_table(snapshot: Snapshot) -> dict[str, Rule]:
    """Resolve all usable names of a snapshot at once, but those of agents, and unique bare ids."""
    by_id: dict[str, list[Deployment]] = {}
    for deployment in snapshot.deployments.values():
        by_id.setdefault(deployment.model, []).append(deployment)
    table = {model: _bare_rule(same_id[0]) for model, same_id in by_id.items() if len(same_id) == 1}
    prefixes = (*RESERVED, *snapshot.providers, *snapshot.left_out)
    table = {name: rule for name, rule in table.items() if name.partition("/")[0] not in prefixes}
    return table | {usable.id: resolve(snapshot, usable.id) for usable in _routes(snapshot)}


def members_of_kind(rule: Rule, snapshot: Snapshot, kind: Kind) -> Members:
    """Return the members of a route for calls of that kind; names are resolved for chat."""
    if rule.form == "tier" and rule.tier is not None:
        return tier_members(snapshot, rule.tier, kind)
    if rule.form == "scenario":
        return scenario_members(snapshot, rule.route.partition("/")[2], kind)
    return auto_members(snapshot, kind) if rule.form == "auto" else rule.members


def find_model(snapshot: Snapshot, name: str) -> UsableName:
    """Return the entry of `GET /v1/models` for a name or its alias. Raises `ModelNotFound`."""
    for usable in usable_names(snapshot):
        if usable.id == name:
            return usable
    try:
        rule = resolve(snapshot, name, use_default=False)
        if rule.agent:
            return UsableName(name, OWNER, "agent")
        [target] = rule.members.targets
    except (InvalidRequest, ValueError):
        raise ModelNotFound(f"The model {shown(name)} does not exist.{_hint(snapshot, name)}", param="model") from None
    return UsableName(name, target.deployment.provider.name, "model", target.deployment)


def usable_names(snapshot: Snapshot) -> list[UsableName]:
    """Return all usable names: models, aliases, and routes and agents with a usable member."""
    return [*_routes(snapshot), *_usable_agents(snapshot)]


def _routes(snapshot: Snapshot) -> list[UsableName]:
    deployments = snapshot.deployments.values()
    names = [UsableName(deployment.name, deployment.provider.name, "model", deployment) for deployment in deployments]
    names += _usable_aliases(snapshot)
    names += [UsableName(f"tier/{tier}", OWNER, "tier") for tier in TIERS if tier_members(snapshot, tier).targets]
    for scenario in snapshot.scenarios:
        if scenario_members(snapshot, scenario).targets:
            names.append(UsableName(f"scenario/{scenario}", OWNER, "scenario"))
    if auto_members(snapshot).targets:
        names.append(UsableName("auto", OWNER, "auto"))
        names += [UsableName(f"mode/{mode}", OWNER, "mode") for mode in MODES]
    return names


def nearest(snapshot: Snapshot, name: str) -> list[str]:
    """Return at most three usable names similar to `name`, the most similar first."""
    pairs = _pairs(name)
    ranked: list[tuple[float, str]] = []
    for usable in usable_names(snapshot):
        similarity = _similarity(pairs, _pairs(usable.id))
        if usable.deployment is not None and usable.kind == "model":
            similarity = max(similarity, _similarity(pairs, _pairs(usable.deployment.model)))
        if similarity >= _MIN_SIMILARITY:
            ranked.append((-similarity, usable.id))
    return [name for _, name in sorted(ranked)[:_SUGGESTIONS]]


def _usable_agents(snapshot: Snapshot) -> Iterator[UsableName]:
    """Yield the names of agents whose model can be used, each without a version or label."""
    usable: dict[str, bool] = {}  # by model, which many agents may share
    for name, agent in snapshot.agents.items():
        if "@" in name:
            continue
        if agent.model not in usable:
            try:
                usable[agent.model] = bool(_agent(snapshot, agent, "model").members.targets)
            except (ModelNotFound, InvalidRequest):
                usable[agent.model] = False
        if usable[agent.model]:
            yield UsableName(agent.name, OWNER, "agent")


def _usable_aliases(snapshot: Snapshot) -> Iterator[UsableName]:
    for alias in snapshot.aliases:
        try:
            rule = _alias(snapshot, alias, "model")
        except (ModelNotFound, InvalidRequest):
            continue
        if rule is not None and rule.members.targets:
            deployment = rule.members.targets[0].deployment if rule.form == "single" else None
            yield UsableName(alias, OWNER, "alias", deployment)


def _reserved(snapshot: Snapshot, name: str, param: str) -> Rule | None:
    """Resolve reserved names; an unknown name with a reserved prefix is rejected."""
    head, _, rest = name.partition("/")
    if head not in RESERVED:
        return None
    if name == "auto":
        return Rule("auto", name, "auto", auto_members(snapshot))
    for tier in TIERS:
        if name == f"tier/{tier}":
            return Rule("tier", name, "tier", tier_members(snapshot, tier), tier=tier)
    for mode in MODES:
        if name == f"mode/{mode}":
            return Rule("mode", name, "auto", auto_members(snapshot), mode=mode)
    if head == "scenario" and rest in snapshot.scenarios:
        return Rule("scenario", name, "scenario", scenario_members(snapshot, rest))
    if head == "agent" and rest:
        if agent := snapshot.agents.get(rest):
            return _agent(snapshot, agent, param)
        raise ModelNotFound(f"The agent {shown(name)} does not exist.", param=param)
    return None


def _agent(snapshot: Snapshot, agent: Agent, param: str) -> Rule:
    """Resolve the model of an agent, which is no agent itself."""
    name = agent.model
    if snapshot.aliases.get(name, name).startswith(PREFIX):
        raise ModelNotFound(f"The model of `{agent.name}` is an agent; it must be a model or a route.", param=param)
    rule = _reserved(snapshot, name, param) or _alias(snapshot, name, param) or _model(snapshot, name, param)
    if rule is None:
        raise ModelNotFound(f"The model of `{agent.name}`, {shown(name)}, does not exist.", param=param)
    note = f"{agent.name} version {agent.version}"
    return replace(rule, rule="agent", note=f"{note}, {rule.note}" if rule.note else note, agent=agent.name)


def _alias(snapshot: Snapshot, name: str, param: str) -> Rule | None:
    target = name
    for _ in range(_MAX_ALIAS_DEPTH):
        if target not in snapshot.aliases:
            break
        target = snapshot.aliases[target]
    else:
        return None
    if target == name:
        return None
    rule = _reserved(snapshot, target, param) or _model(snapshot, target, param)
    return None if rule is None else replace(rule, rule="alias", note=f"alias {name} of {rule.route}")


def _model(snapshot: Snapshot, name: str, param: str) -> Rule | None:
    """Resolve `provider/model`, or a model id that only one provider has."""
    head, slash, model = name.partition("/")
    if head in RESERVED:
        return None
    if slash and (head in snapshot.providers or head in snapshot.left_out):
        return _direct(snapshot, name, model, param)
    return _bare(snapshot, name, param) if name else None


def _direct(snapshot: Snapshot, name: str, model: str, param: str) -> Rule | None:
    member = find(snapshot, name)
    if isinstance(member, Deployment):
        note = "named directly" if member.listed else "named directly, a model that the configuration does not list"
        return Rule("direct", name, "single", Members((Target(member),)), note=note)
    if member.left_out or name in snapshot.known:
        raise _unusable(member, param)
    if snapshot.providers[member.name.partition("/")[0]].any_model and not sane_model(model):
        raise InvalidRequest(
            f"A model id has 1 to {MAX_MODEL_ID} characters, without white space, control characters, `.` and `..` as"
            " parts of a path.",
            param=param,
        )
    return None


def _bare(snapshot: Snapshot, name: str, param: str) -> Rule | None:
    same_id = [deployment for deployment in snapshot.deployments.values() if deployment.model == name]
    if len(same_id) > 1:
        which = _listed([deployment.name for deployment in same_id])
        raise ModelNotFound(f"The model id {shown(name)} is ambiguous; use one of {which}.", param=param)
    if same_id:
        return _bare_rule(same_id[0])
    if snapshot.default_route is None:
        for known in sorted(snapshot.known):
            if known.partition("/")[2] == name and isinstance(member := find(snapshot, known), Missing):
                raise _unusable(member, param)
    return None


def _bare_rule(deployment: Deployment) -> Rule:
    note = f"only {deployment.provider.name} has this model"
    return Rule("bare", deployment.name, "single", Members((Target(deployment),)), note=note)


def _unusable(missing: Missing, param: str) -> ModelNotFound:
    provider = missing.name.partition("/")[0]
    reason = f"provider `{provider}` is left out: {missing.reason}" if missing.left_out else missing.reason
    return ModelNotFound(f"The model {shown(missing.name)} cannot be used: {reason}.", param=param)


def _hint(snapshot: Snapshot, name: str) -> str:
    """Return a hint: similar names, and the name at providers with `any_model`."""
    known, others = _at_open_providers(snapshot, name)
    near = list(dict.fromkeys([*known, *nearest(snapshot, name)]))[:_SUGGESTIONS]
    hint = f" Did you mean {_listed(near, 'or')}?" if near else ""
    if others and not known:
        hint += f" Name an unlisted model with its provider: {_listed(others[:_SUGGESTIONS], 'or')}."
    return hint or " `GET /v1/models` lists the usable names."


def _at_open_providers(snapshot: Snapshot, name: str) -> tuple[list[str], list[str]]:
    """Return the name at `any_model` providers: those where the catalogue contains it, and all."""
    head, slash, rest = name.partition("/")
    if head in RESERVED or head in snapshot.providers or head in snapshot.left_out or not sane_model(name):
        return [], []
    if len(name) > _MAX_SHOWN:
        return [], []
    providers = snapshot.providers.values()
    similar = [provider for provider in providers if slash and provider.name.lower() == head.lower()]
    if similar:
        return [f"{provider.name}/{rest}" for provider in similar if provider.any_model], []
    members = [find(snapshot, f"{provider.name}/{name}") for provider in providers if provider.any_model]
    usable = [member for member in members if isinstance(member, Deployment)]
    known = [deployment.name for deployment in usable if _is_known(snapshot, deployment)]
    return known, [deployment.name for deployment in usable]


def _is_known(snapshot: Snapshot, deployment: Deployment) -> bool:
    catalogue = snapshot.catalogue.get(deployment.provider.name, {})
    return deployment.listed or deployment.model in catalogue or undated(deployment.model) in catalogue


def shown(name: str) -> str:
    """Quote a client's value for a message, shortened and on one line."""
    short = name if len(name) <= _MAX_SHOWN else name[:_MAX_SHOWN] + "..."
    return "`" + "".join(character if character.isprintable() else "?" for character in short) + "`"


def _listed(names: list[str], last: str = "and") -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


def _pairs(name: str) -> frozenset[str]:
    """Return letter pairs, also pairs with one letter in between, so that transposed letters still match."""
    text = f" {name[:_MAX_COMPARED].lower()} "
    near = {text[at : at + 2] for at in range(len(text) - 1)}
    return frozenset(near | {text[at] + text[at + 2] for at in range(len(text) - 2)})


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))
