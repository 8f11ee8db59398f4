"""Pagination of admin lists: `limit`, `after`, and whether there are more rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from proxy.core.errors import InvalidRequest

MOST = 1000
DEFAULT = 100


def page(request: Request, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one page of `rows`, each with an `id`. Raises `InvalidRequest` for an invalid `limit` or `after`."""
    limit, after = bounds(request)
    ids = [row["id"] for row in rows]
    if after is not None and after not in ids:
        raise invalid_after()
    start = ids.index(after) + 1 if after is not None else 0
    data = list(rows[start : start + limit])
    more = start + len(data) < len(rows)
    return {"object": "list", "data": data, "has_more": more, "last_id": data[-1]["id"] if data else None}


def bounds(request: Request) -> tuple[int, str | None]:
    """Return `limit` and `after` of a request. Raises `InvalidRequest` for an invalid `limit`."""
    text = request.query_params.get("limit", str(DEFAULT))
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MOST:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MOST}.", param="limit")
    return int(text), request.query_params.get("after")


def invalid_after() -> InvalidRequest:
    """Return the error for an `after` that no page has returned."""
    return InvalidRequest("`after` must be the `last_id` of an earlier page.", param="after")
