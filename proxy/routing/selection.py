"""Selection: turns a resolved name into ordered candidates, with one function per form of route.

`order_targets` joins the candidates of all routes of a call. Unhealthy candidates stay in the plan, because only the
attempt loop knows when a target is the last one left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from proxy.core.model import Mode, Tier
from proxy.core.plan import Target
from proxy.routing.auto import Ranking, note_of, rank_auto
from proxy.routing.candidates import Candidate, Query, Rejection
from proxy.routing.classify.rules import Profile
from proxy.routing.filters import AVOIDED_BY_LARGER, accepted, apply_conditions, apply_filters, is_real
from proxy.routing.measure import measured
from proxy.routing.members import Members, Missing, next_tier, tier_members
from proxy.routing.names import Rule, members_of_kind
from proxy.routing.permitted import permitted_members, permitted_rule
from proxy.routing.rank import alternate, cheapest_first, equal_to_first

MAX_TARGETS = 16


@dataclass(frozen=True, slots=True)
class Selection:
    """The candidates of one route for the call."""

    accepted: tuple[Candidate, ...]  # in order of preference
    rejected: tuple[Candidate, ...]
    missing: tuple[Missing, ...]
    note: str  # the reason for the first candidate
    ranking: Ranking | None = None  # of `auto`


@dataclass(frozen=True, slots=True)
class OrderedTargets:
    """The plan's candidates in order, and those beyond its maximum length."""

    targets: tuple[Candidate, ...]
    surplus: tuple[Candidate, ...]
    skipped: int  # unavailable candidates that rank above the first


def select(rule: Rule, query: Query, profile: Profile | None) -> Selection:
    """Return the candidates of a route. `profile` is set if the form is `auto`.

    Raises `NotAllowed` if the caller may use none of them.
    """
    if query.kind != "chat":  # names are resolved for chat
        rule = replace(rule, members=members_of_kind(rule, query.snapshot, query.kind))
    if query.principal.models:
        rule = permitted_rule(rule, query.principal)
    if rule.form == "tier" and rule.tier is not None:
        selection = _tier(rule.route, rule.tier, rule.members, query)
    elif rule.form == "auto" and profile is not None:
        selection = _auto(rule, query, profile)
    elif rule.form == "scenario":
        selection = _scenario(rule, query)
    else:
        candidates = apply_filters(query, _measured(query, rule.members.targets), fit=False)
        return _selection(accepted(candidates), candidates, rule.members.missing, rule.note)
    return replace(selection, note=f"{rule.note}: {selection.note}") if rule.note else selection


def order_targets(
    query: Query, groups: Iterable[Iterable[Candidate]], prefer: Callable[[list[Candidate]], list[Candidate]] = list
) -> OrderedTargets:
    """Concatenate the groups, drop repeats, apply `prefer`, and move unavailable candidates to the end."""
    unique: dict[str, Candidate] = {}
    for group in groups:
        for candidate in group:
            unique.setdefault(candidate.name, candidate)
    ranked = prefer(list(unique.values()))
    available: list[Candidate] = []
    unavailable: list[Candidate] = []
    for candidate in ranked:
        (available if query.health_of(candidate.target).available else unavailable).append(candidate)
    ordered = available + unavailable
    surplus = Rejection("surplus", f"beyond the {MAX_TARGETS} targets of a plan")
    return OrderedTargets(
        targets=tuple(ordered[:MAX_TARGETS]),
        surplus=tuple(candidate._replace(rejection=surplus) for candidate in ordered[MAX_TARGETS:]),
        skipped=ranked.index(available[0]) if available else 0,
    )


def mode_of(rule: Rule, query: Query) -> Mode:
    """Return the mode of an `auto` route: from the name, else the options, else the configuration."""
    return rule.mode or query.options.mode or query.snapshot.mode


def _scenario(rule: Rule, query: Query) -> Selection:
    candidates = apply_filters(query, _measured(query, rule.members.targets), avoid_stand_ins=True)
    for part in rule.members.unordered:
        candidates[part] = alternate(query, cheapest_first(candidates[part]))
    note = f"first that fits of {len(candidates)} in {rule.route}"
    return _selection(accepted(candidates), candidates, rule.members.missing, note)


def _tier(route: str, tier: Tier, members: Members, query: Query) -> Selection:
    """Select from a tier, or from higher tiers if the call exceeds every model of it."""
    candidates = apply_filters(
        query, _measured(query, _with_effort(query, tier, members.targets)), avoid_stand_ins=True
    )
    fitting, considered, missing, note = accepted(candidates), list(candidates), members.missing, ""
    above: Tier | None = tier
    while not fitting and _exceeded(considered) and above is not None and (above := next_tier(above)) is not None:
        real = any(is_real(candidate) for candidate in considered)
        members = tier_members(query.snapshot, above, query.kind)
        if query.principal.models:
            members = permitted_members(members, query.principal, (f"tier/{above}",))
        names = {candidate.name for candidate in considered}
        fresh = [target for target in members.targets if target.deployment.name not in names]
        fresh = _with_effort(query, tier, fresh)
        candidates = apply_filters(query, _measured(query, fresh), avoid_stand_ins=True, real_elsewhere=real)
        fitting, note = accepted(candidates), f"nothing in {route} fits the call, went up to tier/{above}: "
        considered += candidates
        missing += members.missing
    if members.ordered:
        return _selection(fitting, considered, missing, f"{note}first that fits of {len(candidates)} in tier/{above}")
    ordered = alternate(query, cheapest_first(fitting))
    return _selection(ordered, considered, missing, f"{note}{_why_first(ordered)} in tier/{above}")


def _why_first(ordered: list[Candidate]) -> str:
    """Return why the first of a tier's models is first: the cheapest, if prices are known."""
    priced = sum(1 for candidate in ordered if candidate.cost is not None)
    if priced == len(ordered):
        why = f"cheapest of {priced}"
    elif priced:
        why = f"{'the only one' if priced == 1 else f'cheapest of {priced}'} with a price, of {len(ordered)}"
    else:
        timed = any(candidate.latency is not None for candidate in ordered)
        why = f"{'fastest' if timed else 'first by name'} of {len(ordered)} without a price"
    equals = equal_to_first(ordered)
    return f"{why}, least recently used of {equals} equal ones," if equals > 1 else why


def _with_effort(query: Query, tier: Tier, targets: Iterable[Target]) -> list[Target]:
    """Apply the tier's thinking policy, if the client sets no effort and the model supports it."""
    effort = query.snapshot.thinking.get(tier)
    if effort is None or query.facts.sets_effort or query.options.disable_thinking:
        return list(targets)
    return [
        replace(target, overrides={**target.overrides, "reasoning_effort": effort})
        if effort in target.deployment.thinking or (effort == "none" and target.deployment.thinking_off is not None)
        else target
        for target in targets
    ]


def _exceeded(candidates: Iterable[Candidate]) -> bool:
    """Return whether the call exceeds a candidate in a way that a larger model may avoid."""
    return any(
        candidate.rejection is not None and candidate.rejection.kind in AVOIDED_BY_LARGER for candidate in candidates
    )


def _auto(rule: Rule, query: Query, profile: Profile) -> Selection:
    candidates = apply_filters(query, _measured(query, rule.members.targets), avoid_stand_ins=True)
    candidates = apply_conditions(query, candidates)
    mode = mode_of(rule, query)
    ordered, ranking = rank_auto(query, profile, mode, accepted(candidates))
    note = note_of(query, profile, mode, ranking, len(ordered))
    return replace(_selection(ordered, candidates, rule.members.missing, note), ranking=ranking)


def _measured(query: Query, targets: Iterable[Target]) -> list[Candidate]:
    return [measured(query, target) for target in targets]


def _selection(
    ordered: list[Candidate], candidates: list[Candidate], missing: tuple[Missing, ...], note: str
) -> Selection:
    rejected = tuple(candidate for candidate in candidates if candidate.rejection is not None)
    return Selection(tuple(ordered), rejected, missing, note)
