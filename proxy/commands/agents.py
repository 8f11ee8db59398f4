"""`signalbox agents`: agents of the store, with their versions and labels. Those of the file are shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import click

from proxy.admin.agent_objects import AgentObjects
from proxy.admin.storage import AgentParts
from proxy.agents import BATCH, read_agent
from proxy.commands.objects import echo_object
from proxy.commands.options import config_option, json_option
from proxy.commands.shell import Shell, run
from proxy.commands.tables import echo_json, table
from proxy.config.compile.agents import compile_agents
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.overrides import overlay
from proxy.core.agents import Agent, StoredAgent
from proxy.store.agents import AgentStore
from proxy.store.models import ModelStore

_COLUMNS = ("id", "source", "model", "version", "latest", "labels", "updated_at", "description")
_VERSION_COLUMNS = ("version", "labels", "model", "created_at", "created_by")
_file_argument = click.argument("file", type=click.File(encoding="utf-8"))
_label_option = click.option("--label", "labels", multiple=True, help="A label that the version gets; repeatable.")


@click.command("list")
@json_option
@config_option
def list_(as_json: bool, config: Path | None) -> None:
    """List the agents of the file and of the store."""

    async def work(shell: Shell) -> list[dict[str, Any]]:
        return await (await _objects(shell)).rows()

    rows = run(config, work)
    if as_json:
        echo_json({"object": "list", "data": rows})
    else:
        click.echo(table(_COLUMNS, rows) if rows else "There are no agents.")


@click.command()
@click.argument("id")
@json_option
@config_option
def show(id: str, as_json: bool, config: Path | None) -> None:
    """Print an agent; ID may name a version or a label, as in `support@staging`."""
    name, _, version = id.partition("@")

    async def work(shell: Shell) -> dict[str, Any]:
        objects = await _objects(shell)
        return await (objects.version(name, version) if version else objects.row(name))

    echo_object(run(config, work), as_json=as_json)


@click.command()
@click.argument("id")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option("--after", help="Only those after this id, such as `support@3`.")
@json_option
@config_option
def versions(id: str, limit: int, after: str | None, as_json: bool, config: Path | None) -> None:
    """List the versions of an agent, the newest first."""

    async def work(shell: Shell) -> dict[str, Any]:
        return await (await _objects(shell)).versions(id, limit, after)

    page = run(config, work)
    if as_json:
        echo_json(page)
        return
    click.echo(table(_VERSION_COLUMNS, page["data"]))
    if page["has_more"]:
        click.echo(f"There are more; continue with --after {page['last_id']}", err=True)


@click.command()
@click.argument("id")
@_file_argument
@config_option
def create(id: str, file: IO[str], config: Path | None) -> None:
    """Create an agent of the definition in FILE, YAML or JSON; `-` is the standard input.

    Its version 1 gets the label `production`.
    """
    definition = _definition(file)

    async def work(shell: Shell) -> dict[str, Any]:
        return await (await _objects(shell)).create(shell.actor, {**definition, "id": id})

    run(config, work)
    click.echo(f"agent {id}: created")


@click.command()
@click.argument("id")
@_file_argument
@_label_option
@config_option
def add(id: str, file: IO[str], labels: tuple[str, ...], config: Path | None) -> None:
    """Add a version of the definition in FILE, and print its number. It is used as soon as it has a label."""
    definition = {**_definition(file), "labels": dict.fromkeys(labels, "latest")}

    async def work(shell: Shell) -> dict[str, Any]:
        return await (await _objects(shell)).add(shell.actor, id, definition)

    click.echo(run(config, work)["version"])


@click.command()
@click.argument("id")
@click.argument("label")
@click.argument("version")
@config_option
def label(id: str, label: str, version: str, config: Path | None) -> None:
    """Move a label to a version: a number, or `latest`."""

    async def work(shell: Shell) -> dict[str, Any]:
        return await (await _objects(shell)).label(shell.actor, id, {"label": label, "version": version})

    click.echo(f"agent {id}: {label} is version {run(config, work)['version']}")


@click.command()
@click.argument("id")
@click.argument("label")
@config_option
def unlabel(id: str, label: str, config: Path | None) -> None:
    """Remove a label."""

    async def work(shell: Shell) -> None:
        await (await _objects(shell)).change(shell.actor, id, {"labels": {label: None}})

    run(config, work)
    click.echo(f"agent {id}: {label} removed")


@click.command()
@click.argument("id")
@config_option
def delete(id: str, config: Path | None) -> None:
    """Delete an agent with all its versions."""

    async def work(shell: Shell) -> None:
        await (await _objects(shell)).delete(shell.actor, id)

    run(config, work)
    click.echo(f"agent {id}: deleted")


class _KnownAgents:
    """The agents of the store and of the file, in a process that serves no calls."""

    def __init__(self, shell: Shell, store: AgentStore) -> None:
        self.stored: dict[str, StoredAgent] = {}
        self._shell = shell
        self._store = store

    @cached_property
    def file(self) -> dict[str, Agent]:
        """The agents of the configuration file by id."""
        return {agent.id: agent for agent in compile_agents(self._shell.settings).values()}

    async def refresh(self) -> None:
        """Read the store."""
        self.stored = {}
        ids = sorted(await self._store.revisions())
        for at in range(0, len(ids), BATCH):
            self.stored |= await self._store.load(ids[at : at + BATCH])

    def read(self, id: str, fields: Mapping[str, Any]) -> Agent:
        """Read a definition. Raises `InvalidRequest`."""
        return read_agent(id, fields)


async def _objects(shell: Shell) -> AgentObjects:
    store = AgentStore(shell.database, shell.clock)
    overrides = await ModelStore(shell.database, shell.clock).all()  # a definition may name such a model
    snapshot = compile_snapshot(overlay(shell.settings, overrides))
    return AgentObjects(AgentParts(store, _KnownAgents(shell, store)), snapshot, _nothing)


async def _nothing() -> None:
    """Servers read the store themselves, within seconds."""


def _definition(file: IO[str]) -> dict[str, Any]:
    """Return the members of a file. Exits with 2 if it is not an object in YAML or JSON."""
    import yaml

    try:
        definition = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise click.BadParameter(f"it is not valid YAML: {exc}", param_hint="FILE") from exc
    if not isinstance(definition, dict) or not all(isinstance(name, str) for name in definition):
        raise click.BadParameter("it must be an object with `model` and other members of an agent", param_hint="FILE")
    return definition


COMMANDS = [list_, show, versions, create, add, label, unlabel, delete]
