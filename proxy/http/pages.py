"""Lists of stored items in OpenAI's shape, and the parameters that ask for a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.json import Decoder
from starlette.requests import Request
from starlette.responses import Response

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact

DEFAULT = 20
MOST = 100


class _Named(Struct):
    id: str


_read_id = Decoder(_Named).decode


class PageQuery(NamedTuple):
    """A part of a list: how many items, in which order, and the id behind which it begins."""

    limit: int
    ascending: bool
    after: str | None


def page_query(request: Request) -> PageQuery:
    """Return the parameters of a request. Raises `InvalidRequest`. Unknown parameters are ignored."""
    query = request.query_params
    text, order = query.get("limit", str(DEFAULT)), query.get("order", "desc")
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MOST:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MOST}.", param="limit")
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be `asc` or `desc`.", param="order")
    return PageQuery(int(text), order == "asc", query.get("after"))


def id_of(item: bytes) -> str:
    """Return the id of an item, without decoding its other members."""
    return _read_id(item).id


def json_response(body: bytes) -> Response:
    """Return a response with a JSON body."""
    return Response(body, media_type="application/json")


def list_response(items: Sequence[bytes], *, more: bool) -> Response:
    """Return a page of items, each as JSON."""
    first, last = (id_of(items[place]) if items else None for place in (0, -1))
    end = compact({"first_id": first, "last_id": last, "has_more": more})
    return json_response(b'{"object":"list","data":[' + b",".join(items) + b"]," + end[1:])
