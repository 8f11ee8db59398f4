"""The last step of routing: joins the candidates of all routes, without repeats, unavailable ones last.

Unhealthy candidates stay in the plan, because only the attempt loop knows when a target is the last one left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from proxy.routing.candidates import Candidate, Case, Rejection

MOST_TARGETS = 16


@dataclass(frozen=True, slots=True)
class Line:
    """The plan's candidates in order, and those beyond its maximum length."""

    targets: tuple[Candidate, ...]
    surplus: tuple[Candidate, ...]
    passed_over: int  # unavailable candidates that rank above the first


def line_up(case: Case, groups: Iterable[Iterable[Candidate]]) -> Line:
    """Concatenate the groups, drop repeats, and move unavailable candidates to the end."""
    unique: dict[str, Candidate] = {}
    for group in groups:
        for candidate in group:
            unique.setdefault(candidate.name, candidate)
    order = list(unique.values())
    well = [each for each in order if case.health_of(each.target).available]
    ill = [each for each in order if not case.health_of(each.target).available]
    line = well + ill
    too_many = Rejection("surplus", f"beyond the {MOST_TARGETS} targets of a plan")
    return Line(
        targets=tuple(line[:MOST_TARGETS]),
        surplus=tuple(replace(each, rejection=too_many) for each in line[MOST_TARGETS:]),
        passed_over=order.index(well[0]) if well else 0,
    )
