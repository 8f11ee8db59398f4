"""Usage reports: the query parameters that ask for them, and the rows that answer.

A row sums the calls of a group: by key, user, team, provider, model, route, day and hour. `docs/usage.md` describes the
parameters and the members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.money import usd
from proxy.core.timestamps import iso, seconds_of

DIMENSIONS = ("key", "user", "team", "provider", "model", "route")
GROUPS = (*DIMENSIONS, "day", "hour")
DEFAULT_DAYS = 30
MICROSECONDS = 1_000_000
MOST_ROWS = 1000  # of a page
MOST_VALUES = 100  # of one filter
_LONGEST = 256  # characters of a filter's value
_DAY = 86_400
_LATEST = 253_402_300_799  # the end of the year 9999

Parameters = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What a report sums: its groups, the filters, and the range of time in microseconds since 1970."""

    group_by: tuple[str, ...]
    start: int
    end: int
    filters: dict[str, list[str]] = field(default_factory=dict)
    limit: int = MOST_ROWS
    after: int = 0  # the number of rows in the pages before


def read_usage_query(parameters: Parameters, now: float, allowed: Sequence[str] = DIMENSIONS) -> UsageQuery:
    """Read the parameters of `/admin/usage` and `/v1/usage`. Raises `InvalidRequest` for an unknown one.

    `allowed` are the filters.
    """
    values = grouped(parameters, ("group_by", "start", "end", "limit", "after", *allowed))
    group_by = tuple(dict.fromkeys(part for text in values.get("group_by", []) for part in text.split(",") if part))
    for name in group_by:
        if name not in GROUPS:
            raise InvalidRequest(
                f"`group_by`: must be any of {', '.join(GROUPS)}, separated by commas.", param="group_by"
            )
    start, end = time_range(values, now)
    return UsageQuery(group_by, start, end, filters_of(values, allowed), *_bounds(values))


def time_range(values: Mapping[str, list[str]], now: float) -> tuple[int, int]:
    """Return `start` and `end` in microseconds. By default the end is now, and the start 30 days earlier."""
    end = _time("end", values["end"][-1]) if "end" in values else now
    start = _time("start", values["start"][-1]) if "start" in values else max(0.0, end - DEFAULT_DAYS * _DAY)
    if start > end:
        raise InvalidRequest("`start`: must not be later than `end`.", param="start")
    return int(start * MICROSECONDS), int(end * MICROSECONDS)


def grouped(parameters: Parameters, known: Iterable[str]) -> dict[str, list[str]]:
    """Return the values of each parameter. Raises `InvalidRequest` for one that is not in `known`."""
    known, values = list(known), dict[str, list[str]]()
    for name, value in parameters:
        if name not in known:
            names = ", ".join(f"`{each}`" for each in known)
            message = f"`{printable(name)}`: there is no such parameter; the parameters are {names}."
            raise InvalidRequest(message, param=printable(name))
        values.setdefault(name, []).append(value)
    return values


def filters_of(values: Mapping[str, list[str]], names: Iterable[str]) -> dict[str, list[str]]:
    """Return the filters among parameters. Raises `InvalidRequest` for a value that no id can have."""
    filters = {name: values[name] for name in names if name in values}
    for name, wanted in filters.items():
        if len(wanted) > MOST_VALUES:
            raise InvalidRequest(f"`{name}`: at most {MOST_VALUES} values are supported.", param=name)
        if any(not 0 < len(value) <= _LONGEST or not value.isprintable() for value in wanted):
            message = f"`{name}`: must be 1 to {_LONGEST} visible characters."
            raise InvalidRequest(message, param=name)
    return filters


def usage_row(row: Mapping[str, Any], group_by: Sequence[str]) -> dict[str, Any]:
    """Return a row of the store as an answer has it: money in USD, days and hours as ISO 8601."""
    groups = {name: _group(name, row[name]) for name in group_by}
    counts = ("requests", "errors", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens")
    return {
        **groups,
        **{name: row[name] for name in counts},
        "reasoning_tokens": row["reasoning_tokens"],
        "audio_tokens": row["audio_tokens"],
        "cost_usd": usd(row["cost_nusd"]),
        "own_key_cost_usd": usd(row["own_key_nusd"]),
    }


def usage_page(query: UsageQuery, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the page of rows that a query asks for; `last_id` is the number of the last row."""
    data = [usage_row(row, query.group_by) for row in rows[query.after : query.after + query.limit]]
    seen = query.after + len(data)
    return {"object": "list", "data": data, "has_more": seen < len(rows), "last_id": str(seen) if data else None}


def printable(text: str) -> str:
    """Return a text from a client for an error message: printable, and not too long."""
    return "".join(character if character.isprintable() else "?" for character in text[:80])


def _bounds(values: Mapping[str, list[str]]) -> tuple[int, int]:
    """Return `limit` and `after`."""
    text, after = values.get("limit", [str(MOST_ROWS)])[-1], values.get("after", ["0"])[-1]
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MOST_ROWS:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MOST_ROWS}.", param="limit")
    if not after.isascii() or not after.isdigit() or len(after) > 9:
        raise InvalidRequest("`after` must be the `last_id` of an earlier page.", param="after")
    return int(text), int(after)


def _time(name: str, text: str) -> float:
    """Read ISO 8601, or seconds since 1970."""
    if text.isascii() and text.isdigit() and len(text) <= 12:
        if int(text) <= _LATEST:
            return float(text)
        raise InvalidRequest(f"`{name}`: must be in seconds since 1970, or ISO 8601.", param=name)
    try:
        return seconds_of(text)
    except ValueError as exc:
        raise InvalidRequest(f"`{name}`: {exc}.", param=name) from None


def _group(name: str, value: Any) -> Any:
    if name not in ("day", "hour"):
        return value
    text = iso(value / MICROSECONDS) or ""
    return text[:10] if name == "day" else text
