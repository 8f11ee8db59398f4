"""Anonymous callers: the same name for the same caller, and nothing of what it is made from."""

from __future__ import annotations

import re
from typing import Any

import pytest

from proxy.admission.identify import Identify, IdentifyNone

HERE = "192.0.2.7"
KEY = {"authorization": "Bearer sk-private-credential"}


@pytest.fixture
def identify() -> Identify:
    return IdentifyNone()


def test_a_credential_identifies_a_caller_from_any_address(identify: Identify) -> None:
    assert identify(KEY, HERE).name == identify({**KEY, "user-agent": "x"}, "192.0.2.8").name


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_every_header_of_a_credential_distinguishes_callers(identify: Identify, header: str) -> None:
    names = {identify({header: credential}, HERE).name for credential in ("sk-one", "sk-two", "sk-one ")}

    assert len(names) == 3
    assert all(name.startswith("key-") for name in names)


def test_the_first_credential_counts(identify: Identify) -> None:
    assert identify({**KEY, "x-api-key": "sk-other"}, HERE).name == identify(KEY, HERE).name


@pytest.mark.parametrize("headers", [{}, {"authorization": ""}, {"cookie": "a=b"}])
def test_without_a_credential_the_address_identifies(identify: Identify, headers: dict[str, str]) -> None:
    name = identify(headers, HERE).name

    assert name.startswith("address-")
    assert name == identify({}, HERE).name
    assert name != identify({}, "2001:db8::7").name


def test_a_caller_without_an_address_is_unknown(identify: Identify) -> None:
    assert identify({}, None).name == "unknown"


def test_a_name_shows_nothing_of_its_caller(identify: Identify) -> None:
    for name in (identify(KEY, HERE).name, identify({}, HERE).name):
        assert re.fullmatch(r"(key|address)-[0-9a-f]{10}", name)  # of a digest


def test_another_process_has_other_names(identify: Identify) -> None:
    assert identify(KEY, HERE).name != IdentifyNone()(KEY, HERE).name


def test_a_credential_is_not_taken_for_an_address(identify: Identify) -> None:
    assert identify({"api-key": HERE}, HERE).name != identify({}, HERE).name


def test_a_long_credential_of_odd_characters_has_a_name(identify: Identify) -> None:
    assert identify({"authorization": "Bearer \u00e9\u00ff" + "x" * 10_000}, HERE).name.startswith("key-")


class Headers(dict[str, str]):
    """Headers that count how often one is looked up."""

    lookups = 0

    def get(self, *arguments: Any) -> Any:
        self.lookups += 1
        return super().get(*arguments)


def test_a_name_is_computed_when_it_is_first_needed(identify: Identify) -> None:
    headers = Headers(KEY)
    principal = identify(headers, HERE)
    before = headers.lookups

    names = [principal.name, principal.name]

    assert (before, headers.lookups) == (0, 1)
    assert names == [identify(KEY, HERE).name] * 2
