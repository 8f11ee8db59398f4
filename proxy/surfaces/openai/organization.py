"""OpenAI's usage and costs of an organization: the parameters, and pages of buckets.

A project is a team, an API key is a virtual key. The shapes are those of `openai.types.admin.organization`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.money import usd
from proxy.surfaces.reports import MICROSECONDS, Parameters, UsageQuery, filters_of, grouped

_WIDTHS = {"1m": ("minute", 60), "1h": ("hour", 3600), "1d": ("day", 86_400)}  # the name of the group, and its seconds
_LIMITS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}  # the default and the maximum
_COST_LIMITS = (7, 180)
_FILTERS = {"project_ids": "team", "user_ids": "user", "api_key_ids": "key", "models": "model"}
_GROUPS = {"project_id": ("team",), "user_id": ("user",), "api_key_id": ("key",), "model": ("model",)}
_COST_GROUPS = {**_GROUPS, "line_item": ("provider", "model")}
_NOTHING = ("batch", "service_tier", "api_source")  # groups of which Signalbox has one
_LAST = 253_402_300_799
_MEMBERS = {"project_id": "team", "user_id": "user", "api_key_id": "key"}


@dataclass(frozen=True, slots=True)
class BucketQuery:
    """A page of buckets: what the store sums, and how it is divided. Times are seconds since 1970."""

    usage: UsageQuery
    slot: str  # the group that divides time: `day`, `hour` or `minute`
    seconds: int  # of a bucket
    buckets: tuple[int, ...]  # the beginnings
    end: int
    next_page: str | None
    nothing: bool  # a filter that no call matches: there are no batches


def read_completions_query(parameters: Parameters, now: float) -> BucketQuery:
    """Read the parameters of `/v1/organization/usage/completions`. Raises `InvalidRequest`."""
    values = _values(parameters, (*_FILTERS, "batch"))
    width = values.get("bucket_width", ["1d"])[-1]
    if width not in _WIDTHS:
        raise InvalidRequest("`bucket_width`: must be `1m`, `1h` or `1d`.", param="bucket_width")
    return _bucket_query(values, width, _LIMITS[width], _GROUPS, now)


def read_costs_query(parameters: Parameters, now: float) -> BucketQuery:
    """Read the parameters of `/v1/organization/costs`. Raises `InvalidRequest`."""
    values = _values(parameters, ("project_ids", "user_ids", "api_key_ids"))
    if values.get("bucket_width", ["1d"])[-1] != "1d":
        raise InvalidRequest("`bucket_width`: must be `1d`.", param="bucket_width")
    return _bucket_query(values, "1d", _COST_LIMITS, _COST_GROUPS, now)


def completions_page(query: BucketQuery, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the page with the tokens of each group in each bucket."""
    return _page(query, rows, lambda row: _completions(row, query.usage.group_by))


def costs_page(query: BucketQuery, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the page with the cost of each group in each bucket."""
    return _page(query, rows, lambda row: _costs(row, query.usage.group_by))


def _values(parameters: Parameters, more: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of each parameter; the SDKs write lists as `group_by[]`, other clients repeat the name."""
    plain = [(name.removesuffix("[]"), value) for name, value in parameters]
    return grouped(plain, ("start_time", "end_time", "bucket_width", "group_by", "limit", "page", *more))


def _bucket_query(
    values: Mapping[str, list[str]],
    width: str,
    limits: tuple[int, int],
    groups: Mapping[str, tuple[str, ...]],
    now: float,
) -> BucketQuery:
    slot, seconds = _WIDTHS[width]
    if "start_time" not in values:
        raise InvalidRequest("`start_time`: is missing; give seconds since 1970.", param="start_time")
    limit = _number(values, "limit", limits[0], most=limits[1], least=1)
    end = _number(values, "end_time", int(now) + 1)
    start = _number(values, "start_time", 0)
    first = _page_start(values, start)
    first -= first % seconds
    following = range(first, max(first, end), seconds)
    buckets = tuple(following[:limit])
    last = min(buckets[-1] + seconds, _LAST) if buckets else first
    wanted = [part for text in values.get("group_by", []) for part in text.split(",") if part]
    group_by = tuple(dict.fromkeys(name for part in wanted for name in _groups(part, groups)))
    filters = {_FILTERS[name]: found for name, found in filters_of(values, _FILTERS).items()}
    usage = UsageQuery((*group_by, slot), first * MICROSECONDS, last * MICROSECONDS, filters)
    more = len(following) > limit
    nothing = values.get("batch", ["false"])[-1] == "true"
    return BucketQuery(usage, slot, seconds, buckets, end, f"page_{last}" if more else None, nothing)


def _groups(name: str, groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if name in _NOTHING:
        return ()
    if name not in groups:
        raise InvalidRequest(f"`group_by`: must be any of {', '.join(groups)}.", param="group_by")
    return groups[name]


def _page_start(values: Mapping[str, list[str]], start: int) -> int:
    page = values.get("page", [None])[-1]
    if page is None:
        return start
    digits = page.removeprefix("page_")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12 or int(digits) < start or int(digits) > _LAST:
        raise InvalidRequest("`page`: must be the `next_page` of an earlier answer.", param="page")
    return int(digits)


def _number(values: Mapping[str, list[str]], name: str, default: int, *, most: int = _LAST, least: int = 0) -> int:
    text = values.get(name, [str(default)])[-1]
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
        raise InvalidRequest(f"`{name}`: must be a number from {least} to {most}.", param=name)
    return int(text)


def _page(query: BucketQuery, rows: Sequence[Mapping[str, Any]], result: Any) -> dict[str, Any]:
    by_start: dict[int, list[Any]] = {}
    for row in rows:
        by_start.setdefault(row[query.slot] // MICROSECONDS, []).append(result(row))
    return {
        "object": "page",
        "data": list(_buckets(query, by_start)),
        "has_more": query.next_page is not None,
        "next_page": query.next_page,
    }


def _buckets(query: BucketQuery, by_start: Mapping[int, list[Any]]) -> Iterator[dict[str, Any]]:
    for start in query.buckets:
        results = by_start.get(start, [])
        yield {"object": "bucket", "start_time": start, "end_time": start + query.seconds, "results": results}


def _completions(row: Mapping[str, Any], group_by: Sequence[str]) -> dict[str, Any]:
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": row["input_tokens"],
        "input_cached_tokens": row["cached_tokens"],
        "input_cache_write_tokens": row["cache_write_tokens"],
        "output_tokens": row["output_tokens"],
        "num_model_requests": row["requests"],
        **{member: row[name] if name in group_by else None for member, name in _MEMBERS.items()},
        "model": row["model"] if "model" in group_by else None,
        "batch": None,
        "service_tier": None,
    }


def _costs(row: Mapping[str, Any], group_by: Sequence[str]) -> dict[str, Any]:
    item = f"{row['provider']}/{row['model']}" if "provider" in group_by else None
    return {
        "object": "organization.costs.result",
        "amount": {"value": usd(row["cost_nusd"]), "currency": "usd"},
        "line_item": item,
        **{member: row[name] if name in group_by else None for member, name in _MEMBERS.items()},
    }
