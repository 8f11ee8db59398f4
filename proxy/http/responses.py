"""Stored responses: `GET` and `DELETE /v1/responses/{id}`, `/cancel` and `/input_items`.

A response belongs to the caller's tenant (`Principal.tenant`); for all others it does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from proxy.admission.permissions import PRINCIPAL
from proxy.arrival import run_off_loop
from proxy.background.service import BackgroundCalls
from proxy.core.errors import InvalidRequest, NotFound
from proxy.core.json_text import object_of
from proxy.dialogs.refusals import refusal
from proxy.http.pages import PageQuery, id_of, json_response, list_response, page_query
from proxy.store.background import RUNNING
from proxy.store.errors import Missing, TooLarge
from proxy.store.responses import ResponseStore, StoredResponse
from proxy.surfaces.headers import STREAM_HEADERS, as_text
from proxy.surfaces.openai.surface import COMMENT

if TYPE_CHECKING:
    from proxy.background.reader import Reader

_DIGITS = 15  # of the number of an event


class StoredResponses:
    """The endpoints; `store` and `background` are absent with `store: none`. `keep_alive`: seconds, or 0."""

    def __init__(self, store: ResponseStore | None, background: BackgroundCalls | None, keep_alive: float) -> None:
        self._store = store
        self._background = background
        self._keep_alive = keep_alive

    async def retrieve(self, request: Request) -> Response:
        """`GET /v1/responses/{id}`: the response object as it was answered."""
        response = await self._found(request)
        if request.query_params.get("stream") == "true":
            return await self._streamed(request)
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
        if self._background is None or not response.background:
            message = "Only a response that was created with `background: true` can be cancelled."
            raise InvalidRequest(message, param="response_id")
        _, tenant, id = self._of(request)
        return json_response((await self._background.cancel(tenant, id)).document)

    async def input_items(self, request: Request) -> Response:
        """`GET /v1/responses/{id}/input_items`: a page of what went into it, with the turns before."""
        store, tenant, id = self._of(request)
        query = page_query(request)
        try:
            items = await store.input_items(tenant, id)
        except (Missing, TooLarge) as exc:
            raise refusal(exc) from None
        return await run_off_loop(partial(_page, items, query), sum(map(len, items)))

    async def _found(self, request: Request) -> StoredResponse:
        store, tenant, id = self._of(request)
        try:
            response = await store.get(tenant, id)
        except Missing as exc:
            raise refusal(exc) from None
        if self._background is not None and response.status in RUNNING:
            view = await self._background.view(tenant, id)  # its process may have died
            return response._replace(status=view.status, document=view.document)
        return response

    async def _streamed(self, request: Request) -> Response:
        """`GET /v1/responses/{id}?stream=true`: the events of a background response behind `starting_after`."""
        _, tenant, id = self._of(request)
        text = request.query_params.get("starting_after", "-1")
        if text != "-1" and not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
            raise InvalidRequest("`starting_after` must be the number of an event.", param="starting_after")
        view = await self._background.view(tenant, id) if self._background is not None else None
        if self._background is None or view is None or not view.streamed:
            message = "Only a response that was created with `background` and `stream` can be streamed again."
            raise InvalidRequest(message, param="stream")
        from proxy.background.reader import Reader

        reader = Reader(self._background, tenant, id, int(text), object_of(view.document) or {})
        return StreamingResponse(self._alive(reader), headers=as_text(STREAM_HEADERS), media_type="text/event-stream")

    async def _alive(self, reader: Reader) -> AsyncIterator[bytes]:
        """Yield the events of a reader, and comments while there are none."""
        now = asyncio.get_running_loop().time
        written = now()
        async for data in reader.events():
            if data or (self._keep_alive and now() - written >= self._keep_alive):
                yield data or COMMENT
                written = now()

    def _of(self, request: Request) -> tuple[ResponseStore, str, str]:
        """Return the store, the tenant, and the id in the path. Raises `NotFound` without a store."""
        id = request.path_params["id"]
        if self._store is None:
            raise NotFound(f"There is no response `{id[:256]}`: this server keeps no responses (`store: none`).")
        return self._store, request.scope[PRINCIPAL].tenant, id


def _page(items: Sequence[bytes], query: PageQuery) -> Response:
    items = list({id_of(item): item for item in items}.values())  # an item that was sent again is there once
    ordered = items if query.ascending else items[::-1]
    start = 0 if query.after is None else _place(ordered, query.after)
    page = ordered[start : start + query.limit]
    return list_response(page, more=start + len(page) < len(ordered))


def _place(items: Sequence[bytes], after: str) -> int:
    """Return the place behind the item `after`. Raises `InvalidRequest`."""
    for place, item in enumerate(items, 1):
        if id_of(item) == after:
            return place
    raise InvalidRequest("`after` must be the id of an item of an earlier page.", param="after")
