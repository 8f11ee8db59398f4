"""`/admin/keys`, `/admin/users` and `/admin/teams`: create, list, show, change and delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.actor import actor_of
from proxy.admin.api import FORGET
from proxy.admin.bodies import read_object
from proxy.admin.endpoint import Answer, Context, reads, writes
from proxy.admin.keys import Keys
from proxy.admin.objects import Objects
from proxy.admin.pages import bounds
from proxy.admin.storage import Storage, stored
from proxy.admin.teams import Teams
from proxy.admin.users import Users

_Kind = Callable[[Storage, Callable[[], Awaitable[None]]], Objects[Any]]


class AccountObjects:
    """The endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [
            reads("/keys", partial(self.list, _keys)),
            writes("POST", "/keys", partial(self.create, _keys)),
            reads("/keys/{id:path}", partial(self.show, _keys)),
            writes("PATCH", "/keys/{id:path}", partial(self.change, _keys)),
            writes("DELETE", "/keys/{id:path}", partial(self.delete, _keys)),
            reads("/users", partial(self.list, _users)),
            writes("POST", "/users", partial(self.create, _users)),
            reads("/users/{id:path}", partial(self.show, _users)),
            writes("PATCH", "/users/{id:path}", partial(self.change, _users)),
            writes("DELETE", "/users/{id:path}", partial(self.delete, _users)),
            reads("/teams", partial(self.list, _teams)),
            writes("POST", "/teams", partial(self.create, _teams)),
            reads("/teams/{id:path}", partial(self.show, _teams)),
            writes("PATCH", "/teams/{id:path}", partial(self.change, _teams)),
            writes("DELETE", "/teams/{id:path}", partial(self.delete, _teams)),
        ]
        self.answers: dict[str, Answer] = {}

    async def list(self, kind: _Kind, request: Request) -> Response:
        """`GET /admin/keys`, `/admin/users`, `/admin/teams`: one page, in the order of the ids."""
        return JSONResponse(await self._objects(kind).page(*bounds(request)))

    async def create(self, kind: _Kind, request: Request) -> Response:
        """`POST /admin/keys`, `/admin/users`, `/admin/teams`: create one."""
        objects = self._objects(kind)
        values = read_object(await self._context.read(request))
        return JSONResponse(await objects.create(actor_of(request), values), 201)

    async def show(self, kind: _Kind, request: Request) -> Response:
        """`GET /admin/keys/{id}` and so on: one of them."""
        return JSONResponse(await self._objects(kind).get(request.path_params["id"]))

    async def change(self, kind: _Kind, request: Request) -> Response:
        """`PATCH /admin/keys/{id}` and so on: change the named fields."""
        objects = self._objects(kind)
        values = read_object(await self._context.read(request))
        return JSONResponse(await objects.change(actor_of(request), request.path_params["id"], values))

    async def delete(self, kind: _Kind, request: Request) -> Response:
        """`DELETE /admin/keys/{id}` and so on."""
        return JSONResponse(await self._objects(kind).delete(actor_of(request), request.path_params["id"]))

    async def _changed(self) -> None:
        stored(self._context.storage).forget()
        await self._context.ask(FORGET, "")

    def _objects(self, kind: _Kind) -> Objects[Any]:
        return kind(stored(self._context.storage), self._changed)


def _keys(storage: Storage, changed: Callable[[], Awaitable[None]]) -> Keys:
    return Keys(storage.accounts, storage.now, changed, storage.issue, counts_shared=storage.counts_shared)


def _users(storage: Storage, changed: Callable[[], Awaitable[None]]) -> Users:
    return Users(storage.accounts, storage.now, changed, counts_shared=storage.counts_shared)


def _teams(storage: Storage, changed: Callable[[], Awaitable[None]]) -> Teams:
    return Teams(storage.accounts, storage.now, changed, counts_shared=storage.counts_shared)
