"""`signalbox usage` and `signalbox budgets`: reports of the store. What they need is imported when they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from proxy.commands.options import config_option, json_option

_COUNTS = ("requests", "errors", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost_usd")
_BUDGETS = ("scope", "id", "usd", "period", "hard", "spent_usd", "resets_at")


@click.command()
@click.option(
    "--group-by",
    metavar="NAMES",
    help="Any of key, user, team, provider, model, route, day, hour, separated by commas. Default: one row.",
)
@click.option("--start", metavar="TIME", help="ISO 8601. Default: 30 days before the end.")
@click.option("--end", metavar="TIME", help="ISO 8601. Default: now.")
@click.option("--key", multiple=True, help="Only this key's id; repeatable.")
@click.option("--user", multiple=True, help="Only this user; repeatable.")
@click.option("--team", multiple=True, help="Only this team; repeatable.")
@click.option("--provider", multiple=True, help="Only this provider; repeatable.")
@click.option("--model", multiple=True, help="Only this model, as its provider names it; repeatable.")
@click.option("--route", multiple=True, help="Only this route; repeatable.")
@json_option
@config_option
def usage(config: Path | None, as_json: bool, **options: Any) -> None:
    """Print requests, tokens and cost by group."""
    from proxy.commands.shell import Shell, run
    from proxy.commands.tables import echo_json, table
    from proxy.surfaces.reports import read_usage_query, usage_row

    async def report(shell: Shell) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
        query = read_usage_query(_parameters(options), shell.clock.time())
        rows = await shell.ledger.usage(query.group_by, query.filters, query.start, query.end)
        return query.group_by, [usage_row(row, query.group_by) for row in rows]

    group_by, rows = run(config, report)
    if as_json:
        echo_json({"object": "list", "data": rows, "has_more": False, "last_id": None})
    else:
        click.echo(table((*group_by, *_COUNTS), rows) if rows else "There is no usage in this time.")


@click.command()
@json_option
@config_option
def budgets(config: Path | None, as_json: bool) -> None:
    """Print all budgets and their spending in the store."""
    from proxy.commands.shell import run
    from proxy.commands.spending import budget_report
    from proxy.commands.tables import echo_json, table

    rows = run(config, budget_report)
    if as_json:
        echo_json({"object": "list", "data": rows, "has_more": False, "last_id": None})
    else:
        click.echo(table(_BUDGETS, rows) if rows else "There are no budgets.")


def _parameters(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the options as the parameters of `/admin/usage`."""
    given: list[tuple[str, str | Sequence[str] | None]] = list(options.items())
    pairs = [(name, [value] if isinstance(value, str) else value or ()) for name, value in given]
    return [(name, each) for name, values in pairs for each in values]
