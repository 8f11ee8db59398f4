"""`signalbox teams`: teams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from proxy.admin.teams import Teams
from proxy.commands.objects import common_commands, echo_object
from proxy.commands.options import clearable, config_option, fields_of, grants, json_option
from proxy.commands.shell import Shell, run

_COLUMNS = ("id", "models", "limits", "budget", "disabled")


@click.command()
@click.argument("id")
@grants
@json_option
@config_option
def create(id: str, config: Path | None, as_json: bool, **options: Any) -> None:
    """Create a team."""
    fields = {"id": id, **fields_of(options)}
    echo_object(run(config, lambda shell: _teams(shell).create(shell.actor, fields)), as_json=as_json)


@click.command()
@click.argument("id")
@grants
@clearable("models", "limits", "model_limits", "budget")
@json_option
@config_option
def update(id: str, config: Path | None, as_json: bool, clear: tuple[str, ...], **options: Any) -> None:
    """Change a team. Options that are omitted change nothing."""
    fields = fields_of(options, clear)
    echo_object(run(config, lambda shell: _teams(shell).change(shell.actor, id, fields)), as_json=as_json)


def _teams(shell: Shell) -> Teams:
    return shell.teams


COMMANDS = [create, update, *common_commands("team", _teams, _COLUMNS)]
