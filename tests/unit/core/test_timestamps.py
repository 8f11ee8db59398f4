"""Points in time are written and read as ISO 8601."""

from __future__ import annotations

import pytest

from proxy.core.timestamps import iso, seconds_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00Z"), (1_800_000_000.25, "2027-01-15T08:00:00.250Z"), (None, None)],
)
def test_times_are_written_in_utc(seconds: float | None, text: str | None) -> None:
    assert iso(seconds) == text


@pytest.mark.parametrize(
    "text", ["2027-01-15T08:00:00Z", "2027-01-15T08:00:00", "2027-01-15T09:00:00+01:00", "2027-01-15 08:00"]
)
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    assert seconds_of(text) == 1_800_000_000.0


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "1969-12-31", "0001-01-01", "2027-13-01", "9999-12-31T23:59:59-23:00"]
)
def test_other_texts_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        seconds_of(text)
