"""When a provider says that it may be asked again."""

from __future__ import annotations

import pytest

from proxy.core.hints import LONGEST, asked_for, duration, one_fits_in, retry_after

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 23:13:50 +0100"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 -0000"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry-after": "1700000020"}, 20.0),
        ({"retry-after": "1600000000"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12ms"}, 0.012),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.66s"}, 7.66),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "59"}, 59.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2023-11-14T22:14:00Z"}, 40.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2023-11-14T22:14:00"}, 40.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1700000020"}, 20.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1700000020000"}, 20.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1699999999"}, 0.0),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2023-11-14T22:14:20Z"}, 60),
        ({"x-ratelimit-reset-requests": "1m1s"}, 61.0),  # without saying how much is left
        ({"anthropic-ratelimit-requests-reset": "2023-11-14T22:14:20Z"}, 60),
        ({"ratelimit-reset": "17"}, 17.0),
        ({"x-ratelimit-reset": "1700000020000"}, 20.0),
        ({"x-ratelimit-reset": "1700000020"}, 20.0),
        ({"x-ratelimit-reset": "20"}, 20.0),
        ({"x-ratelimit-reset": "1m30s"}, 90.0),
        ({"x-ratelimit-reset": "2023-11-14T22:14:20Z"}, 60.0),
    ],
)
def test_every_form_of_header_is_read(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, "", NOW) == pytest.approx(seconds, abs=1e-3)


def test_the_longest_reset_of_exhausted_limits_counts() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "9s",
        "x-ratelimit-remaining-input-images": "10",
        "x-ratelimit-reset-input-images": "1h",
    }

    assert retry_after(headers, "", NOW) == 9.0


def test_a_limit_with_room_left_says_nothing() -> None:
    headers = {"x-ratelimit-remaining-requests": "499", "x-ratelimit-reset-requests": "120ms"}

    assert retry_after(headers, "", NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Rate limit reached. Limit 3 / min. Please try again in 20s. Visit the site.", 20.0),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 1h2m3.5s", 3723.5),
        ("Please try again in 340ms.", 0.34),
        ("Please try again in 500 milliseconds.", 0.5),
        ("Please retry after 27 seconds.", 27.0),
        ("Please wait 5 minutes and 10 seconds before the next request", 310.0),
        ("Retrying is possible in 2 hours", 7200.0),
        ("the model will be available again in 1 day", 86400.0),
        ('{"error":{"details":[{"@type":"RetryInfo","retryDelay":"39.5s"}]}}', 39.5),
        ('{"retryDelay" : "3s", "message": "Please retry in 9s"}', 3.0),
    ],
)
def test_the_text_of_an_error_is_read(text: str, seconds: float) -> None:
    assert retry_after({}, text, NOW) == pytest.approx(seconds)


def test_a_header_beats_the_text() -> None:
    assert retry_after({"retry-after": "3"}, "try again in 20s", NOW) == 3.0


def test_the_text_beats_the_reset_header() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0s"}

    assert retry_after(headers, "Please try again in 120ms.", NOW) == pytest.approx(0.12)
    assert retry_after({"x-ratelimit-reset": "60"}, "Please try again in 2s.", NOW) == 2.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-reset": "20", "x-ratelimit-reset-requests": "20s"}, None),
        ({}, None),
    ],
)
def test_what_a_provider_asks_for_itself_is_no_reset(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_for(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("reset", "limit", "amount", "seconds"),
    [
        (60.0, 500, 1, 0.12),
        (86_400.0, 14_400, 1, 6.0),
        (60.0, 30_000, 2000, 4.0),
        (60.0, 100_000_000, 2000, 0.1),  # at least a little
        (0.05, 500, 1, 0.05),  # ... but the limit is full by then
        (60.0, 1000, 2000, 60.0),  # nor is it ever more than full
        (7200.0, None, 1, 60.0),
        (7200.0, 0, 1, 60.0),
        (20.0, None, 1, 20.0),
        (0.0, 500, 1, 0.0),
    ],
)
def test_a_used_up_limit_has_room_for_one_long_before_it_is_full(
    reset: float, limit: int | None, amount: int, seconds: float
) -> None:
    assert one_fits_in(reset, limit, amount) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, ""),
        ({"retry-after": ""}, ""),
        ({"retry-after": "soon"}, ""),
        ({"retry-after": "-5"}, ""),
        ({"retry-after": "nan"}, ""),
        ({"retry-after": "inf"}, ""),
        ({"retry-after": "1e999"}, ""),
        ({"retry-after": "99 Foo 99999 99:99:99"}, ""),
        ({"retry-after": "\x00\ud800"}, ""),
        ({"retry-after-ms": "1" * 5000}, ""),
        ({"x-ratelimit-remaining-tokens": "0"}, ""),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "later"}, ""),
        ({"x-ratelimit-remaining-tokens": "none", "x-ratelimit-reset-tokens": "1s"}, ""),
        ({"x-ratelimit-reset": "whenever"}, ""),
        ({}, "Please retry shortly, or add your own key"),
        ({}, "Please try again in 2 requests"),
        ({}, "wait for 3.14.15"),
        ({}, "You sent 20s of audio"),
    ],
)
def test_garbage_is_ignored(headers: dict[str, str], text: str) -> None:
    assert retry_after(headers, text, NOW) is None


def test_garbage_does_not_hide_what_can_be_read() -> None:
    assert retry_after({"retry-after-ms": "x", "retry-after": "y"}, "try again in 2s", NOW) == 2.0


@pytest.mark.parametrize("value", ["86401", "99999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_is_believed_for_longer_than_a_day(value: str) -> None:
    assert retry_after({"retry-after": value}, "", NOW) == LONGEST


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    assert retry_after({}, "x" * 5000 + "try again in 2s", NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1m30.5s", 90.5),
        ("20 seconds", 20.0),
        ("12ms", 0.012),
        ("3 mins", 180.0),
        ("2 hrs", 7200.0),
        ("1 SEC", 1.0),
        ("1 millisecond", 0.001),
        ("2 months", None),
        ("5", None),
        ("", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


HUGE = 2_000_000  # characters: a quadratic search would take hours


@pytest.mark.parametrize("piece", ["1", "1.", " ", "a", ",", "wait ", "try again in ", '"retryDelay": "', "1s ", "0"])
def test_the_length_of_a_hint_does_not_matter(piece: str) -> None:
    text = piece * (HUGE // len(piece))
    names = ("retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-reset-requests", "ratelimit-reset")

    for name in names:
        assert retry_after({name: text}, "", NOW) is None
    assert retry_after({}, "try again in " + text, NOW) in (None, 4.0)


def test_the_number_of_reset_headers_does_not_matter() -> None:
    headers = {f"x-ratelimit-reset-{number}": "1h" for number in range(100_000)}

    assert retry_after(headers, "", NOW) == 3600.0
