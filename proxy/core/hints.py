"""Retry hints of providers: reads all forms of retry headers, and the text of errors.

Sources: RFC 9110 section 10.2.3 (`retry-after`), OpenAI's and Groq's rate limit documentation (`x-ratelimit-reset-*` as
`6m0s`, `retry-after-ms`), Anthropic's (`anthropic-ratelimit-*-reset`, RFC 3339), OpenRouter's (`x-ratelimit-reset` in
milliseconds since the epoch) and google.rpc.RetryInfo (`retryDelay`).

A reset is not when the next call fits: by OpenAI's guide it is the time until the limit "resets to its initial state",
by Anthropic's when it is "fully replenished", and Groq's example (30 of 14400 requests of a day, 3 minutes) agrees.

Every text is cut before it is matched, and every repeat in a pattern is bounded: the work does not depend on how much
an upstream sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice

LONGEST = 24 * 3600.0  # seconds; longer hints are cut to this
USUAL_TOKENS = 2000  # assumed tokens of one call
A_LITTLE = 0.1  # seconds; the minimum cooldown under an exhausted limit, unless the limit resets earlier
UNSIZED = 60.0  # seconds; the maximum cooldown under a limit of unknown size
LONGEST_VALUE = 64  # characters; longer header values are ignored (a date has 29)
LONGEST_TEXT = 4096  # characters of an error body that are read
MOST_HEADERS = 64  # reset headers that are read at most
_DURATION = re.compile(
    r"(?<!\d)(\d{1,12}(?:\.\d{1,12})?)\s{0,4}"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])",
    re.ASCII,
)
_UNITS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TEXT = re.compile(
    r"(?:try again|retry(?:ing)?|available again|wait)\b[^.\d]{0,40}?"
    r"((?:\d{1,12}(?:\.\d{1,12})?\s{0,4}[a-z]{1,12}[\s,]{0,4}(?:and\s{1,4})?){1,4})",
    re.I | re.ASCII,
)
_DELAY = re.compile(r'"retryDelay"\s{0,8}:\s{0,8}"(\d{1,12}(?:\.\d{1,12})?)s"', re.ASCII)


def retry_after(headers: Mapping[str, str], text: str, now: float) -> float | None:
    """Return the seconds after which the provider allows a retry, or `None` without a hint.

    `headers` have lower-case names, `text` is the error body, `now` is seconds since the epoch. Invalid values are
    ignored; a time in the past is 0.
    """
    return _first(_candidates(headers, text[:LONGEST_TEXT], now))


def asked_for(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds of `retry-after-ms` or `retry-after`; `None` if neither is valid."""
    return _first(_asked_for(headers, now))


def one_fits_in(reset: float, limit: int | None, amount: int) -> float:
    """Return the seconds until `amount` is available again, if the exhausted limit is full after `reset` seconds."""
    if not limit:
        return min(reset, UNSIZED)
    return min(reset, max(A_LITTLE, reset * amount / limit))


def _first(candidates: Iterator[float | None]) -> float | None:
    for seconds in candidates:
        if seconds is not None and seconds < float("inf"):
            return min(max(seconds, 0.0), LONGEST)
    return None


def _candidates(headers: Mapping[str, str], text: str, now: float) -> Iterator[float | None]:
    """Yield explicit retry times first, then the times at which limits are full again."""
    yield from _asked_for(headers, now)
    if match := _DELAY.search(text):
        yield float(match[1])
    if match := _TEXT.search(text):
        yield duration(match[1])
    yield _longest_reset(headers, now)
    yield _instant(headers.get("x-ratelimit-reset"), now)


def _asked_for(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    yield _number(headers.get("retry-after-ms"), 0.001)
    yield _seconds_or_epoch(headers.get("retry-after"), now)
    yield _date(headers.get("retry-after"), now)


def _longest_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return the longest reset of the limits that are or may be exhausted; others are ignored."""
    names = (name for name in headers if "ratelimit-" in name and "reset" in name and name != "x-ratelimit-reset")
    found = []
    for name in islice(names, MOST_HEADERS):
        remaining = headers.get(name.replace("reset", "remaining"))
        if remaining is not None and _number(remaining) != 0:
            continue
        seconds = _instant(headers[name], now)
        if seconds is not None:
            found.append(seconds)
    return max(found, default=None)


def duration(text: str) -> float | None:
    """Return a duration such as `6m0s`, `1m30.5s`, `20 seconds` or `12ms` in seconds; `None` without one."""
    parts = _DURATION.findall(text[:LONGEST_VALUE].lower())
    if not parts:
        return None
    return sum(float(number) * _unit(unit) for number, unit in parts)


def _unit(word: str) -> float:
    return _UNITS.get(word) or _UNITS.get(word[:3]) or _UNITS[word[0]]


def _number(text: str | None, factor: float = 1.0) -> float | None:
    try:
        return float(text) * factor if text and _is_short(text) and text.strip()[:1].isdigit() else None
    except ValueError:
        return None


def _is_short(text: str) -> bool:
    """Return whether a header value is short enough to be a number or a date."""
    return len(text) <= LONGEST_VALUE


def _date(text: str | None, now: float) -> float | None:
    try:
        return _seconds(parsedate_to_datetime(text)) - now if text and _is_short(text) else None
    except (ValueError, OverflowError):
        return None


def _timestamp(text: str | None, now: float) -> float | None:
    try:
        return _seconds(datetime.fromisoformat(text)) - now if text and _is_short(text) else None
    except (ValueError, OverflowError):
        return None


def _seconds(time: datetime) -> float:
    """Return seconds since the epoch; a time without a zone is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _instant(text: str | None, now: float) -> float | None:
    """Return a reset in any of its forms as seconds from now."""
    if not text or not _is_short(text):
        return None
    for seconds in (_seconds_or_epoch(text, now), duration(text), _timestamp(text, now)):
        if seconds is not None:
            return seconds
    return None


def _seconds_or_epoch(text: str | None, now: float) -> float | None:
    """Return a number as seconds from now; large ones are dates in seconds or milliseconds since the epoch."""
    number = _number(text)
    if number is None or number <= 1e9:
        return number
    return (number / 1000 if number > 1e11 else number) - now
