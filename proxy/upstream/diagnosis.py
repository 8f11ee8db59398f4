"""The diagnosis of a provider: its status, the pattern of its failures, and advice for the operator.

A pure function of the rows of `Health.breaker_rows`, `Health.cooldown_rows` and `Limits.rows`. A route key here is one
model with one key; it is blocked by its breaker, a rejected key or a limit. If all are blocked the provider is
`unhealthy`, if some are it is `degraded`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from proxy.core.model import KEYLESS

Status = Literal["healthy", "degraded", "unhealthy"]
Pattern = Literal["auth", "limits", "widespread", "isolated"]
Pair = tuple[str, str]  # model, key id
Row = Mapping[str, Any]

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A diagnosis: `pattern` is `None` for a healthy provider; `advice` is one sentence."""

    status: Status
    pattern: Pattern | None
    advice: str


HEALTHY = Diagnosis("healthy", None, "No action is needed.")


def diagnose(
    provider: str,
    models: Sequence[str],
    keys: Sequence[str],
    *,
    breakers: Iterable[Row] = (),
    cooldowns: Iterable[Row] = (),
    limits: Iterable[Row] = (),
) -> Diagnosis:
    """Diagnose `provider` with these models (ids without the provider) and key ids (empty: keyless)."""
    pairs = {(model, key) for model in models for key in keys or (KEYLESS,)}
    cooldowns = [row for row in cooldowns if row["provider"] == provider]
    breakers = [row for row in breakers if row["provider"] == provider and row["state"] != "closed"]
    rejected = _of(pairs, (row for row in cooldowns if row["reason"] == "key_rejected"))
    limited = _of(pairs, (row for row in cooldowns if row["reason"] == "rate_limited"))
    limited |= _of(pairs, (row for row in limits if row["provider"] == provider and _used_up(row)))
    broken = _of(pairs, breakers)
    blocked = rejected | limited | broken
    if not blocked:
        return HEALTHY
    status: Status = "unhealthy" if blocked == pairs else "degraded"
    # the largest cause; for equal ones, first the one that the operator must fix
    largest = max((rejected, broken - rejected, limited - rejected - broken), key=len)
    if largest == rejected:
        return Diagnosis(status, "auth", _auth(sorted({key for _, key in rejected}), status))
    if largest == limited - rejected - broken:
        return Diagnosis(status, "limits", _limits(status))
    if fault := _own_fault(breakers, broken):
        return Diagnosis(status, *fault)
    down = sorted({model for model, _ in broken})
    if 2 * len(down) > len(models) or len(models) == 1:
        return Diagnosis(status, "widespread", _widespread(status))
    return Diagnosis(status, "isolated", f"Look at {_named(down)}: the provider's other models work.")


def _own_fault(breakers: Iterable[Row], broken: set[Pair]) -> tuple[Pattern, str] | None:
    """Return pattern and advice if all open breakers have one cause in the configuration."""
    rows = [row for row in breakers if (row["model"], row["key"]) in broken]
    reasons = {row.get("reason") for row in rows}
    models = _named(sorted({row["model"] for row in rows}))
    if reasons == {"wrong_address"}:
        return "widespread", "Check the provider's `base_url`: no API answers at the address of its calls."
    if reasons == {"model_missing"}:
        return "isolated", f"Check the id of {models}, and whether the keys may use it: the provider does not have it."
    if reasons == {"forbidden"}:
        return "isolated", f"An intermediary, such as a firewall, rejects the calls of {models} before the API."
    return None


def _of(pairs: set[Pair], rows: Iterable[Row]) -> set[Pair]:
    """Return the route keys that the rows concern; a model of `None` means all models of a key."""
    blocked: set[Pair] = set()
    for row in rows:
        if row["model"] is None:
            blocked |= {pair for pair in pairs if pair[1] == row["key"]}
        elif (row["model"], row["key"]) in pairs:
            blocked.add((row["model"], row["key"]))
    return blocked


def _used_up(row: Row) -> bool:
    return row["rest_seconds_left"] > 0 or (row["limit"] is not None and row["used"] >= row["limit"] > 0)


def _auth(keys: Sequence[str], status: Status) -> str:
    if keys == [KEYLESS]:
        return "The provider requires a credential: configure `keys` for it."
    others = "" if status == "unhealthy" else " The other keys stay in use."
    them, their = ("it", "its account") if len(keys) == 1 else ("them", "their accounts")
    return f"Check or replace {_named(keys)}: the provider rejects {them} or {their}.{others}"


def _limits(status: Status) -> str:
    if status == "unhealthy":
        return "Wait, add a key or request higher limits: the provider's limits are exhausted."
    return "Add a key or request higher limits if this lasts: some of the provider's limits are exhausted."


def _widespread(status: Status) -> str:
    if status == "unhealthy":
        return "Check the provider's status page and the network path to it: all of its models fail."
    return "Check the provider's status page: most of its models fail, with at least some of its keys."


def _named(names: Sequence[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{listed} and {more} more" if more > 0 else listed
