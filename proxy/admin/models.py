"""`/admin/models`: all models, and overrides of their settings. The file itself does not change."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.actor import actor_of
from proxy.admin.bodies import read_object
from proxy.admin.endpoint import Answer, Context, reads, writes
from proxy.admin.pages import page
from proxy.admin.storage import ModelOverrides, stored
from proxy.core.errors import InvalidRequest

OVERRIDES = "overrides"  # the topic of a question to other workers


class Models:
    """The endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [
            reads("/models", self.list),
            writes("POST", "/models", self.create),
            reads("/models/{id:path}", self.show),
            writes("PATCH", "/models/{id:path}", self.change),
            writes("DELETE", "/models/{id:path}", self.delete),
        ]
        self.answers: dict[str, Answer] = {OVERRIDES: self.answer}

    async def list(self, request: Request) -> Response:
        """`GET /admin/models`: effective settings, their origins, and the values of file and override."""
        return JSONResponse(page(request, self._overrides.rows()))

    async def show(self, request: Request) -> Response:
        """`GET /admin/models/{id}`: one model."""
        return JSONResponse(self._overrides.row(request.path_params["id"]))

    async def create(self, request: Request) -> Response:
        """`POST /admin/models`: override a model of the file, or add a model."""
        fields = read_object(await self._context.read(request))
        id = fields.pop("id", None)
        if not isinstance(id, str):
            raise InvalidRequest("`id`: must be `provider/model`, such as `openai/gpt-4o`.", param="id")
        row = await self._overrides.create(id, fields, actor_of(request).name)
        await self._context.ask(OVERRIDES, "")
        return JSONResponse(row, 201)

    async def change(self, request: Request) -> Response:
        """`PATCH /admin/models/{id}`: override the named fields; `null` ends the override of a field."""
        fields = read_object(await self._context.read(request))
        row = await self._overrides.change(request.path_params["id"], fields, actor_of(request).name)
        await self._context.ask(OVERRIDES, "")
        return JSONResponse(row)

    async def delete(self, request: Request) -> Response:
        """`DELETE /admin/models/{id}`: end the override; the file's values apply again."""
        id = request.path_params["id"]
        await self._overrides.delete(id, actor_of(request).name)
        await self._context.ask(OVERRIDES, "")
        return JSONResponse({"id": id, "deleted": True})

    async def answer(self, body: str) -> str:
        """Read the overrides again, as another worker asks after a change."""
        await self._overrides.refresh()
        return ""

    @property
    def _overrides(self) -> ModelOverrides:
        return stored(self._context.storage).overrides
