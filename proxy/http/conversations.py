"""`/v1/conversations`: conversations and their items, in the shape of OpenAI's Conversations API.

A conversation belongs to the caller's tenant (`Principal.tenant`); for all others it does not exist. While a turn runs,
items can neither be added nor removed.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admission.permissions import PRINCIPAL
from proxy.arrival import run_off_loop
from proxy.core.body import parse
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled
from proxy.dialogs.items import read_new_items
from proxy.dialogs.refusals import refusal
from proxy.http.pages import json_response, list_response, page_query
from proxy.http.reading import BodyReader
from proxy.store.conversations import Conversation, ConversationStore
from proxy.store.errors import Locked, Missing, TooLarge
from proxy.store.items import Item

T = TypeVar("T")
Body = Mapping[str, Any]

_PAIRS, _NAME, _VALUE = 16, 64, 512  # the largest metadata, as in OpenAI's API


class Conversations:
    """The endpoints; `store` is absent with `store: none`."""

    def __init__(self, store: ConversationStore | None, read: BodyReader) -> None:
        self._store = store
        self._read = read

    async def create(self, request: Request) -> Response:
        """`POST /v1/conversations`: a new conversation, with `metadata` and `items`."""
        store, (items, metadata) = self._known(), await self._body(request, _new_conversation)
        tenant: str = request.scope[PRINCIPAL].tenant
        creation = store.create(f"conv_{secrets.token_hex(24)}", tenant, metadata, items)
        return JSONResponse(_shown(await _done(creation)))

    async def retrieve(self, request: Request) -> Response:
        """`GET /v1/conversations/{id}`."""
        return JSONResponse(_shown(await _done(self._known().get(*_of(request)))))

    async def update(self, request: Request) -> Response:
        """`POST /v1/conversations/{id}`: other `metadata`."""
        store, metadata = self._known(), await self._body(request, _new_metadata)
        changed = store.set_metadata(*_of(request), metadata)
        return JSONResponse(_shown(await _done(changed)))

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/conversations/{id}`: with its items, and the responses of its turns."""
        tenant, id = _of(request)
        await _done(self._known().delete(tenant, id))
        return JSONResponse({"id": id, "object": "conversation.deleted", "deleted": True})

    async def add_items(self, request: Request) -> Response:
        """`POST /v1/conversations/{id}/items`: add at most 20 items."""
        store, new = self._known(), await self._body(request, _new_items)
        added = await _done(store.add(*_of(request), new))
        return list_response([item.json for item in added], more=False)

    async def items(self, request: Request) -> Response:
        """`GET /v1/conversations/{id}/items`: a page of the items."""
        query = page_query(request)
        tenant, id = _of(request)
        page = await _done(
            self._known().page(tenant, id, after=query.after, limit=query.limit, ascending=query.ascending)
        )
        return list_response(page.items, more=page.more)

    async def item(self, request: Request) -> Response:
        """`GET /v1/conversations/{id}/items/{item}`."""
        return json_response(await _done(self._known().item(*_of(request), request.path_params["item"])))

    async def delete_item(self, request: Request) -> Response:
        """`DELETE /v1/conversations/{id}/items/{item}`: answers the conversation."""
        removed = self._known().remove(*_of(request), request.path_params["item"])
        return JSONResponse(_shown(await _done(removed)))

    def _known(self) -> ConversationStore:
        """Return the store. Raises `InvalidRequest` without one."""
        if self._store is None:
            raise InvalidRequest("This server keeps no conversations; configure `store` to use them.")
        return self._store

    async def _body(self, request: Request, read: Callable[[Body], T]) -> T:
        """Return what `read` makes of the members of the body."""
        raw = await self._read(request)
        return await run_off_loop(lambda: read(parse(raw).body if raw.strip() else {}), len(raw))


def _of(request: Request) -> tuple[str, str]:
    """Return the tenant, and the id of the conversation in the path."""
    return request.scope[PRINCIPAL].tenant, request.path_params["id"]


async def _done(work: Awaitable[T]) -> T:
    """Return the result of an operation. Raises what the client receives for its errors."""
    try:
        return await work
    except (Missing, Locked, TooLarge) as exc:
        raise refusal(exc) from None


def _new_conversation(body: Body) -> tuple[list[Item], dict[str, str]]:
    items = [] if body.get("items") is None else _new_items(body)
    return items, _metadata(body.get("metadata"))


def _new_items(body: Body) -> list[Item]:
    items = read_new_items(body.get("items"), secrets.token_hex())
    return [Item(item["id"], compact_nulled(item)) for item in items]


def _new_metadata(body: Body) -> dict[str, str]:
    if "metadata" not in body:
        raise InvalidRequest("You must provide `metadata`: an object with strings.", param="metadata")
    return _metadata(body["metadata"])


def _shown(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at),
        "metadata": conversation.metadata,
    }


def _metadata(value: Any) -> dict[str, str]:
    """Return metadata. Raises `InvalidRequest` that names the member."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _PAIRS:
        raise InvalidRequest(f"`metadata` must be an object with at most {_PAIRS} members.", param="metadata")
    if not _is_unicode(value):
        message = "`metadata` must be valid Unicode; it has half of a surrogate pair."
        raise InvalidRequest(message, param="metadata")
    for name, text in value.items():
        if len(name) > _NAME:
            message = f"`metadata`: a name must have at most {_NAME} characters."
            raise InvalidRequest(message, param="metadata")
        if not isinstance(text, str) or len(text) > _VALUE:
            message = f"`metadata.{name}` must be a string of at most {_VALUE} characters."
            raise InvalidRequest(message, param=f"metadata.{name}")
    return value


def _is_unicode(metadata: Mapping[str, Any]) -> bool:
    try:
        "".join([*metadata, *(text for text in metadata.values() if isinstance(text, str))]).encode()
    except UnicodeEncodeError:
        return False
    return True
