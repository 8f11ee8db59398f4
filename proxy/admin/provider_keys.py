"""`/admin/provider-keys`: users' own provider keys. No answer contains a key, only its fingerprint."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.bodies import read_body
from proxy.admin.endpoint import Answer, Context, reads, writes
from proxy.admin.pages import bounds
from proxy.admission.permissions import PRINCIPAL
from proxy.core.principal import Principal


class KeyBody(BaseModel):
    """A key of a user."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

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
        row = await self._service.put(body.user, body.provider, body.value, _actor(request))
        return JSONResponse(row, 201 if row["version"] == 1 else 200)

    async def delete(self, request: Request) -> Response:
        """`DELETE /admin/provider-keys/{id}`."""
        return JSONResponse(await self._service.delete(request.path_params["id"], _actor(request)))


def _actor(request: Request) -> str:
    principal: Principal | None = request.scope.get(PRINCIPAL)
    return "admin-token" if principal is None else principal.name
