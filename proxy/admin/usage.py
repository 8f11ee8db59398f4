"""`GET /admin/usage`: sums of all calls by group."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads
from proxy.admin.storage import stored
from proxy.surfaces.reports import read_usage_query, usage_page


class Usage:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/usage", self.list)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/usage`: one row per group."""
        storage = stored(self._context.storage)
        query = read_usage_query(request.query_params.multi_items(), storage.now())
        rows = await storage.ledger.usage(query.group_by, query.filters, query.start, query.end)
        return JSONResponse(usage_page(query, rows))
