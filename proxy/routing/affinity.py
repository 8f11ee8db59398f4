"""Affinity: the next step of an open tool loop goes to the family of models that signed the loop's reasoning.

Providers require the signatures of a loop with its results, and no other family can read them (`Call.family`). So
targets of the family come first. A target of another family is attempted only after all of them, and a client that
names one model gets that model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.core.call import Call
from proxy.core.model import Provider
from proxy.routing.candidates import Candidate


def in_family(call: Call, provider: Provider) -> bool:
    """Whether a provider's models can use the signatures of the call's open tool loop."""
    if provider.dialect != call.family:
        return False
    native = call.native
    return native is None or native.format != "responses" or call.family != "openai" or provider.responses == "native"


def family_first(call: Call, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates with those of the family first; otherwise in their order."""
    return sorted(candidates, key=lambda candidate: not in_family(call, candidate.target.deployment.provider))


def family_names(call: Call, candidates: Sequence[Candidate]) -> frozenset[str]:
    """Return the names of the targets in the family; empty without one."""
    if call.family is None:
        return frozenset()
    return frozenset(each.name for each in candidates if in_family(call, each.target.deployment.provider))


def affinity_record(call: Call, first: Candidate) -> dict[str, Any]:
    """Return the member `affinity` of the decision record; empty without an open loop."""
    if call.family is None:
        return {}
    return {"affinity": {"family": call.family, "kept": in_family(call, first.target.deployment.provider)}}
