"""`GET /v1/prompts` and `GET`, `DELETE /v1/prompts/{id}`: stored prompts with their profiles.

A prompt belongs to the caller's tenant (`Principal.tenant`); for all others it does not exist.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admission.permissions import PRINCIPAL
from proxy.core.errors import InvalidRequest, NotFound
from proxy.http.pages import json_response, list_response, page_query
from proxy.prompts import StoredPrompts
from proxy.store.errors import Missing
from proxy.store.prompts import PromptStore


class Prompts:
    """The endpoints; both parts are absent with `store: none`."""

    def __init__(self, store: PromptStore | None, waiting: StoredPrompts | None) -> None:
        """`waiting` has the prompts that are not in the store yet."""
        self._store = store
        self._waiting = waiting

    async def list(self, request: Request) -> Response:
        """`GET /v1/prompts`: a page, the newest first."""
        query = page_query(request)
        store = await self._ready()
        tenant: str = request.scope[PRINCIPAL].tenant
        try:
            page = await store.page(tenant, after=query.after, limit=query.limit, ascending=query.ascending)
        except Missing as exc:
            raise _unknown(exc) from None
        return list_response(page.items, more=page.more)

    async def retrieve(self, request: Request) -> Response:
        """`GET /v1/prompts/{id}`."""
        store = await self._ready()
        try:
            return json_response(await store.get(*_of(request)))
        except Missing as exc:
            raise _unknown(exc) from None

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/prompts/{id}`."""
        store = await self._ready()
        tenant, id = _of(request)
        try:
            await store.delete(tenant, id)
        except Missing as exc:
            raise _unknown(exc) from None
        return JSONResponse({"id": id, "object": "prompt.deleted", "deleted": True})

    async def _ready(self) -> PromptStore:
        """Return the store, with all prompts of this process in it. Raises `InvalidRequest` without a store."""
        if self._store is None or self._waiting is None:
            raise InvalidRequest("This server keeps no prompts; configure `store` and `prompts.store` to use them.")
        await self._waiting.flush()
        return self._store


def _of(request: Request) -> tuple[str, str]:
    """Return the tenant, and the id in the path."""
    return request.scope[PRINCIPAL].tenant, request.path_params["id"]


def _unknown(exc: Missing) -> NotFound:
    text = str(exc)
    return NotFound(f"{text[:1].upper()}{text[1:]}.")
