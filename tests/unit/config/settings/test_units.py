"""Durations and sizes."""

from typing import Any

import pytest

from proxy.config.settings.units import positive_seconds, seconds, size


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1m30s", 90.0),
        ("1h30m", 5400.0),
        ("1d 12h", 129600.0),
        ("1s500ms", 1.5),
        ("2w", 1209600.0),
        ("5min", 300.0),
        ("30 seconds", 30.0),
        ("1 hour", 3600.0),
        ("1_000ms", 1.0),
        ("1d", 86400.0),
        ("1.5s", 1.5),
        ("2 m", 120.0),
        ("0ms", 0.0),
        ("12", 12.0),
        (7, 7.0),
        (0.25, 0.25),
        (0, 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(written: Any, expected: float) -> None:
    assert seconds(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "10x",
        "1h30",
        "30s1m",
        "1m1m",
        "1 hour 2",
        "1e3s",
        "ten",
        "inf",
        "nan",
        "1,5s",
        "10S",
        "9" * 30 + "s",
        True,
        None,
        [],
        {},
    ]
    + [float("inf"), float("nan"), 10**400],
)
def test_invalid_durations_are_rejected(written: Any) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds(written)


@pytest.mark.parametrize("written", [-1, -0.5, "-1s"])
def test_negative_durations_have_an_error_of_their_own(written: Any) -> None:
    with pytest.raises(ValueError, match="not negative"):
        seconds(written)


@pytest.mark.parametrize("written", [0, "0ms", "0s"])
def test_a_timeout_must_be_longer_than_zero(written: Any) -> None:
    with pytest.raises(ValueError, match="longer than 0"):
        positive_seconds(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("20MiB", 20 * 1024**2),
        ("1GB", 10**9),
        ("64KiB", 65536),
        ("64kib", 65536),
        ("20M", 20_000_000),
        ("20Mi", 20 * 1024**2),
        ("0.5GiB", 512 * 1024**2),
        ("32MB", 32_000_000),
        ("1_048_576", 1048576),
        ("1k", 1000),
        ("1.5MB", 1_500_000),
        ("10B", 10),
        ("65536", 65536),
        (65536, 65536),
        (0, 0),
    ],
)
def test_a_size_is_read_as_bytes(written: Any, expected: int) -> None:
    assert size(written) == expected


@pytest.mark.parametrize(
    "written", ["", "MiB", "20 potatoes", "20Q", "-1MB", -1, True, None, [], "9" * 30 + "GB", 10**400]
)
def test_invalid_sizes_are_rejected(written: Any) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        size(written)
