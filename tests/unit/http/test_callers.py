"""Who is calling: the same name for the same caller, and nothing of what it is made from."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.http.callers import Callers

HERE = {"client": ("192.0.2.7", 40_000)}
KEY = {"authorization": "Bearer sk-private-credential"}


def test_a_credential_identifies_a_caller_from_any_address() -> None:
    callers = Callers()

    assert callers.name(KEY, HERE) == callers.name({**KEY, "user-agent": "x"}, {"client": ("192.0.2.8", 1)})


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_every_header_of_a_credential_tells_callers_apart(header: str) -> None:
    callers = Callers()

    names = {callers.name({header: credential}, HERE) for credential in ("sk-one", "sk-two", "sk-one ")}

    assert len(names) == 3
    assert all(name.startswith("key-") for name in names)


def test_the_first_credential_counts() -> None:
    callers = Callers()

    assert callers.name({**KEY, "x-api-key": "sk-other"}, HERE) == callers.name(KEY, HERE)


@pytest.mark.parametrize("headers", [{}, {"authorization": ""}, {"cookie": "a=b"}])
def test_without_a_credential_the_address_identifies(headers: dict[str, str]) -> None:
    callers = Callers()

    name = callers.name(headers, HERE)

    assert name.startswith("address-")
    assert name == callers.name({}, {"client": ("192.0.2.7", 50_000)})
    assert name != callers.name({}, {"client": ("2001:db8::7", 40_000)})


@pytest.mark.parametrize("scope", [{}, {"client": None}])
def test_one_without_an_address_is_unknown(scope: dict[str, Any]) -> None:
    assert Callers().name({}, scope) == "unknown"


def test_a_name_shows_nothing_of_its_caller() -> None:
    callers = Callers()

    for name in (callers.name(KEY, HERE), callers.name({}, HERE)):
        assert "private" not in name
        assert "192" not in name
        assert len(name.partition("-")[2]) == 10


def test_another_process_has_other_names() -> None:
    assert Callers().name(KEY, HERE) != Callers().name(KEY, HERE)


def test_a_credential_and_an_address_that_look_alike_are_two() -> None:
    callers = Callers()

    assert callers.name({"api-key": "192.0.2.7"}, HERE) != callers.name({}, HERE)


def test_a_long_credential_of_odd_characters_is_no_fault() -> None:
    assert Callers().name({"authorization": "Bearer \u00e9\u00ff" + "x" * 10_000}, HERE).startswith("key-")
