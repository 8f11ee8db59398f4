"""A caller's own usage: `/v1/usage`, and OpenAI's `/v1/organization/usage/completions` and `/v1/organization/costs`.

A member sees what its user used, or its key if that belongs to no user. The roles admin and auditor, and the admin
token, see everything at OpenAI's paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admission.permissions import PRINCIPAL
from proxy.core.errors import InvalidRequest
from proxy.core.principal import Principal
from proxy.store.ledger import LedgerStore
from proxy.surfaces.openai.organization import (
    BucketQuery,
    completions_page,
    costs_page,
    read_completions_query,
    read_costs_query,
)
from proxy.surfaces.reports import UsageQuery, read_usage_query, usage_page

OWN_FILTERS = ("key", "provider", "model", "route")


class OwnUsage:
    """The endpoints; `ledger` is absent with `store: none`, `now` returns seconds since 1970."""

    def __init__(self, ledger: LedgerStore | None, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._now = now

    async def usage(self, request: Request) -> Response:
        """`GET /v1/usage`: the caller's own usage, in the rows of `/admin/usage`."""
        query = read_usage_query(request.query_params.multi_items(), self._now(), OWN_FILTERS)
        return JSONResponse(usage_page(query, await self._rows(query, request.scope[PRINCIPAL])))

    async def completions(self, request: Request) -> Response:
        """`GET /v1/organization/usage/completions`."""
        query = read_completions_query(request.query_params.multi_items(), self._now())
        return JSONResponse(completions_page(query, await self._buckets(query, request)))

    async def costs(self, request: Request) -> Response:
        """`GET /v1/organization/costs`."""
        query = read_costs_query(request.query_params.multi_items(), self._now())
        return JSONResponse(costs_page(query, await self._buckets(query, request)))

    async def _buckets(self, query: BucketQuery, request: Request) -> list[dict[str, Any]]:
        if query.nothing or not query.buckets:
            return []
        principal: Principal | None = request.scope.get(PRINCIPAL)
        sees_all = principal is None or principal.role in ("admin", "auditor")
        return await self._rows(query.usage, None if sees_all else principal)

    async def _rows(self, query: UsageQuery, principal: Principal | None) -> list[dict[str, Any]]:
        """Return the rows that a principal may see; without one all rows."""
        if self._ledger is None:
            raise InvalidRequest("No usage is recorded (`store: none`); set `store` to `sqlite` or `postgresql://...`.")
        filters: dict[str, Any] = dict(query.filters)
        if principal is None:
            return await self._ledger.usage(query.group_by, filters, query.start, query.end)
        own = _own(principal)
        for name, id in own.items():
            if name in filters and id not in filters[name]:
                return []  # it asks for the usage of another caller
            filters[name] = id
        if own:
            return await self._ledger.usage(query.group_by, filters, query.start, query.end)
        groups = tuple(dict.fromkeys((*query.group_by, "key", "user")))
        rows = await self._ledger.usage(groups, filters, query.start, query.end)
        return _merged([row for row in rows if row["key"] is None and row["user"] is None], query.group_by)


def _own(principal: Principal) -> dict[str, str]:
    """Return the filters that select what a caller used itself; none for an anonymous one."""
    if principal.user is not None:
        return {"user": principal.user}
    return {} if principal.key_id is None else {"key": principal.key_id}


def _merged(rows: list[dict[str, Any]], group_by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rows summed up by fewer groups."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        group = tuple(row[name] for name in group_by)
        before: Mapping[str, Any] | None = sums.get(group)
        counts = {name: value for name, value in row.items() if name not in ("key", "user", *group_by)}
        if before is not None:
            counts = {name: before[name] + value for name, value in counts.items()}
        sums[group] = {**dict(zip(group_by, group, strict=True)), **counts}
    return list(sums.values())
