"""Groups of commands whose module is imported when one of them is needed."""

from __future__ import annotations

from importlib import import_module

import click


class LazyGroup(click.Group):
    """A group whose commands are those of `module`, in its list `COMMANDS`."""

    def __init__(self, name: str, module: str, help: str) -> None:
        super().__init__(name, help=help)
        self._module = module

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command."""
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        if not self.commands:
            for command in import_module(self._module).COMMANDS:
                self.add_command(command)


GROUPS = (
    LazyGroup("keys", "proxy.commands.keys", "Create, list, change and delete virtual keys."),
    LazyGroup("users", "proxy.commands.users", "Create, list, change and delete users."),
    LazyGroup("teams", "proxy.commands.teams", "Create, list, change and delete teams."),
    LazyGroup("agents", "proxy.commands.agents", "Create, list, change and delete agents."),
    LazyGroup("conversations", "proxy.commands.conversations", "List, show, export and delete stored conversations."),
    LazyGroup(
        "provider-keys", "proxy.commands.provider_keys", "List users' own provider keys, and rotate their encryption."
    ),
)
