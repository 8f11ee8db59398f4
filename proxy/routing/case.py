"""Creation of a case: validates the client's options against the configuration, and reads the body's needs."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.estimate import Count, estimate_tokens
from proxy.core.model import CAPABILITIES, TASKS
from proxy.core.plan import HealthView
from proxy.core.snapshot import Snapshot
from proxy.routing.candidates import Case
from proxy.routing.facts import read_facts
from proxy.routing.members import Missing, find
from proxy.routing.names import shown

MOST_FALLBACKS = 16


def open_case(call: Call, health: HealthView, count: Count = estimate_tokens) -> Case:
    """Return the case of a call. Raises `InvalidRequest` for an option with an unknown name."""
    options, snapshot = call.options, call.snapshot
    if options.task is not None and options.task not in TASKS:
        raise InvalidRequest(
            f"`router.task` must be one of {', '.join(TASKS)}, not {shown(options.task)}.", param="router.task"
        )
    if len(options.fallbacks) > MOST_FALLBACKS:
        raise InvalidRequest(f"`router.fallbacks` takes at most {MOST_FALLBACKS} names.", param="router.fallbacks")
    _check_capabilities(snapshot, options.require)
    return Case(
        snapshot=snapshot,
        kind=call.kind,
        facts=read_facts(call.body, count),
        options=options,
        health=health,
        providers=_known(snapshot, options.providers, "router.providers"),
        exclude=_known(snapshot, options.exclude, "router.exclude"),
        require=frozenset(options.require),
    )


def _check_capabilities(snapshot: Snapshot, wanted: Iterable[str]) -> None:
    """Raise `InvalidRequest` for unknown capabilities, which every model without declared ones would satisfy."""
    for word in wanted:
        if word not in CAPABILITIES and not any(
            word in (deployment.capabilities or ()) for deployment in snapshot.deployments.values()
        ):
            known = ", ".join(CAPABILITIES)
            message = f"`router.require` names {shown(word)}, which is none of {known}, and no model declares it."
            raise InvalidRequest(message, param="router.require")


def _known(snapshot: Snapshot, names: Iterable[str], param: str) -> frozenset[str]:
    """Return the names of providers or models as a set. Raises `InvalidRequest` for unknown names."""
    wanted = frozenset(names)
    for name in sorted(wanted):
        provider = name.partition("/")[0]
        if provider not in snapshot.providers and provider not in snapshot.left_out:
            raise InvalidRequest(f"`{param}` names {shown(name)}, and there is no such provider.", param=param)
        if name != provider and not _is_model(snapshot, name):
            raise InvalidRequest(f"`{param}` names {shown(name)}, and there is no such model.", param=param)
    return wanted


def _is_model(snapshot: Snapshot, name: str) -> bool:
    """Return whether the configuration contains the model or lets clients name it."""
    return name in snapshot.known or not isinstance(find(snapshot, name), Missing)
