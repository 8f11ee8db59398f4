"""`GET /admin/limits`: the use of each limit of each key, learned limits, and cooldowns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads
from proxy.admin.pages import page
from proxy.core.failures import FailureKind


class LimitRows:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/limits", self.list)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/limits`: one row per limit, and one per cooldown after a 429."""
        limits = await self._context.limits.rows(unused=True)
        rows = with_cooldowns(limits, self._context.health.cooldown_rows())
        named = [{"id": f"{row['provider']}/{row['model']}#{row['key']}:{row['kind']}", **row} for row in rows]
        return JSONResponse(page(request, named))


def with_cooldowns(limits: Sequence[dict[str, Any]], cooldowns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of limits and of cooldowns after a 429 (kind `rest`); the longer cooldown of a key counts."""
    rows = {(row["provider"], row["model"], row["key"], row["kind"]): row for row in limits}
    for cooldown in cooldowns:
        if cooldown["reason"] != FailureKind.RATE_LIMITED:
            continue
        provider, model, key, left = (cooldown[name] for name in ("provider", "model", "key", "seconds_left"))
        row = {"provider": provider, "model": model or "*", "key": key, "kind": "rest", "limit": 0, "used": 0}
        before = rows.get((provider, model or "*", key, "rest"), {**row, "learned": False, "rest_seconds_left": 0.0})
        longest = max(left, before["rest_seconds_left"])
        rows[provider, model or "*", key, "rest"] = {**before, "rest_seconds_left": longest}
    return list(rows.values())
