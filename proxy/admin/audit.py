"""`GET /admin/audit`: the changes of keys, users, teams, provider keys and models, with time and actor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads
from proxy.admin.pages import bounds, invalid_after
from proxy.admin.storage import stored
from proxy.admin.values import shown_budget
from proxy.core.accounts import Budget
from proxy.core.timestamps import iso
from proxy.store.audit_log import FILTERS
from proxy.surfaces.reports import MICROSECONDS, filters_of, grouped

_JSON = ("models", "limits", "metadata")  # fields that are stored as JSON
_TIMES = ("created_at", "expires_at")  # in microseconds
_NAMES = {"user_id": "user", "team_id": "team"}


class Audit:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/audit", self.list)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/audit`: the newest first."""
        audit = stored(self._context.storage).audit
        limit, after = bounds(request)
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 18):
            raise invalid_after()
        values = grouped(request.query_params.multi_items(), (*FILTERS, "limit", "after"))
        filters = filters_of(values, FILTERS)
        rows = await audit.list(filters, None if after is None else int(after), limit + 1)
        data = [_shown(row) for row in rows[:limit]]
        last = str(rows[len(data) - 1]["number"]) if data else None
        return JSONResponse({"object": "list", "data": data, "has_more": len(rows) > limit, "last_id": last})


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("number", "actor", "action", "kind", "id")}
    changes = {
        _NAMES.get(name, name): [_value(name, value) for value in values] for name, values in row["changes"].items()
    }
    return {**shown, "time": iso(row["time"] / MICROSECONDS), "changes": changes}


def _value(name: str, value: Any) -> Any:
    if name in _TIMES and isinstance(value, int):
        return iso(value / MICROSECONDS)
    if name == "budget" and isinstance(value, str):
        return shown_budget(msgspec.json.decode(value, type=Budget))
    return msgspec.json.decode(value) if name in _JSON and isinstance(value, str) else value
