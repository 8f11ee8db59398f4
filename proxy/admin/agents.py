"""`/admin/agents`: agents with their versions and labels. Those of the file are shown, and changed only there."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.actor import actor_of
from proxy.admin.agent_objects import AgentObjects
from proxy.admin.bodies import read_object
from proxy.admin.endpoint import Answer, Context, reads, writes
from proxy.admin.pages import bounds, page
from proxy.admin.storage import stored

AGENTS = "agents"  # the topic of a question to other workers


class AgentEndpoints:
    """The endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [
            reads("/agents", self.list),
            writes("POST", "/agents", self.create),
            reads("/agents/{id}", self.show),
            writes("PATCH", "/agents/{id}", self.change),
            writes("DELETE", "/agents/{id}", self.delete),
            reads("/agents/{id}/versions", self.versions),
            writes("POST", "/agents/{id}/versions", self.add),
            reads("/agents/{id}/versions/{version}", self.version),
            reads("/agents/{id}/labels", self.labels),
            writes("POST", "/agents/{id}/labels", self.label),
            writes("PUT", "/agents/{id}/labels/{label}", self.label),
            writes("DELETE", "/agents/{id}/labels/{label}", self.unlabel),
        ]
        self.answers: dict[str, Answer] = {AGENTS: self.answer}

    async def list(self, request: Request) -> Response:
        """`GET /admin/agents`: agents of the file and of the store, in the order of their ids."""
        return JSONResponse(page(request, await self._objects.rows()))

    async def show(self, request: Request) -> Response:
        """`GET /admin/agents/{id}`: one agent, with the definition that its name stands for."""
        return JSONResponse(await self._objects.row(request.path_params["id"]))

    async def create(self, request: Request) -> Response:
        """`POST /admin/agents`: create an agent with one version, which gets the label `production`."""
        values = read_object(await self._context.read(request))
        row = await self._objects.create(actor_of(request), values)
        return JSONResponse(row, 201)

    async def change(self, request: Request) -> Response:
        """`PATCH /admin/agents/{id}`: add a version with the named fields changed, or move labels."""
        values = read_object(await self._context.read(request))
        return JSONResponse(await self._objects.change(actor_of(request), request.path_params["id"], values))

    async def delete(self, request: Request) -> Response:
        """`DELETE /admin/agents/{id}`: delete an agent with all its versions."""
        return JSONResponse(await self._objects.delete(actor_of(request), request.path_params["id"]))

    async def versions(self, request: Request) -> Response:
        """`GET /admin/agents/{id}/versions`: its versions, the newest first."""
        return JSONResponse(await self._objects.versions(request.path_params["id"], *bounds(request)))

    async def add(self, request: Request) -> Response:
        """`POST /admin/agents/{id}/versions`: add a version without the label `production`."""
        values = read_object(await self._context.read(request))
        return JSONResponse(await self._objects.add(actor_of(request), request.path_params["id"], values), 201)

    async def version(self, request: Request) -> Response:
        """`GET /admin/agents/{id}/versions/{version}`: one version, by its number or a label."""
        return JSONResponse(await self._objects.version(request.path_params["id"], request.path_params["version"]))

    async def labels(self, request: Request) -> Response:
        """`GET /admin/agents/{id}/labels`: its labels, each with its version."""
        return JSONResponse(page(request, await self._objects.labels(request.path_params["id"])))

    async def label(self, request: Request) -> Response:
        """`POST /admin/agents/{id}/labels`, `PUT /admin/agents/{id}/labels/{label}`: move a label to a version."""
        values = read_object(await self._context.read(request))
        named = {"label": request.path_params["label"]} if "label" in request.path_params else {}
        row = await self._objects.label(actor_of(request), request.path_params["id"], {**values, **named})
        return JSONResponse(row)

    async def unlabel(self, request: Request) -> Response:
        """`DELETE /admin/agents/{id}/labels/{label}`: remove a label."""
        id, label = request.path_params["id"], request.path_params["label"]
        await self._objects.change(actor_of(request), id, {"labels": {label: None}})
        return JSONResponse({"id": label, "deleted": True})

    async def answer(self, body: str) -> str:
        """Read the store again, as another worker asks after a change."""
        await stored(self._context.storage).agents.known.refresh()
        return ""

    async def _changed(self) -> None:
        await stored(self._context.storage).agents.known.refresh()
        await self._context.ask(AGENTS, "")

    @property
    def _objects(self) -> AgentObjects:
        parts = stored(self._context.storage).agents
        return AgentObjects(parts, self._context.live.snapshot, self._changed)
