"""Selection: turns a resolved name into ordered candidates, with one function per form of route."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from proxy.core.model import Mode, Tier
from proxy.core.plan import Target
from proxy.routing.boost import boost
from proxy.routing.candidates import Candidate, Case
from proxy.routing.classify import Profile
from proxy.routing.filters import OUTGROWN, accepted, is_real, sift
from proxy.routing.measure import measured
from proxy.routing.members import Members, Missing, listed_tiers, next_tier, tier_members
from proxy.routing.names import Rule, members_of_kind
from proxy.routing.order import cheapest_first, equal_to_first, spread
from proxy.routing.rank import needed_tier, rank, weights_of


@dataclass(frozen=True, slots=True)
class Selection:
    """The candidates of one route for the call."""

    accepted: tuple[Candidate, ...]  # in order of preference
    rejected: tuple[Candidate, ...]
    missing: tuple[Missing, ...]
    note: str  # the reason for the first candidate


def select(rule: Rule, case: Case, profile: Profile | None) -> Selection:
    """Return the candidates of a route. `profile` is set if the form is `auto`."""
    rule = _of_kind(rule, case)
    if rule.form == "tier" and rule.tier is not None:
        selection = _tier(rule.route, rule.tier, rule.members, case)
    elif rule.form == "auto" and profile is not None:
        selection = _auto(rule, case, profile)
    elif rule.form == "scenario":
        selection = _scenario(rule, case)
    else:
        judged = sift(case, _measured(case, rule.members.targets), fit=False)
        return _selection(accepted(judged), judged, rule.members.missing, rule.said)
    return replace(selection, note=f"{rule.said}: {selection.note}") if rule.said else selection


def _of_kind(rule: Rule, case: Case) -> Rule:
    """Return the members for the kind of the call; names are resolved for chat first."""
    return rule if case.kind == "chat" else replace(rule, members=members_of_kind(rule, case.snapshot, case.kind))


def mode_of(rule: Rule, case: Case) -> Mode:
    """Return the mode of an `auto` route: from the name, else the options, else the configuration."""
    return rule.mode or case.options.mode or case.snapshot.mode


def _scenario(rule: Rule, case: Case) -> Selection:
    judged = sift(case, _measured(case, rule.members.targets), spare_stand_ins=True)
    for part in rule.members.unordered:
        judged[part] = spread(case, cheapest_first(judged[part]))
    note = f"first that fits of {len(judged)} in {rule.route}"
    return _selection(accepted(judged), judged, rule.members.missing, note)


def _tier(route: str, tier: Tier, members: Members, case: Case) -> Selection:
    """Select from a tier, or from higher tiers if the call exceeds every model of it."""
    judged = sift(case, _measured(case, _thinking(case, tier, members.targets)), spare_stand_ins=True)
    good, every, missing, note = accepted(judged), list(judged), members.missing, ""
    above: Tier | None = tier
    while not good and _outgrown(every) and above is not None and (above := next_tier(above)) is not None:
        real = any(is_real(each) for each in every)
        members = tier_members(case.snapshot, above, case.kind)
        seen = {each.name for each in every}
        fresh = [target for target in members.targets if target.deployment.name not in seen]
        fresh = _thinking(case, tier, fresh)
        judged = sift(case, _measured(case, fresh), spare_stand_ins=True, real_elsewhere=real)
        good, note = accepted(judged), f"nothing in {route} fits the call, went up to tier/{above}: "
        every += judged
        missing += members.missing
    if members.ordered:
        return _selection(good, every, missing, f"{note}first that fits of {len(judged)} in tier/{above}")
    line = spread(case, cheapest_first(good))
    return _selection(line, every, missing, f"{note}{_why_first(line)} in tier/{above}")


def _why_first(line: list[Candidate]) -> str:
    """Return why the first of a tier's models is first: the cheapest, if prices are known."""
    priced = sum(1 for each in line if each.cost is not None)
    if priced == len(line):
        why = f"cheapest of {priced}"
    elif priced:
        why = f"{'the only one' if priced == 1 else f'cheapest of {priced}'} with a price, of {len(line)}"
    else:
        timed = any(each.latency is not None for each in line)
        why = f"{'fastest' if timed else 'first by name'} of {len(line)} without a price"
    equals = equal_to_first(line)
    return f"{why}, least recently used of {equals} equal ones," if equals > 1 else why


def _thinking(case: Case, tier: Tier, targets: Iterable[Target]) -> list[Target]:
    """Apply the tier's thinking policy, if the client sets no effort and the model supports it."""
    effort = case.snapshot.thinking.get(tier)
    if effort is None or case.facts.effort or case.options.disable_thinking:
        return list(targets)
    return [
        replace(target, overrides={**target.overrides, "reasoning_effort": effort})
        if effort in target.deployment.thinking or (effort == "none" and target.deployment.thinking_off is not None)
        else target
        for target in targets
    ]


def _outgrown(judged: Iterable[Candidate]) -> bool:
    return any(each.rejection is not None and each.rejection.kind in OUTGROWN for each in judged)


def _auto(rule: Rule, case: Case, profile: Profile) -> Selection:
    judged = sift(case, _measured(case, rule.members.targets), spare_stand_ins=True)
    mode = mode_of(rule, case)
    needed = needed_tier(profile.tier, mode)
    weights = weights_of(mode, case.snapshot.weights)
    ranked = rank(accepted(judged), needed, weights, listed_tiers(case.snapshot))
    boosted = spread(case, boost(ranked, profile.task, weights["specialty"]))
    note = f"{mode} mode, task {profile.task}, needs tier {needed}: best score of {len(boosted)}"
    return _selection(boosted, judged, rule.members.missing, note)


def _measured(case: Case, targets: Iterable[Target]) -> list[Candidate]:
    return [measured(case, target) for target in targets]


def _selection(good: list[Candidate], judged: list[Candidate], missing: tuple[Missing, ...], note: str) -> Selection:
    return Selection(tuple(good), tuple(each for each in judged if each.rejection is not None), missing, note)
