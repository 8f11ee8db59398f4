"""`GET /admin/usage`: sums of all calls by group."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads
from proxy.admin.pages import MOST, bounds
from proxy.admin.storage import stored
from proxy.surfaces.reports import page_of_rows, read_usage_query, usage_row


class Usage:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/usage", self.list)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/usage`: one row per group."""
        storage = stored(self._context.storage)
        limit, after = bounds(request, MOST)
        parameters = request.query_params.multi_items()
        query = read_usage_query(parameters, storage.now(), others=("limit", "after"))
        rows = await storage.ledger.usage(query.group_by, query.filters, query.start, query.end)
        return JSONResponse(page_of_rows([usage_row(row, query.group_by) for row in rows], limit, after))
