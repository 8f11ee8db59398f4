"""Values read back from a file that anybody may have written."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.saved import saved_count, saved_seconds, saved_text


@pytest.mark.parametrize("value", [0, -1, 1.5, 1_800_000_000.0])
def test_a_time_is_a_number(value: float) -> None:
    assert saved_seconds(value) == value


@pytest.mark.parametrize("value", [True, None, "1", [], float("nan"), float("inf"), 1e12, -1e12])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="time"):
        saved_seconds(value)


@pytest.mark.parametrize("value", [True, None, "1", 1.0, -1, 10**9])
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="count"):
        saved_count(value)


@pytest.mark.parametrize("value", [None, "", 1, "x" * 501])
def test_what_is_no_name_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        saved_text(value)
