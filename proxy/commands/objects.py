"""Commands that keys, users and teams have in common: list, show, disable, enable and delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from proxy.admin.objects import Objects
from proxy.commands.options import config_option, json_option
from proxy.commands.shell import Shell, run
from proxy.commands.tables import block, echo_json, table

Of = Callable[[Shell], Objects[Any]]


def common_commands(what: str, of: Of, columns: Sequence[str]) -> list[click.Command]:
    """Return the commands of one kind of object."""
    return [
        _list(what, of, columns),
        _show(what, of),
        _switch(what, of, "disable", disabled=True),
        _switch(what, of, "enable", disabled=False),
        _delete(what, of),
    ]


def echo_object(value: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one object."""
    if as_json:
        echo_json(value)
    else:
        click.echo(block(value))


def _list(what: str, of: Of, columns: Sequence[str]) -> click.Command:
    @click.command("list", help=f"List {what}s.")
    @click.option("--limit", type=click.IntRange(1, 1000), default=1000, show_default=True, help="At most so many.")
    @click.option("--after", help="Only those after this id.")
    @json_option
    @config_option
    def command(limit: int, after: str | None, as_json: bool, config: Path | None) -> None:
        page = run(config, lambda shell: of(shell).page(limit, after))
        if as_json:
            echo_json(page)
            return
        click.echo(table(columns, page["data"]) if page["data"] else f"There are no {what}s.")
        if page["has_more"]:
            click.echo(f"There are more; continue with --after {page['last_id']}", err=True)

    return command


def _show(what: str, of: Of) -> click.Command:
    @click.command("show", help=f"Show one {what}.")
    @click.argument("id")
    @json_option
    @config_option
    def command(id: str, as_json: bool, config: Path | None) -> None:
        echo_object(run(config, lambda shell: of(shell).get(id)), as_json=as_json)

    return command


def _switch(what: str, of: Of, name: str, *, disabled: bool) -> click.Command:
    @click.command(name, help=f"{name.capitalize()} a {what}.")
    @click.argument("id")
    @config_option
    def command(id: str, config: Path | None) -> None:
        run(config, lambda shell: of(shell).change(shell.actor, id, {"disabled": disabled}))
        click.echo(f"{what} {id}: {name}d")

    return command


def _delete(what: str, of: Of) -> click.Command:
    @click.command("delete", help=f"Delete a {what}. Its records remain.")
    @click.argument("id")
    @config_option
    def command(id: str, config: Path | None) -> None:
        run(config, lambda shell: of(shell).delete(shell.actor, id))
        click.echo(f"{what} {id}: deleted")

    return command
