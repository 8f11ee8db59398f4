"""The planner: turns a call into a plan by the steps classify, filter, rank, boost and fallback.

A pure function of the call (with its snapshot) and a health view: no I/O, clock or randomness. The same call and health
give the same plan. Whatever the body contains, it raises only `ProxyError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from proxy.core.call import Call
from proxy.core.estimate import Count, estimate_tokens
from proxy.core.plan import HealthView, Plan
from proxy.routing.candidates import Case
from proxy.routing.case import open_case
from proxy.routing.classify import RULES, Classifier, Profile
from proxy.routing.fallback import Line, line_up
from proxy.routing.names import Rule, resolve
from proxy.routing.record import decision_record
from proxy.routing.refusal import refusal
from proxy.routing.selection import Selection, mode_of, select

Planner = Callable[[Call, HealthView], Plan]

_LONGEST_REASON = 199  # it becomes a header
_UNPRINTABLE = re.compile(r"[^ -~]")


def plan(call: Call, health: HealthView, *, classifier: Classifier = RULES, count: Count = estimate_tokens) -> Plan:
    """Return the plan of a call. Raises `ProxyError` if no target can serve it."""
    case = open_case(call, health, count)
    rules = _rules(call)
    profile = _profile(call, classifier) if any(rule.form == "auto" for rule in rules) else None
    selections = [select(rule, case, profile) for rule in rules]
    line = line_up(case, (selection.accepted for selection in selections))
    rule = rules[0]
    if not line.targets:
        raise refusal(case, rule.route, selections)
    reason = _reason(rule, line, selections, case)
    decision = decision_record(
        call,
        case,
        route=rule.route,
        rule=rule.rule,
        mode=mode_of(rule, case) if rule.form == "auto" else None,
        reason=reason,
        line=line,
        rejected=(each for selection in selections for each in selection.rejected),
        missing=(each for selection in selections for each in selection.missing),
        profile=profile,
    )
    targets = tuple(candidate.target for candidate in line.targets)
    return Plan(
        route=rule.route,
        rule=rule.rule,
        reason=reason,
        targets=targets,
        decision=decision,
        input_tokens=case.facts.input_tokens,
        content_fallback=rule.form == "scenario" and rule.route.partition("/")[2] in call.snapshot.content_fallback,
    )


def _rules(call: Call) -> list[Rule]:
    """Resolve the model's name and the names in `router.fallbacks`."""
    snapshot = call.snapshot
    fallbacks = (
        resolve(snapshot, name, param="router.fallbacks", use_default=False) for name in call.options.fallbacks
    )
    return [resolve(snapshot, call.model, kind=call.kind), *fallbacks]


def _profile(call: Call, classifier: Classifier) -> Profile:
    """Return the classifier's profile, with the task overridden by `router.task`."""
    profile = classifier.classify(call)
    return profile if call.options.task is None else replace(profile, task=call.options.task)


def _reason(rule: Rule, line: Line, selections: Sequence[Selection], case: Case) -> str:
    """Return one sentence for people that is safe in a header: ASCII, one line, without the client's text."""
    chosen = line.targets[0]
    source = next(place for place, each in enumerate(selections) if chosen in each.accepted)
    sentence = selections[source].note
    if source:
        sentence = f"router.fallbacks, {sentence}"
    if rule.rule == "default":
        sentence = f"routing.default, {sentence}"
    if not case.health_of(chosen.target).available:
        sentence += "; no target is available now"
    elif line.passed_over:
        sentence += f"; passed over {line.passed_over} not available now"
    plain = sentence if sentence.isascii() else sentence.encode("ascii", "replace").decode()
    return (plain if plain.isprintable() else _UNPRINTABLE.sub("?", plain))[:_LONGEST_REASON]
