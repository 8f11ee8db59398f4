"""Whatever a provider sends, a hint is a sane number of seconds or none."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.hints import LONGEST, duration, retry_after

NAMES = [
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-reset",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
]
NUMBERS = st.one_of(
    st.integers(-10, 10**20).map(str), st.floats().map(str), st.text("0123456789.e+-_ ", max_size=12), st.just("0")
)
UNITS = st.sampled_from(["ms", "milliseconds", "s", "sec", "m", "min", "h", "d", "days", "months", "x", ""])
DURATIONS = st.lists(st.tuples(NUMBERS, UNITS).map("".join), max_size=4).map("".join)
DATES = st.one_of(
    st.datetimes().map(lambda time: time.isoformat()),
    st.datetimes().map(lambda time: time.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.text("0123456789:+-TZ ,MonTueJanFeb", max_size=30),
    st.tuples(st.text("0123456789: ", max_size=20), st.sampled_from(["+9999", "-0000", "GMT", "+99999999999"])).map(
        "".join
    ),
)
VALUES = st.one_of(NUMBERS, DURATIONS, DATES, st.text(max_size=20))
TEXTS = st.one_of(
    st.tuples(st.sampled_from(["try again in ", "retry after ", '"retryDelay": "', "wait ", ""]), VALUES).map("".join),
    st.text(max_size=60),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES), TEXTS, st.floats(0, 4e9))
@example({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, "", 0.0)
@example({"retry-after": "9" * 5000}, "try again in " + "9" * 4000 + "s", 0.0)
def test_a_hint_is_a_sane_number_of_seconds_or_none(headers: dict[str, str], text: str, now: float) -> None:
    found = retry_after(headers, text, now)

    assert found is None or 0.0 <= found <= LONGEST


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, millis: int) -> None:
    assert duration(f"{hours}h{minutes}m{seconds}.{millis:03}s") == hours * 3600 + minutes * 60 + float(
        f"{seconds}.{millis:03}"
    )
    assert duration(f"{minutes} minutes, {seconds} seconds and {millis}ms") == minutes * 60 + seconds + millis * 0.001
