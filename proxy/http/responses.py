"""Stored responses: `GET` and `DELETE /v1/responses/{id}`, `/cancel` and `/input_items`.

A response belongs to the caller's tenant (`Principal.tenant`); for all others it does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admission.permissions import PRINCIPAL
from proxy.core.errors import InvalidRequest, NotFound
from proxy.dialogs.refusals import refusal
from proxy.http.pages import id_of, json_response, list_response, page_query
from proxy.store.errors import Missing, TooLarge
from proxy.store.responses import ResponseStore, StoredResponse


class StoredResponses:
    """The endpoints; `store` is absent with `store: none`."""

    def __init__(self, store: ResponseStore | None) -> None:
        self._store = store

    async def retrieve(self, request: Request) -> Response:
        """`GET /v1/responses/{id}`: the response object as it was answered."""
        response = await self._found(request)
        if request.query_params.get("stream") == "true":
            message = "Only a response that was created with `background` and `stream` can be streamed again."
            raise InvalidRequest(message, param="stream")
        return json_response(response.document)

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/responses/{id}`."""
        store, tenant, id = self._of(request)
        try:
            await store.delete(tenant, id)
        except Missing as exc:
            raise refusal(exc) from None
        return JSONResponse({"id": id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        """`POST /v1/responses/{id}/cancel`: of a response that runs in the background."""
        response = await self._found(request)
        if not response.background:
            message = "Only a response that was created with `background: true` can be cancelled."
            raise InvalidRequest(message, param="response_id")
        return json_response(response.document)

    async def input_items(self, request: Request) -> Response:
        """`GET /v1/responses/{id}/input_items`: a page of what went into it, with the turns before."""
        store, tenant, id = self._of(request)
        query = page_query(request)
        try:
            items = await store.input_items(tenant, id)
        except (Missing, TooLarge) as exc:
            raise refusal(exc) from None
        items = list({id_of(item): item for item in items}.values())  # an item that was sent again is there once
        ordered = items if query.ascending else items[::-1]
        start = 0 if query.after is None else _place(ordered, query.after)
        page = ordered[start : start + query.limit]
        return list_response(page, more=start + len(page) < len(ordered))

    async def _found(self, request: Request) -> StoredResponse:
        store, tenant, id = self._of(request)
        try:
            return await store.get(tenant, id)
        except Missing as exc:
            raise refusal(exc) from None

    def _of(self, request: Request) -> tuple[ResponseStore, str, str]:
        """Return the store, the tenant, and the id in the path. Raises `NotFound` without a store."""
        id = request.path_params["id"]
        if self._store is None:
            raise NotFound(f"There is no response `{id[:256]}`: this server keeps no responses (`store: none`).")
        return self._store, request.scope[PRINCIPAL].tenant, id


def _place(items: Sequence[bytes], after: str) -> int:
    """Return the place behind the item `after`. Raises `InvalidRequest`."""
    for place, item in enumerate(items, 1):
        if id_of(item) == after:
            return place
    raise InvalidRequest("`after` must be the id of an item of an earlier page.", param="after")
