"""`signalbox diff`: what another configuration changes, in words. What it needs is imported when it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy.commands.options import json_option

if TYPE_CHECKING:
    from proxy.config.loaded import Loaded
    from proxy.core.snapshot import Snapshot

_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("old", type=_file)
@click.argument("new", type=_file)
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Print what the configuration NEW changes against OLD, in words."""
    from proxy.commands.changes import FIRST, changes
    from proxy.commands.configurations import loaded
    from proxy.commands.tables import echo_json

    before, after = _view(loaded(old)), _view(loaded(new))
    routes = before[FIRST].keys() & after[FIRST].keys()  # an added or removed name is a change of its own
    for view in (before, after):
        view[FIRST] = {name: target for name, target in view[FIRST].items() if name in routes}
    found = changes(before, after)
    if as_json:
        echo_json({"object": "list", "data": [change.as_json() for change in found]})
    elif found:
        click.echo("\n".join(change.sentence for change in found))
    else:
        click.echo("Both configurations have the same effect.")


def _view(found: Loaded) -> dict[str, Any]:
    """Return the effective settings, and what follows from them for the routes."""
    from proxy.commands.changes import FIRST
    from proxy.config.compile.effective import effective_models
    from proxy.config.compile.snapshot import compile_snapshot
    from proxy.config.compile.view import effective_values
    from proxy.config.settings.redact import redacted

    settings, snapshot = found.settings, compile_snapshot(found.settings)
    unlisted = tuple(sorted(snapshot.known - {model.id for model in settings.models}))
    models = {each.settings.id: effective_values(each) for each in effective_models(settings, unlisted)}
    return {
        "left out": dict(snapshot.left_out),
        FIRST: _first_targets(snapshot),
        **redacted(settings),
        "models": models,
    }


def _first_targets(snapshot: Snapshot) -> Mapping[str, str | None]:
    """Return the first target of each tier, scenario and alias for a plain chat."""
    names = [f"tier/{tier}" for tier in snapshot.tiers] + [f"scenario/{name}" for name in snapshot.scenarios]
    return asyncio.run(_targets(snapshot, [*names, *snapshot.aliases]))


async def _targets(snapshot: Snapshot, names: Iterable[str]) -> dict[str, str | None]:
    from proxy.core.errors import ProxyError
    from proxy.core.json_text import compact
    from proxy.routing.router import Router, Unmeasured
    from proxy.surfaces.openai.chat import read_chat

    router, found = Router(Unmeasured()), dict[str, str | None]()
    for name in names:
        body = compact({"model": name, "messages": [{"role": "user", "content": "Hello"}]})
        try:
            plan = await router.route(read_chat(body, {}, id="", request_id="", snapshot=snapshot))
        except ProxyError:  # there is no target
            found[name] = None
        else:
            found[name] = plan.targets[0].deployment.name
    return found
