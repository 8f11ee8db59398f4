"""The items of dialogs as rows. In a conversation or a response each id is there once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec.json import decode, encode

from proxy.store.values import check_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_LOOK_UP = 1000  # ids of one query


class Item(NamedTuple):
    """An item of a dialog as JSON, with its id."""

    id: str
    json: bytes


class Place(NamedTuple):
    """Where items are inserted."""

    container: str  # a conversation, or a response outside of conversations
    tenant: str
    position: int  # of the first one
    response: str | None = None  # whose turn adds them


async def insert_items(
    connection: AsyncConnection, place: Place, input: Sequence[Item], output: Sequence[Item] = ()
) -> list[Item]:
    """Insert items, those of an answer last; return them. An id that is there already is replaced by a new one."""
    from sqlalchemy import insert

    from proxy.store.schema import items

    added = await _unique(connection, place, [*input, *output])
    rows = [
        {
            "container": place.container,
            "position": place.position + number,
            "id": check_id(item.id),
            "tenant": place.tenant,
            "response_id": place.response,
            "output": number >= len(input),
            "json": item.json,
        }
        for number, item in enumerate(added)
    ]
    if rows:
        await connection.execute(insert(items), rows)
    return added


async def _unique(connection: AsyncConnection, place: Place, added: Sequence[Item]) -> list[Item]:
    """Return the items with unique ids. Clients may add an item again, or give several the same id."""
    from sqlalchemy import select

    from proxy.store.schema import items

    taken: set[str] = set()
    ids = list({item.id for item in added}) if place.position else []
    for start in range(0, len(ids), _LOOK_UP):
        some = items.c.id.in_(ids[start : start + _LOOK_UP])
        query = select(items.c.id).where(items.c.tenant == place.tenant, items.c.container == place.container, some)
        taken.update((await connection.execute(query)).scalars())
    unique = []
    for item in added:
        new = _renamed(item) if item.id in taken else item
        taken.add(new.id)
        unique.append(new)
    return unique


def _renamed(item: Item) -> Item:
    prefix = item.id.partition("_")[0]
    id = f"{prefix if prefix.isalnum() and len(prefix) < 8 else 'item'}_{secrets.token_hex(24)}"
    return Item(id, encode({**decode(item.json), "id": id}))
