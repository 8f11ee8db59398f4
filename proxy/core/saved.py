"""The schema of the state file. Decoding validates it, so that its readers need not.

The file may contain anything: it was written by another version, damaged, or edited. Times are in seconds since the
epoch. The names of fields are those of version 1 of the file, where a cooldown is a `rest`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from proxy.core.failures import FailureKind
from proxy.core.model import RouteKey
from proxy.core.principal import OF_MODEL

MAX_COUNT = 1_000_000
MAX_AMOUNT = 10**15 - 1
LATEST = 1e11  # seconds since the epoch: about three thousand years
_PREFIX = "upstream:"  # of the names of route keys in the file
_CLIENT = "client:"
_CLIENTS = ("key", "user", "team")

Seconds = Annotated[float, msgspec.Meta(ge=-LATEST, le=LATEST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
RouteName = Annotated[str, msgspec.Meta(pattern=r"^upstream:[^/]*/[\s\S]*:[^:]+$", max_length=1000)]
_OWNER = r"(?:upstream:[^/]*/[\s\S]*:[^:]+|client:(?:key|user|team)/[\s\S]+)"
CounterName = Annotated[str, msgspec.Meta(pattern=rf"^{_OWNER}:[a-z]+$", max_length=1000)]


class SavedBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """One breaker; running probes are not saved."""

    provider: Name
    model: Name
    key: Name
    state: Literal["open", "closed"]
    open_until: Seconds
    openings: Count
    reason: str
    consecutive: Count
    failures: list[Seconds]
    closed_at: Seconds | None


class SavedCooldown(msgspec.Struct, frozen=True, kw_only=True):
    """One cooldown after a failure; a `model` of `None` means all models."""

    provider: Name
    key: Name
    model: Name | None
    until: Seconds
    reason: FailureKind
    times: Count
    seconds: Seconds


class SavedHealth(msgspec.Struct, frozen=True, rename={"cooldowns": "rests"}):
    """The part of `proxy/upstream/health.py`."""

    breakers: list[SavedBreaker]
    cooldowns: list[SavedCooldown]


class SavedLimit(msgspec.Struct, frozen=True):
    """One limit that a provider reported; see `route_name` for `name`."""

    name: RouteName
    kind: Literal["rpm", "rpd", "tpm", "tpd", "concurrency"]
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT)]
    until: Seconds


class SavedExhaustion(msgspec.Struct, frozen=True):
    """One cooldown because a provider reported an exhausted limit."""

    name: RouteName
    until: Seconds


class SavedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one `Window`: `amounts` are those of the `parts` with the same index."""

    name: CounterName  # of the owner, and the kind of the limit after a colon
    seconds: Annotated[float, msgspec.Meta(gt=0, le=LATEST)]
    limit: Amount
    origin: Seconds
    parts: list[Amount]
    amounts: list[Amount]


class SavedLimits(msgspec.Struct, frozen=True, rename={"cooldowns": "rests"}):
    """The part of `proxy/capacity`."""

    learned: list[SavedLimit]
    cooldowns: list[SavedExhaustion]
    counts: list[SavedWindow] = []  # older files have none


class SavedState(msgspec.Struct, frozen=True):
    """The whole file; `keys` are short digests of keys and base URLs, by provider and key id."""

    version: int
    health: SavedHealth
    limits: SavedLimits
    keys: dict[str, str]
    saved_at: Seconds | None = None


class SavedVersion(msgspec.Struct, frozen=True):
    """The version alone, which decides whether the rest can be read."""

    version: object


def route_name(route: RouteKey) -> str:
    """Return the name of a route key in the state file."""
    return f"{_PREFIX}{route.provider}/{route.model}:{route.key_id}"


def owner_name(owner: tuple[str, ...]) -> str | None:
    """Return the name of the owner of a counter in the state file; `None` if its counters are not saved."""
    if isinstance(owner, RouteKey):
        return route_name(owner)
    if owner[0] not in _CLIENTS or (len(owner) > 2 and owner[2] != OF_MODEL):
        return None
    what, id, *model = owner
    # neither an id nor a pattern can have a line break
    return f"{_CLIENT}{what}/{id}" + (f"\n{model[1]}" if model else "")


def owner_named(name: str) -> tuple[str, ...]:
    """Return the owner with that name. Raises `ValueError` if `owner_name` cannot have returned it."""
    if not name.startswith(_CLIENT):
        return route_named(name)
    what, _, rest = name.removeprefix(_CLIENT).partition("/")
    id, _, model = rest.partition("\n")
    if what not in _CLIENTS or not id:
        raise ValueError("the name of a client must have the form client:<key, user or team>/<id>")
    return (what, id, OF_MODEL, model) if model else (what, id)


def route_named(name: str) -> RouteKey:
    """Return the route key with that name. Raises `ValueError` if `route_name` cannot have returned it."""
    deployment, _, key_id = name.removeprefix(_PREFIX).rpartition(":")
    provider, slash, model = deployment.partition("/")
    if not (name.startswith(_PREFIX) and key_id and slash):
        raise ValueError("the name of a route key must have the form upstream:<provider>/<model>:<key>")
    return RouteKey(provider, model, key_id)
