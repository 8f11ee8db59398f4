"""Plans a call: resolve the names, classify the prompt if a route is `auto`, then filter, rank and order the targets.

Pure functions of the call (with its snapshot) and a health view: no I/O, clock or randomness. The same call and health
give the same plan. Whatever the body contains, they raise only `ProxyError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ModelNotFound
from proxy.core.estimate import Count, estimate_tokens
from proxy.core.model import EMPTY
from proxy.core.plan import CostSample, HealthView, Plan
from proxy.core.principal import Principal
from proxy.routing.affinity import family_first, family_names, in_family
from proxy.routing.agents import check_agent, check_fallback
from proxy.routing.auto import Ranking
from proxy.routing.candidates import Query, read_query
from proxy.routing.classify.packed import pack
from proxy.routing.classify.rules import RULES, Profile
from proxy.routing.names import Rule, resolve
from proxy.routing.permitted import unknown_for
from proxy.routing.record import decision_record
from proxy.routing.refusal import refusal
from proxy.routing.selection import OrderedTargets, Selection, mode_of, order_targets, select

_MAX_REASON = 199  # characters; the reason becomes a header
_UNPRINTABLE = re.compile(r"[^ -~]")


def plan(call: Call, health: HealthView, *, count: Count = estimate_tokens) -> Plan:
    """Return the plan of a call, with the rule classifier. Raises `ProxyError` if no target can serve the call."""
    query = read_query(call, health, count)
    rules = resolve_names(call)
    profile = with_task(RULES.classify(call), call) if needs_profile(rules) else None
    return plan_routes(call, query, rules, profile)


def resolve_names(call: Call, table: Mapping[str, Rule] = EMPTY) -> list[Rule]:
    """Resolve the model's name and the names in `router.fallbacks`; `table` holds names that are resolved already.

    Raises `ModelNotFound` or `InvalidRequest`.
    """
    snapshot = call.snapshot
    if call.principal.models:
        return _resolve_for(call.principal, call)
    rules = [table.get(call.model) or resolve(snapshot, call.model, kind=call.kind)]
    for name in call.options.fallbacks:
        rule = table.get(name) or resolve(snapshot, name, param="router.fallbacks", use_default=False)
        check_fallback(rule, "router.fallbacks")
        rules.append(rule)
    return rules


def _resolve_for(principal: Principal, call: Call) -> list[Rule]:
    """Do the same for a caller who may not use every model: its errors name no others."""
    rules, snapshot = [], call.snapshot
    for param, name in (("model", call.model), *(("router.fallbacks", name) for name in call.options.fallbacks)):
        try:
            rule = resolve(snapshot, name, param=param, use_default=param == "model", kind=call.kind)
        except ModelNotFound:
            raise unknown_for(snapshot, name, principal, param) from None
        if param != "model":
            check_fallback(rule, param)
        rules.append(replace(rule, asked=name, param=param))
    return rules


def needs_profile(rules: Sequence[Rule]) -> bool:
    """Return whether a route depends on the prompt."""
    return any(rule.form == "auto" for rule in rules)


def with_task(profile: Profile, call: Call) -> Profile:
    """Return the profile with the task that the client sets by `router.task`."""
    return profile if call.options.task is None else replace(profile, task=call.options.task)


def plan_routes(call: Call, query: Query, rules: Sequence[Rule], profile: Profile | None) -> Plan:
    """Return the plan for resolved names. Raises `ProxyError` if no target can serve the call."""
    selections = [select(rule, query, profile) for rule in rules]
    rule = rules[0]
    check_agent(call, rule)
    prefer = list if call.family is None or rule.form == "single" else partial(family_first, call)
    ordered = order_targets(query, (selection.accepted for selection in selections), prefer)
    ranking = next((selection.ranking for selection in selections if selection.ranking is not None), None)
    error = None if ordered.targets else refusal(query, rule.route, selections)
    reason = str(error) if error is not None else _reason(call, rule, ordered, selections, query)

    def decide() -> Mapping[str, Any]:
        return decision_record(
            call,
            query,
            route=rule.route,
            rule=rule.rule,
            mode=mode_of(rule, query) if rule.form == "auto" else None,
            reason=reason,
            ordered=ordered,
            rejected=(candidate for selection in selections for candidate in selection.rejected),
            missing=(missing for selection in selections for missing in selection.missing),
            profile=profile,
            ranking=ranking,
        )

    if error is not None:
        error.decide = decide
        raise error
    return Plan(
        route=rule.route,
        rule=rule.rule,
        reason=reason,
        targets=tuple(candidate.target for candidate in ordered.targets),
        decide=decide,
        features=(lambda: None) if profile is None else partial(pack, profile),
        sample=_sample(ranking, ordered),
        propensity=_propensity(selections, ordered),
        family=family_names(call, ordered.targets),
        count_input=lambda: query.facts.input_tokens,
        content_fallback=rule.form == "scenario" and rule.route.partition("/")[2] in call.snapshot.content_fallback,
    )


def _sample(ranking: Ranking | None, ordered: OrderedTargets) -> CostSample | None:
    """Return the decision as `routing.cost` counts it."""
    if ranking is None or ranking.sample is None:
        return None
    first = ordered.targets[0]
    return ranking.sample._replace(strong=first.name in ranking.strong, nusd=first.cost)


def _propensity(selections: Sequence[Selection], ordered: OrderedTargets) -> float:
    """Return the probability with which `auto` chose the first target; 1 if something else did."""
    selection = selections[0]
    by_rank = selection.ranking is not None and selection.accepted[:1] == ordered.targets[:1]
    return selection.ranking.propensity if selection.ranking is not None and by_rank else 1.0


def _reason(call: Call, rule: Rule, ordered: OrderedTargets, selections: Sequence[Selection], query: Query) -> str:
    """Return one sentence for people: why the first target is first."""
    chosen = ordered.targets[0]
    source = next(index for index, selection in enumerate(selections) if chosen in selection.accepted)
    sentence = selections[source].note
    if source:
        sentence = f"router.fallbacks, {sentence}"
    if rule.rule == "default":
        sentence = f"routing.default, {sentence}"
    if not query.health_of(chosen.target).available:
        sentence += "; no target is available now"
    elif ordered.skipped:
        sentence += f"; skipped {ordered.skipped} unavailable"
    if call.family is not None and rule.form != "single":
        kept = in_family(call, chosen.target.deployment.provider)
        sentence += f"; {'stays with' if kept else 'leaves'} the family {call.family} of the open tool loop"
    return header_text(sentence)


@lru_cache(1024)  # most sentences are notes of rules
def header_text(sentence: str) -> str:
    """Return a sentence that is safe in a header: printable ASCII in one line. It contains no text of the client."""
    plain = sentence if sentence.isascii() else sentence.encode("ascii", "replace").decode()
    return (plain if plain.isprintable() else _UNPRINTABLE.sub("?", plain))[:_MAX_REASON]
