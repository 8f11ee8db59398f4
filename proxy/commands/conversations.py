"""`signalbox conversations`: list, show, export and delete stored conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec.json import decode

from proxy.commands.options import config_option, json_option
from proxy.commands.shell import Shell, run
from proxy.commands.tables import block, echo_json, table, text
from proxy.core.errors import NotFound
from proxy.core.json_text import compact_nulled
from proxy.core.timestamps import iso
from proxy.dialogs.refusals import refusal
from proxy.store.conversations import Conversation, ConversationStore
from proxy.store.errors import Missing

_COLUMNS = ("id", "tenant", "items", "created_at", "updated_at", "metadata")
_PAGE = 100  # rows that are read at once
_WIDEST = 2000  # characters of an item that `show` prints
_tenant_option = click.option("--tenant", help="Only those of this tenant, such as `team:red`, `user:ann` or `key:k1`.")


@click.command("list")
@_tenant_option
@click.option("--limit", type=click.IntRange(1, 1000), default=1000, show_default=True, help="At most so many.")
@click.option("--after", help="Only those after this id.")
@json_option
@config_option
def list_(tenant: str | None, limit: int, after: str | None, as_json: bool, config: Path | None) -> None:
    """List conversations, in the order of their ids."""

    async def work(shell: Shell) -> tuple[list[dict[str, Any]], bool]:
        found = await _store(shell).list(tenant, after, limit + 1)
        return [{**_shown(each), "items": each.items} for each in found[:limit]], len(found) > limit

    rows, more = run(config, work)
    last = rows[-1]["id"] if rows else None
    if as_json:
        echo_json({"object": "list", "data": rows, "has_more": more, "last_id": last})
        return
    click.echo(table(_COLUMNS, rows) if rows else "There are no conversations.")
    if more:
        click.echo(f"There are more; continue with --after {last}", err=True)


@click.command()
@click.argument("id")
@json_option
@config_option
def show(id: str, as_json: bool, config: Path | None) -> None:
    """Print a conversation with its items."""
    whole = run(config, lambda shell: _whole(_store(shell), id))
    if as_json:
        echo_json(whole)
        return
    items = whole.pop("items")
    click.echo(block({**whole, "items": len(items)}))
    for item in items:
        click.echo(f"\n{_line(item)}")


@click.command()
@click.argument("ids", nargs=-1)
@_tenant_option
@config_option
def export(ids: Sequence[str], tenant: str | None, config: Path | None) -> None:
    """Print conversations as JSON lines, each with its items; without an ID all of them."""

    async def work(shell: Shell) -> None:
        store = _store(shell)
        async for id in _ids(store, ids, tenant):
            try:
                whole = await _whole(store, id)
            except NotFound:
                if ids:
                    raise
                continue  # deleted since it was listed
            click.echo(compact_nulled(whole))

    run(config, work)


@click.command()
@click.argument("id")
@config_option
def delete(id: str, config: Path | None) -> None:
    """Delete a conversation with its items and the responses of its turns."""

    async def work(shell: Shell) -> None:
        try:
            await _store(shell).delete(None, id, shell.actor.name)
        except Missing as exc:
            raise refusal(exc) from None

    run(config, work)
    click.echo(f"conversation {id}: deleted")


def _store(shell: Shell) -> ConversationStore:
    return ConversationStore(shell.database, shell.clock)


async def _ids(store: ConversationStore, ids: Sequence[str], tenant: str | None) -> AsyncIterator[str]:
    """Yield the ids that were given, or all ids of the tenant."""
    for id in ids:
        yield id
    after = None
    while not ids:
        page = await store.list(tenant, after, _PAGE)
        for conversation in page:
            yield conversation.id
        if len(page) < _PAGE:
            return
        after = page[-1].id


async def _whole(store: ConversationStore, id: str) -> dict[str, Any]:
    """Return a conversation with all its items."""
    try:
        conversation = await store.get(None, id)
        items: list[Any] = []
        place = 0
        while True:
            page = await store.slice(id, place, _PAGE)
            items += [decode(json) for _, json in page]
            if len(page) < _PAGE:
                return {**_shown(conversation), "items": items}
            place = page[-1][0] + 1
    except Missing as exc:
        raise refusal(exc) from None


def _shown(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "tenant": conversation.tenant,
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "metadata": dict(conversation.metadata),
    }


def _line(item: dict[str, Any]) -> str:
    """Return an item for people: who speaks, or its type, and its text."""
    kind = item.get("role") or item.get("type")
    parts = item.get("content") or item.get("summary")
    if isinstance(parts, list):
        contents = " ".join(str(part.get("text") or part.get("refusal") or f"[{part.get('type')}]") for part in parts)
    else:
        contents = " ".join(str(item[name]) for name in ("name", "arguments", "input", "output") if item.get(name))
    return text(f"{kind}: {contents}")[:_WIDEST]


COMMANDS = [list_, show, export, delete]
