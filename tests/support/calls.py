"""Small providers, snapshots, calls and records, for tests that need a call but not its arrival."""

from __future__ import annotations

from typing import Any

from proxy.core.auth import AuthPolicy
from proxy.core.call import Call
from proxy.core.failures import FailureKind
from proxy.core.model import Deployment, Provider, ProviderKey
from proxy.core.plan import Plan, Target
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, RetryPolicy
from proxy.core.record import AttemptOutcome, AttemptRecord, Record, Timings
from proxy.core.retry_budget import RetryBudget
from proxy.core.snapshot import Live, Snapshot
from proxy.surfaces.openai.chat import read_chat

HELLO = b'{"model":"auto","messages":[{"role":"user","content":"Hello"}]}'
STREAM = b'{"model":"auto","messages":[{"role":"user","content":"Hello"}],"stream":true}'


def provider(name: str = "acme", *keys: str, **fields: Any) -> Provider:
    """A provider with these keys, or with one; `keyless=True` for none."""
    keyless = fields.pop("keyless", False)
    provider_keys = () if keyless else tuple(ProviderKey(key, f"sk-{key}-secret") for key in keys or ("main",))
    return Provider(
        **{"name": name, "dialect": "openai", "base_url": f"https://{name}.test/v1", "keys": provider_keys, **fields}
    )


def deployment(model: str = "small", of: Provider | None = None, **fields: Any) -> Deployment:
    """One model of a provider."""
    return Deployment(of or provider(), model, **fields)


def snapshot(*deployments: Deployment, **fields: Any) -> Snapshot:
    """A configuration with these deployments; `fields` replace its other values."""
    values: dict[str, Any] = {
        "version": "v1",
        "providers": {deployment.provider.name: deployment.provider for deployment in deployments},
        "deployments": {deployment.name: deployment for deployment in deployments},
        "left_out": {},
        "known": frozenset(deployment.name for deployment in deployments),
        "aliases": {},
        "tiers": {"low": None, "medium": None, "high": None},
        "scenarios": {},
        "default_route": None,
        "mode": "balanced",
        "weights": {},
        "breaker": BreakerPolicy(),
        "retry": RetryPolicy(),
        "deadline": DeadlinePolicy(),
        "auth": AuthPolicy(carrier_keys=(b"c" * 64,)),
    }
    return Snapshot(**{**values, **fields})


def live(*deployments: Deployment, **fields: Any) -> Live:
    """A configuration in force, with the values of `snapshot`."""
    return Live(snapshot(*deployments, **fields))


def retry_budget(share: float, floor: float) -> RetryBudget:
    """A retry budget with these values."""
    return RetryBudget(live(retry=RetryPolicy(share=share, floor=floor)))


def call(raw: bytes = HELLO, *, on: Snapshot | None = None, headers: dict[str, str] | None = None) -> Call:
    """A call, read as one that has arrived."""
    return read_chat(raw, headers or {}, id="req_1", request_id="theirs", snapshot=on or snapshot())


def plan(*deployments: Deployment, route: str = "tier/low", **fields: Any) -> Plan:
    """A plan with these deployments as its targets, in this order."""
    return Plan(route, "tier", "because", tuple(Target(deployment) for deployment in deployments), lambda: fields)


def record(of: Call | None = None, *, started: float = 1000.0, **fields: Any) -> Record:
    """The record of a call that has just begun."""
    row = Record("req_1", "theirs", Timings(started))
    row.call = of
    for name, value in fields.items():
        setattr(row.timings if name in Timings.__struct_fields__ else row, name, value)
    return row


def attempt(
    outcome: str = "ok", of: Deployment | None = None, *, key_id: str = "main", ms: float | None = None, **fields: Any
) -> AttemptRecord:
    """One attempt at `of`, or at `acme/small`, that took `ms` milliseconds."""
    row = AttemptRecord("req_1", 1, of or deployment(), key_id, 1000.0)
    if ms is not None:
        row.ended = row.started + ms / 1000
    for name, value in {"outcome": ended(outcome), **fields}.items():
        setattr(row, name, value)
    return row


def ended(outcome: str) -> FailureKind | AttemptOutcome:
    """Return the outcome of an attempt by its name."""
    return AttemptOutcome(outcome) if outcome in list(AttemptOutcome) else FailureKind(outcome)
