"""`signalbox replay`: what another configuration would have done with recorded calls; imports late."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from proxy.commands.options import json_option

_MOST = 100_000  # calls
_MOVES = ("from", "to", "calls", "cost_before_usd", "cost_after_usd", "success_change")
_SHOWN = 20  # moves that the text has
_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--config", "-c", type=_file, required=True, help="The configuration to replay the calls under.")
@click.option(
    "--records",
    type=_file,
    help="The configuration that names the store with the records. Default: that of --config.",
)
@click.option("--since", default="7d", show_default=True, help="A duration such as 7d, or a time in ISO 8601.")
@click.option("--until", metavar="TIME", help="ISO 8601. Default: now.")
@click.option(
    "--model", "models", multiple=True, help="Only calls that name, or were served by, this model; repeatable."
)
@click.option(
    "--limit", type=click.IntRange(1), default=_MOST, show_default=True, help="At most the newest so many calls."
)
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 1 if it holds, such as 'cost>+5%' or 'rejected>0'; repeatable.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots to this file.")
@json_option
def replay(
    config: Path,
    records: Path | None,
    since: str,
    until: str | None,
    models: tuple[str, ...],
    limit: int,
    conditions: tuple[str, ...],
    html: Path | None,
    as_json: bool,
) -> None:
    """Decide recorded calls again under another configuration, without calling a provider."""
    from proxy.commands.configurations import loaded
    from proxy.commands.replaying import report_of
    from proxy.commands.shell import run
    from proxy.commands.tables import echo_json
    from proxy.config.compile.snapshot import compile_snapshot
    from proxy.replay.conditions import read_condition

    try:
        bounds = [read_condition(text) for text in conditions]
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--fail-if") from exc
    snapshot = compile_snapshot(loaded(config).settings)
    report = run(records or config, lambda shell: report_of(shell, snapshot, since, until, models, limit))
    report = {"config_version": snapshot.version, **report}
    if html is not None:
        _write(html, report, config)
    if as_json:
        echo_json(report)
    else:
        click.echo(report_text(report))
    failures = [failure for bound in bounds if (failure := bound.failure(report)) is not None]
    if failures:
        raise click.ClickException("; ".join(failures))


def report_text(report: Mapping[str, Any]) -> str:
    """Return a report as text."""
    from proxy.commands.tables import table
    from proxy.replay.page import figures, summary

    names = ("", "before", "after", "change", "share")
    blocks = [summary(report), table(names, [dict(zip(names, row, strict=True)) for row in figures(report)])]
    if moves := report["moves"]:
        blocks.append(table(_MOVES, moves[:_SHOWN]))
        if len(moves) > _SHOWN:
            blocks.append(f"... and {len(moves) - _SHOWN} more; --json has all.")
    for title, counts in (
        ("rejected", report["rejections"]["by_reason"]),
        ("not replayed", report["calls"]["skipped"]),
    ):
        if counts:
            rows = [{title: reason, "calls": number} for reason, number in counts.items()]
            blocks.append(table((title, "calls"), rows))
    return "\n\n".join(blocks)


def _write(path: Path, report: Mapping[str, Any], config: Path) -> None:
    from proxy.replay.page import page

    try:
        path.write_text(page(report, f"Replay under {config.name}"), encoding="utf-8")
    except OSError as exc:
        raise click.ClickException(f"{path}: {exc.strerror}") from exc
