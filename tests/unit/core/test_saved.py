"""The schema of the state file rejects what the proxy cannot have written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.core.model import RouteKey
from proxy.core.saved import (
    SavedBreaker,
    SavedCooldown,
    SavedExhaustion,
    SavedLimit,
    SavedWindow,
    route_name,
    route_named,
)

BREAKER = {
    "provider": "acme",
    "model": "small",
    "key": "main",
    "state": "open",
    "open_until": 1.8e9,
    "openings": 2,
    "reason": "server_error",
    "consecutive": 0,
    "failures": [1, 2.5],
    "closed_at": None,
}
COOLDOWN = {
    "provider": "acme",
    "key": "main",
    "model": None,
    "until": 1.8e9,
    "reason": "key_rejected",
    "times": 3,
    "seconds": 60,
}
WINDOW = {
    "name": "upstream:acme/small:main:rpm",
    "seconds": 60,
    "limit": 9,
    "origin": 100.0,
    "parts": [0, 1],
    "amounts": [2, 3],
}
LIMIT = {"name": "upstream:acme/small:main", "kind": "rpm", "limit": 7, "until": 1.8e9}
EXHAUSTION = {"name": "upstream:acme/small:main", "until": 1.8e9}
VALID: list[tuple[type[msgspec.Struct], dict[str, Any]]] = [
    (SavedBreaker, BREAKER),
    (SavedCooldown, COOLDOWN),
    (SavedWindow, WINDOW),
    (SavedLimit, LIMIT),
    (SavedExhaustion, EXHAUSTION),
]


def decoded(of: type[msgspec.Struct], values: object) -> msgspec.Struct:
    return msgspec.json.decode(msgspec.json.encode(values), type=of)


@pytest.mark.parametrize(("of", "values"), VALID)
def test_saved_values_survive_the_file(of: type[msgspec.Struct], values: dict[str, Any]) -> None:
    saved = decoded(of, values)

    assert msgspec.to_builtins(saved) == values
    assert decoded(of, saved) == saved


@pytest.mark.parametrize(("of", "values"), VALID)
def test_every_field_is_required(of: type[msgspec.Struct], values: dict[str, Any]) -> None:
    for name in values:
        with pytest.raises(msgspec.ValidationError, match=name):
            decoded(of, {key: value for key, value in values.items() if key != name})


@pytest.mark.parametrize(
    ("of", "values", "changed"),
    [
        *[(SavedCooldown, COOLDOWN, {"until": value}) for value in (True, None, "1", [], 1e12, -1e12)],
        *[(SavedCooldown, COOLDOWN, {"times": value}) for value in (True, None, "1", 1.5, -1, 10**9)],
        *[(SavedCooldown, COOLDOWN, {"provider": value}) for value in (None, "", 1, "x" * 501)],
        (SavedCooldown, COOLDOWN, {"reason": "tired"}),
        (SavedBreaker, BREAKER, {"state": "half-open"}),
        (SavedBreaker, BREAKER, {"failures": ["soon"]}),
        (SavedBreaker, BREAKER, {"failures": 7}),
        (SavedBreaker, BREAKER, {"closed_at": "soon"}),
        *[(SavedWindow, WINDOW, {"seconds": value}) for value in (0, -60.0, True)],
        *[(SavedWindow, WINDOW, {"limit": value}) for value in (-1, True)],
        *[(SavedWindow, WINDOW, {"origin": value}) for value in ("soon", 1e12)],
        *[(SavedWindow, WINDOW, {"parts": value}) for value in ([-1, 0], [0.5, 1], 7, "01")],
        *[(SavedWindow, WINDOW, {"amounts": value}) for value in ([1, -1], [1, 10**15], None)],
        *[(SavedWindow, WINDOW, {"name": value}) for value in ("acme/small:main:rpm", "upstream:acme/small", "", 7)],
        *[(SavedLimit, LIMIT, {"limit": value}) for value in (0, 10**15, True)],
        (SavedLimit, LIMIT, {"kind": "rph"}),
        *[(SavedLimit, LIMIT, {"name": value}) for value in ("upstream:acme:main", "upstream:acme/small", "x", 7)],
        (SavedExhaustion, EXHAUSTION, {"name": "upstream:acme/" + "x" * 1000 + ":main"}),
    ],
)
def test_invalid_values_are_rejected(
    of: type[msgspec.Struct], values: dict[str, Any], changed: dict[str, object]
) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded(of, values | changed)


@pytest.mark.parametrize("model", ["small", "org/model:v1", "a b", "line\nbreak", ""])
def test_route_names_can_be_read_back(model: str) -> None:
    route = RouteKey("acme", model, "main")

    assert route_named(route_name(route)) == route
    assert decoded(SavedExhaustion, {"name": route_name(route), "until": 1})


@pytest.mark.parametrize("name", ["acme/small:main", "upstream:acme:main", "upstream:acme/small"])
def test_other_names_are_no_routes(name: str) -> None:
    with pytest.raises(ValueError, match="must have the form"):
        route_named(name)
