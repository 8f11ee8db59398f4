"""What a principal may use: routes whose name its patterns match, and the models that they match of other routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.core.errors import InvalidRequest, ModelNotFound, NotAllowed
from proxy.core.principal import Principal
from proxy.core.snapshot import Snapshot
from proxy.routing.members import Members
from proxy.routing.names import Rule, UsableName, find_model, nearest, resolve, shown, usable_names

_MAX_SHOWN = 20  # patterns in a message
_ONE_OF = " or "


def permitted_members(members: Members, principal: Principal, names: Sequence[str]) -> Members:
    """Return the members of a route that the principal may use; `names` are those of the route."""
    if principal.allows(names):
        return members
    kept = [principal.allows((*names, target.deployment.name)) for target in members.targets]
    return Members(
        targets=tuple(target for target, keep in zip(members.targets, kept, strict=True) if keep),
        missing=tuple(model for model in members.missing if principal.allows((*names, model.name))),
        ordered=members.ordered,
        unordered=tuple(slice(sum(kept[: part.start]), sum(kept[: part.stop])) for part in members.unordered),
    )


def permitted_rule(rule: Rule, principal: Principal) -> Rule:
    """Return the rule with the members that the principal may use. Raises `NotAllowed` if none is left."""
    members = permitted_members(rule.members, principal, names_of(rule))
    if rule.members.targets and not members.targets:
        raise NotAllowed(
            f"The model {shown(rule.asked or rule.route)} is not allowed; this caller may use {_allowed(principal)}.",
            param=rule.param,
            code="model_not_allowed",
        )
    return replace(rule, members=members)


def names_of(rule: Rule) -> tuple[str, ...]:
    """Return the names under which patterns match a route.

    The name of an unknown model, for which `routing.default` stands in, is chosen by the client and matches nothing.
    """
    if rule.rule == "default":
        return (rule.route,)
    return (rule.asked or rule.route, rule.route, *((rule.agent,) if rule.agent else ()))


def names_for(snapshot: Snapshot, principal: Principal) -> list[UsableName]:
    """Return the usable names that the principal may use."""
    names = usable_names(snapshot)
    return [usable for usable in names if may_use(snapshot, usable.id, principal)] if principal.models else names


def model_for(snapshot: Snapshot, name: str, principal: Principal) -> UsableName:
    """Return the entry of one name. Raises `ModelNotFound`, also for a name that the principal may not use."""
    if not principal.models:
        return find_model(snapshot, name)
    try:
        usable = find_model(snapshot, name)
    except ModelNotFound:
        raise unknown_for(snapshot, name, principal) from None
    if not may_use(snapshot, name, principal):
        raise unknown_for(snapshot, name, principal)
    return usable


def unknown_for(snapshot: Snapshot, name: str, principal: Principal, param: str = "model") -> ModelNotFound:
    """Return the error for an unknown name, with no other names than the principal may use."""
    near = [f"`{each}`" for each in nearest(snapshot, name) if may_use(snapshot, each, principal)]
    hint = f"Did you mean {_ONE_OF.join(near)}?" if near else "`GET /v1/models` lists the usable names."
    return ModelNotFound(f"The model {shown(name)} does not exist. {hint}", param=param)


def may_use(snapshot: Snapshot, name: str, principal: Principal) -> bool:
    """Return whether the principal may use a name: the name itself, or a model that it leads to."""
    try:
        rule = replace(resolve(snapshot, name, use_default=False), asked=name)
    except (ModelNotFound, InvalidRequest):
        return False
    return bool(permitted_members(rule.members, principal, names_of(rule)).targets)


def _allowed(principal: Principal) -> str:
    """Return the patterns of a principal; a name must match one of each list."""
    lists = []
    for patterns in principal.models:
        more = f" and {len(patterns) - _MAX_SHOWN} more" if len(patterns) > _MAX_SHOWN else ""
        lists.append(", ".join(f"`{pattern}`" for pattern in patterns[:_MAX_SHOWN]) + more if patterns else "nothing")
    return "; and of these only ".join(lists)
