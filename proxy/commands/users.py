"""`signalbox users`: users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from proxy.admin.users import Users
from proxy.commands.objects import common_commands, echo_object
from proxy.commands.options import clearable, config_option, fields_of, grants, json_option
from proxy.commands.shell import Shell, run

_COLUMNS = ("id", "role", "team", "models", "limits", "budget", "disabled")
_role_option = click.option("--role", type=click.Choice(["admin", "auditor", "member"]), help="Default: member.")
_team_option = click.option("--team", help="The team that the user belongs to.")


@click.command()
@click.argument("id")
@_role_option
@_team_option
@grants
@json_option
@config_option
def create(id: str, config: Path | None, as_json: bool, **options: Any) -> None:
    """Create a user."""
    fields = {"id": id, **fields_of(options)}
    echo_object(run(config, lambda shell: _users(shell).create(shell.actor, fields)), as_json=as_json)


@click.command()
@click.argument("id")
@_role_option
@_team_option
@grants
@clearable("team", "models", "limits", "model_limits", "budget")
@json_option
@config_option
def update(id: str, config: Path | None, as_json: bool, clear: tuple[str, ...], **options: Any) -> None:
    """Change a user. Options that are omitted change nothing."""
    fields = fields_of(options, clear)
    echo_object(run(config, lambda shell: _users(shell).change(shell.actor, id, fields)), as_json=as_json)


def _users(shell: Shell) -> Users:
    return shell.users


COMMANDS = [create, update, *common_commands("user", _users, _COLUMNS)]
