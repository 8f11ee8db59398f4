"""What a label needs of the decision for a call: from its record, or from the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from proxy.core.call import Call
from proxy.core.decisions import read_decision
from proxy.core.principal import Principal
from proxy.core.record import Record
from proxy.core.work import LARGE


class Decision(Struct, frozen=True, gc=False):
    """What a label needs of a call, or of a prompt that was routed without a call."""

    id: str
    tenant: str
    chosen: str  # the model that answered, or would have answered: provider/model
    targets: tuple[str, ...]  # the models of the plan
    propensity: float  # with which `chosen` came first
    features: bytes | None


def decision_for(record: Record) -> Decision | None:
    """Return the decision for a call that was answered; `None` if its prompt has no features."""
    plan, chosen, principal = record.plan, record.chosen, record.principal
    features = None if plan is None else plan.features()
    if plan is None or chosen is None or principal is None or features is None:
        return None
    names = tuple(target.deployment.name for target in plan.targets)
    propensity = plan.propensity if chosen.name == names[0] else 1.0
    return Decision(record.id, principal.tenant, chosen.name, names, propensity, features)


def decision_of(row: Mapping[str, Any]) -> Decision | None:
    """Return the decision of a row of the store: of a routed prompt, or of a call."""
    if "tenant" in row:
        about = msgspec.json.decode(row["decision"])
        targets = tuple(about["targets"])
        return Decision(row["id"], row["tenant"], about["chosen"], targets, about["propensity"], row["features"])
    if row["provider"] is None:
        return None  # no model has answered
    try:
        record = read_decision(row["decision"] or b"{}")
    except ValueError:
        record = {}
    owner = Principal("-").tenant
    for kind, id in (("team", row["team_id"]), ("user", row["user_id"]), ("key", row["key_id"])):
        if id is not None:
            owner = f"{kind}:{id}"
            break
    name = f"{row['provider']}/{row['upstream_model']}"
    propensity = record.get("ranking", {}).get("propensity", 1.0) if record.get("chosen") == name else 1.0
    targets = tuple(
        f"{one['provider']}/{one['model']}" for one in record.get("candidates", ()) if one["status"] != "rejected"
    )
    return Decision(row["id"], owner, name, targets, propensity, row["features"])


def owner_of(principal: Principal) -> str | None:
    """Return whose labels are bounded together: those of a key, or of a user; `None` for callers that are trusted."""
    if principal.role == "admin":
        return None
    return principal.key_id or principal.user


def features_of(call: Call) -> bytes | None:
    """Return the features of a prompt that no classifier has read yet; `None` if it has none."""
    if call.kind != "chat" or len(call.raw) > LARGE or call.snapshot.classifier != "model":
        return None
    from proxy.routing.classify.packed import pack
    from proxy.routing.classify.trained import TRAINED  # loads a model, for which most processes have no use

    return pack(TRAINED.classify(call))
