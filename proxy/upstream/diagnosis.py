"""What is wrong with a provider, if anything, and what to do about it: a reading of the rows that operators see.

A pure function of the rows of `Health.breakers`, `Health.rests` and `Limits.rows`. A way is one model with one key; it
is barred by its breaker, by a rejected key or by a limit. All ways barred is `unhealthy`, some of them `degraded`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from proxy.core.types import KEYLESS

Status = Literal["healthy", "degraded", "unhealthy"]
Pattern = Literal["auth", "limits", "widespread", "isolated"]
Way = tuple[str, str]  # model, key id
Row = Mapping[str, Any]

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`pattern` is None for what is healthy; `advice` is one sentence."""

    status: Status
    pattern: Pattern | None
    advice: str


HEALTHY = Diagnosis("healthy", None, "Nothing needs to be done.")


def diagnose(
    provider: str,
    models: Sequence[str],
    keys: Sequence[str],
    *,
    breakers: Iterable[Row] = (),
    rests: Iterable[Row] = (),
    limits: Iterable[Row] = (),
) -> Diagnosis:
    """The health of `provider` with these models (ids without the provider) and key ids (none: keyless)."""
    ways = {(model, key) for model in models for key in keys or (KEYLESS,)}
    rests = [row for row in rests if row["provider"] == provider]
    breakers = [row for row in breakers if row["provider"] == provider and row["state"] != "closed"]
    rejected = _of(ways, (row for row in rests if row["reason"] == "key_rejected"))
    limited = _of(ways, (row for row in rests if row["reason"] == "rate_limited"))
    limited |= _of(ways, (row for row in limits if row["provider"] == provider and _used_up(row)))
    broken = _of(ways, breakers)
    barred = rejected | limited | broken
    if not barred:
        return HEALTHY
    status: Status = "unhealthy" if barred == ways else "degraded"
    # what bars the most; where it is the same, what somebody has to mend comes first
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


def _own_fault(breakers: Iterable[Row], broken: set[Way]) -> tuple[Pattern, str] | None:
    """What the configuration has to mend, where every open breaker is open for it."""
    rows = [row for row in breakers if (row["model"], row["key"]) in broken]
    reasons = {row.get("reason") for row in rows}
    models = _named(sorted({row["model"] for row in rows}))
    if reasons == {"wrong_address"}:
        return "widespread", "Check the provider's `base_url`: no API answers at the address of its calls."
    if reasons == {"model_missing"}:
        return "isolated", f"Check the id of {models}, and whether the keys may use it: the provider does not have it."
    if reasons == {"forbidden"}:
        return "isolated", f"Something before the provider's API, such as a firewall, refuses the calls of {models}."
    return None


def _of(ways: set[Way], rows: Iterable[Row]) -> set[Way]:
    """The ways that the rows speak of; a model of None is all of a key's."""
    barred: set[Way] = set()
    for row in rows:
        if row["model"] is None:
            barred |= {way for way in ways if way[1] == row["key"]}
        elif (row["model"], row["key"]) in ways:
            barred.add((row["model"], row["key"]))
    return barred


def _used_up(row: Row) -> bool:
    return row["rest_seconds_left"] > 0 or (row["limit"] is not None and row["used"] >= row["limit"] > 0)


def _auth(keys: Sequence[str], status: Status) -> str:
    if keys == [KEYLESS]:
        return "The provider wants a credential: configure `keys` for it."
    others = "" if status == "unhealthy" else " The others serve meanwhile."
    them, their = ("it", "its account") if len(keys) == 1 else ("them", "their accounts")
    return f"Check or replace {_named(keys)}: the provider rejects {them} or {their}.{others}"


def _limits(status: Status) -> str:
    if status == "unhealthy":
        return "Wait, add a key or have the limits raised: all that the provider allows is used up."
    return "Add a key or have the limits raised if this lasts: a part of what the provider allows is used up."


def _widespread(status: Status) -> str:
    if status == "unhealthy":
        return "See the provider's status page and the way to it: all of its models fail."
    return "See the provider's status page: most of its models fail, with some of its keys at least."


def _named(names: Sequence[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{listed} and {more} more" if more > 0 else listed
