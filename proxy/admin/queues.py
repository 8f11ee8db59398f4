"""`GET /admin/queues`: the waiting calls per caller."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads
from proxy.admin.pages import page


class Queues:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._queue = context.queue
        self.routes = [reads("/queues", self.list)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/queues`: one row per waiting caller, in the order in which callers are served."""
        return JSONResponse(page(request, [{"id": row.caller, **asdict(row)} for row in self._queue.rows()]))
