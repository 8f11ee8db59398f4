"""Signatures of thinking blocks."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.dialects import DialectName
from proxy.surfaces.carriers import Carried, unseal
from proxy.surfaces.messages.carry import Seals, family_of, put_back
from tests.support.calls import call, deployment, provider, record

GOOGLE = {"extra_content": {"google": {"thought_signature": "s"}}}


def seals_of(asked: Call, dialect: DialectName) -> Seals:
    return Seals(asked, record(asked, chosen=deployment(of=provider("acme", dialect=dialect))))


@pytest.mark.parametrize(
    ("dialect", "carried"),
    [
        ("openai", Carried("openai", "acme", {"reasoning_content": "Hm."})),
        ("mock", Carried("openai", "acme", {"reasoning_content": "Hm."})),
        ("gemini", Carried("gemini", "acme", {})),
        ("anthropic", Carried("anthropic", "acme", {})),
    ],
)
def test_unsigned_thinking_has_a_signature_of_ours(dialect: DialectName, carried: Carried) -> None:
    asked = call()

    sealed = seals_of(asked, dialect).thinking("Hm.")

    assert unseal(asked.snapshot, asked.principal, sealed) == carried


def test_a_carrier_returns_to_its_message() -> None:
    asked = call()
    message: dict[str, Any] = {"role": "assistant"}
    [sealed] = seals_of(asked, "gemini").read(GOOGLE)

    carried = put_back(asked.snapshot, asked.principal, message, sealed)

    assert carried == Carried("gemini", "acme", GOOGLE)
    assert message == {"role": "assistant", **GOOGLE}
    assert put_back(asked.snapshot, asked.principal, message, "sbx1.x") is None


@pytest.mark.parametrize(
    ("members", "family"),
    [(GOOGLE, "gemini"), ({}, None), ({"reasoning_content": "Hm."}, None), ({"reasoning": ""}, None)],
)
def test_only_signatures_have_a_family(members: dict[str, Any], family: str | None) -> None:
    assert family_of(Carried("gemini", "", members)) == family
