"""The rate limits that providers report in the headers of an answer.

Sources: OpenAI's rate limit guide (`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`), Groq's (the same names,
but `requests` are those of a day) and Anthropic's (`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from proxy.core.hints import USUAL_TOKENS, asked_for, one_fits_in, retry_after

Unit = Literal["requests", "tokens"]

# What is counted, the names of the headers, and whether the header's limit is counted in the same unit as ours.
_FORMS: tuple[tuple[Unit, str, bool], ...] = (
    ("requests", "x-ratelimit-{}-requests", True),
    ("tokens", "x-ratelimit-{}-tokens", True),
    ("requests", "anthropic-ratelimit-requests-{}", True),
    ("tokens", "anthropic-ratelimit-tokens-{}", True),
    ("tokens", "anthropic-ratelimit-input-tokens-{}", False),
    ("tokens", "anthropic-ratelimit-output-tokens-{}", False),
)
_HEADERS = tuple(
    (unit, comparable, form.format("limit"), form.format("remaining"), form.format("reset"))
    for unit, form, comparable in _FORMS
)
NAMES = frozenset(name for _, _, *names in _HEADERS for name in names)


class ReportedLimit(NamedTuple):
    """One limit of an answer: `limit` is `None` if it is unknown or counted in another unit, times are in seconds."""

    unit: Unit
    limit: int | None
    reset: float  # seconds until the limit is full again
    cooldown: float  # seconds until one more call fits, 0 unless the limit is exhausted


def reported_limits(headers: Mapping[str, str], now: float) -> list[ReportedLimit]:
    """Return the limits in an answer's headers (lower-case names); `now` is seconds since the epoch.

    An answer with `retry-after` reports no cooldown here: like everything that follows from a 429, that is part of the
    failure's rule.
    """
    if NAMES.isdisjoint(headers):
        return []
    reported, retries_later = [], asked_for(headers, now) is not None
    for unit, comparable, limit_name, remaining_name, reset_name in _HEADERS:
        if limit_name not in headers and remaining_name not in headers:
            continue
        reset, limit, cooldown = _seconds(headers.get(reset_name), now), _count(headers.get(limit_name)), 0.0
        if _count(headers.get(remaining_name)) == 0 and not retries_later:
            cooldown = one_fits_in(reset, limit, USUAL_TOKENS if unit == "tokens" else 1)
        reported.append(ReportedLimit(unit, limit if comparable and limit else None, reset, cooldown))
    return reported


def _count(text: str | None) -> int | None:
    """Return the count in a header value; `None` for anything else."""
    return int(text) if text and len(text) < 16 and text.isascii() and text.isdigit() else None


def _seconds(reset: str | None, now: float) -> float:
    """Return a reset header in any of its forms as seconds; 0 if it is empty or invalid."""
    return retry_after({"x-ratelimit-reset-requests": reset}, "", now) or 0.0 if reset else 0.0
