"""`/admin/provider-keys`: users' own provider keys. No answer contains a key, only its fingerprint."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.actor import actor_of
from proxy.admin.bodies import read_body
from proxy.admin.endpoint import Answer, Context, reads, writes
from proxy.admin.pages import bounds
from proxy.admin.values import Body


class KeyBody(Body):
    """A key of a user."""

    user: str
    provider: str
    value: str


class OwnProviderKeys:
    """The endpoints."""

    def __init__(self, context: Context) -> None:
        self._read = context.read
        self._service = context.own_keys
        self.routes = [
            reads("/provider-keys", self.list),
            writes("PUT", "/provider-keys", self.put),
            writes("DELETE", "/provider-keys/{id}", self.delete),
        ]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/provider-keys`: one page, of all users or of `user`, in the order of the ids."""
        limit, after = bounds(request)
        return JSONResponse(await self._service.page(request.query_params.get("user"), after, limit))

    async def put(self, request: Request) -> Response:
        """`PUT /admin/provider-keys`: store a user's key, in place of the earlier one for this provider."""
        body = read_body(KeyBody, await self._read(request))
        row = await self._service.put(body.user, body.provider, body.value, actor_of(request).name)
        return JSONResponse(row, 201 if row["version"] == 1 else 200)

    async def delete(self, request: Request) -> Response:
        """`DELETE /admin/provider-keys/{id}`."""
        return JSONResponse(await self._service.delete(request.path_params["id"], actor_of(request).name))
