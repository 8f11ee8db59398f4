"""`GET /admin/config`: the effective configuration, with secrets as `***`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads


class Config:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._live = context.live
        self._config = context.config
        self.routes = [reads("/config", self.show)]
        self.answers: dict[str, Answer] = {}

    async def show(self, request: Request) -> Response:
        """`GET /admin/config`: the version and the settings."""
        return JSONResponse({"version": self._live.snapshot.version, "config": self._config()})
