"""`signalbox keys`: virtual keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from proxy.admin.keys import Keys
from proxy.commands.objects import common_commands, echo_object
from proxy.commands.options import clearable, config_option, fields_of, grants, json_option, pairs
from proxy.commands.shell import Shell, run
from proxy.commands.tables import echo_json

_COLUMNS = ("id", "name", "prefix", "user", "team", "models", "limits", "budget", "expires_at", "disabled")


@click.command()
@click.option("--name", required=True, help="What the key is for.")
@click.option("--user", help="The user that the key belongs to.")
@click.option("--team", help="The team that the key belongs to. Default: the user's.")
@grants
@click.option("--expires", "expires_at", metavar="TIME", help="When the key expires, such as 2027-01-31T00:00:00Z.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="A value to keep with the key; repeatable.")
@json_option
@config_option
def create(config: Path | None, as_json: bool, metadata: tuple[str, ...], **options: Any) -> None:
    """Create a key, and print it: it is not shown again."""
    fields = fields_of({**options, "metadata": pairs(metadata)})
    created = run(config, lambda shell: _keys(shell).create(shell.actor, fields))
    if as_json:
        echo_json(created)
        return
    click.echo(f"{created['id']}: created; the key is not shown again", err=True)
    click.echo(created["key"])


@click.command()
@click.argument("id")
@click.option("--name", help="What the key is for.")
@click.option("--user", help="The user that the key belongs to.")
@click.option("--team", help="The team that the key belongs to.")
@grants
@click.option("--expires", "expires_at", metavar="TIME", help="When the key expires, such as 2027-01-31T00:00:00Z.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Values that replace the earlier ones.")
@clearable("user", "team", "models", "limits", "model_limits", "budget", "expires_at", "metadata")
@json_option
@config_option
def update(
    id: str, config: Path | None, as_json: bool, metadata: tuple[str, ...], clear: tuple[str, ...], **options: Any
) -> None:
    """Change a key. Options that are omitted change nothing."""
    fields = fields_of({**options, "metadata": pairs(metadata)}, clear)
    echo_object(run(config, lambda shell: _keys(shell).change(shell.actor, id, fields)), as_json=as_json)


def _keys(shell: Shell) -> Keys:
    return shell.keys


COMMANDS = [create, update, *common_commands("key", _keys, _COLUMNS)]
