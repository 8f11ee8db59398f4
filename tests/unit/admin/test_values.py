"""Values of admin objects: what is accepted, what is stored, and what is shown."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy.admin.values import (
    MOST_USD,
    BudgetBody,
    LimitsBody,
    Metadata,
    Name,
    ObjectId,
    Patterns,
    Time,
    budget_of,
    limits_of,
    shown_budget,
)
from proxy.core.accounts import Budget
from proxy.core.model import LimitValues

NOT_IDS = ["", "a b", " a", "a\n", "a\0", "\u200b", "\ud800", "x" * 101, ".", "..", "tab\t", "\u202eabc"]


@pytest.mark.parametrize(
    "text", ["a", "x" * 100, "ann@example.com", "a/b", "Zoë", "%", "_", "'; drop table keys; --".replace(" ", "")]
)
def test_an_id_has_visible_characters(text: str) -> None:
    assert TypeAdapter(ObjectId).validate_python(text) == text


@pytest.mark.parametrize("text", NOT_IDS)
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ObjectId).validate_python(text)


def test_a_name_may_contain_spaces() -> None:
    assert TypeAdapter(Name).validate_python("Ann's laptop") == "Ann's laptop"
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(" padded ")


@pytest.mark.parametrize("patterns", [[], [""], ["a b"], ["a\0"], ["x" * 301], ["m"] * 1001])
def test_patterns_are_not_empty_and_not_too_many(patterns: list[str]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Patterns).validate_python(patterns)


@pytest.mark.parametrize(
    "value", [{"a": "\0"}, {"\0": 1}, {"a": "\ud800"}, {"a": math.inf}, {"a": 2**63}, {"a": "x" * 20_000}]
)
def test_metadata_that_a_database_cannot_store_is_rejected(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Metadata).validate_python(value)


def test_metadata_has_few_levels() -> None:
    value: dict[str, Any] = {}
    for _ in range(9):
        value = {"a": value}

    assert TypeAdapter(Metadata).validate_python(value) == value
    with pytest.raises(ValidationError):
        TypeAdapter(Metadata).validate_python({"a": {"a": value}})


@pytest.mark.parametrize("value", [1_800_000_000, None, "soon", "1969-01-01T00:00:00Z"])
def test_a_time_is_a_text_in_iso_8601(value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Time).validate_python(value)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", 10**13])
def test_limits_are_positive_integers(value: Any) -> None:
    with pytest.raises(ValidationError):
        LimitsBody.model_validate({"rpm": value})


def test_a_change_of_limits_keeps_the_others() -> None:
    before = LimitValues(rpm=5, tpm=100)

    assert limits_of(LimitsBody.model_validate({"rpm": 6, "tpm": None}), before) == LimitValues(rpm=6)
    assert limits_of(LimitsBody.model_validate({"rpd": 7}), before) == LimitValues(rpm=5, tpm=100, rpd=7)
    assert limits_of(None, before) == LimitValues()


@pytest.mark.parametrize(("usd", "nusd"), [(5, 5 * 10**9), (0.1, 10**8), (1e-9, 1), (MOST_USD, 10**18), (0, 0)])
def test_a_budget_is_exact_to_the_nano_dollar(usd: float, nusd: int) -> None:
    assert budget_of(BudgetBody.model_validate({"usd": usd})) == Budget(nusd=nusd)


@pytest.mark.parametrize(
    "value", [{"usd": -1}, {"usd": "5"}, {"usd": math.nan}, {"usd": 1e10}, {"usd": 5, "period": "year"}, {"usd": True}]
)
def test_other_budgets_are_rejected(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BudgetBody.model_validate(value)


@pytest.mark.parametrize("zone", ["Mars", "", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_an_unknown_time_zone_is_rejected(zone: str) -> None:
    with pytest.raises(ValidationError):
        BudgetBody.model_validate({"usd": 5, "timezone": zone})


def test_a_change_of_a_budget_keeps_the_other_fields() -> None:
    before = Budget(nusd=10**18 - 1, period="day", hard=False)

    assert budget_of(BudgetBody.model_validate({"hard": True}), before) == Budget(nusd=10**18 - 1, period="day")
    assert budget_of(BudgetBody.model_validate({"usd": 2}), before) == Budget(nusd=2 * 10**9, period="day", hard=False)
    assert budget_of(None, before) is None


@pytest.mark.parametrize(("value", "before"), [({}, None), ({"period": "day"}, None), ({"usd": None}, Budget(nusd=1))])
def test_a_budget_needs_an_amount(value: dict[str, Any], before: Budget | None) -> None:
    with pytest.raises(ValueError, match="must have `usd`"):
        budget_of(BudgetBody.model_validate(value), before)


def test_a_budget_is_shown_in_dollars() -> None:
    shown = shown_budget(Budget(nusd=1_500_000_000))

    assert shown == {"usd": 1.5, "period": "month", "hard": True, "timezone": "UTC"}
