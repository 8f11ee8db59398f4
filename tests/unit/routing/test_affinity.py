"""An open tool loop stays with the family of models that signed it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call, NativeRequest
from proxy.core.dialects import DialectName
from proxy.core.model import Deployment
from proxy.core.plan import HealthView, Plan
from proxy.core.snapshot import ScenarioEntry
from proxy.routing.affinity import in_family
from proxy.routing.plan import plan
from tests.unit.routing.build import ANTHROPIC, ILL, MINI, OPENAI, call, price, snapshot

CLAUDE = replace(ANTHROPIC, dialect="anthropic")
NATIVE = replace(OPENAI, name="native", responses="native")
HAIKU = Deployment(CLAUDE, "haiku", tier="low", price=price(1, 5))
SONNET = Deployment(CLAUDE, "sonnet", tier="low", price=price(3, 15))
NANO = replace(MINI, model="nano", price=price(0.1, 0.3))
ON = snapshot(
    MINI,
    HAIKU,
    SONNET,
    NANO,
    aliases={"claude": "anthropic/haiku"},
    scenarios={"s": (ScenarioEntry("openai/mini"), ScenarioEntry("anthropic/sonnet"))},
)
STAYS = "; stays with the family anthropic of the open tool loop"
LEAVES = "; leaves the family gemini of the open tool loop"


def looping(model: str, family: DialectName | None, **options: Any) -> Call:
    asked = call(model, on=ON, **options)
    asked.family = family
    return asked


def planned(asked: Call, health: HealthView | None = None) -> Plan:
    return plan(asked, health or {})


def names(found: Plan) -> list[str]:
    return [target.deployment.model for target in found.targets]


def test_targets_of_the_family_come_first() -> None:
    assert names(planned(looping("tier/low", None))) == ["nano", "mini", "haiku", "sonnet"]
    assert names(planned(looping("tier/low", "anthropic"))) == ["haiku", "sonnet", "nano", "mini"]
    assert names(planned(looping("scenario/s", "anthropic"))) == ["sonnet", "mini"]
    assert names(planned(looping("auto", "anthropic")))[:2] == ["haiku", "sonnet"]


def test_the_reason_and_the_record_show_it() -> None:
    found = planned(looping("tier/low", "anthropic"))

    assert found.reason == "cheapest of 4 in tier/low" + STAYS
    assert found.decision["affinity"] == {"family": "anthropic", "kept": True}
    assert found.family == {"anthropic/haiku", "anthropic/sonnet"}


def test_a_call_without_an_open_loop_shows_nothing() -> None:
    found = planned(looping("tier/low", None))

    assert "affinity" not in found.decision
    assert found.family == frozenset()


def test_a_family_without_targets_is_left() -> None:
    found = planned(looping("tier/low", "gemini"))

    assert names(found) == ["nano", "mini", "haiku", "sonnet"]
    assert found.reason == "cheapest of 4 in tier/low" + LEAVES
    assert found.decision["affinity"] == {"family": "gemini", "kept": False}


def test_an_unavailable_family_is_left() -> None:
    health = {HAIKU.name: ILL, SONNET.name: ILL}
    found = planned(looping("tier/low", "anthropic"), health)

    assert names(found) == ["nano", "mini", "haiku", "sonnet"]
    assert found.decision["affinity"] == {"family": "anthropic", "kept": False}


def test_the_family_s_available_target_comes_first() -> None:
    assert names(planned(looping("tier/low", "anthropic"), {HAIKU.name: ILL})) == ["sonnet", "nano", "mini", "haiku"]


@pytest.mark.parametrize("name", ["openai/mini", "mini"])
def test_a_model_that_the_client_names_stays_first(name: str) -> None:
    found = planned(looping(name, "anthropic", fallbacks=("claude",)))

    assert names(found) == ["mini", "haiku"]
    assert found.decision["affinity"] == {"family": "anthropic", "kept": False}


def test_encrypted_reasoning_of_responses_needs_a_native_target() -> None:
    asked = looping("auto", "openai")
    assert (in_family(asked, OPENAI), in_family(asked, NATIVE), in_family(asked, CLAUDE)) == (True, True, False)

    asked.native = NativeRequest("responses", b"{}", {})
    assert (in_family(asked, OPENAI), in_family(asked, NATIVE), in_family(asked, CLAUDE)) == (False, True, False)
