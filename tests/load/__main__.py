"""`python -m tests.load CHECK...`: run checks and print their figures; exit 1 if a figure is outside its limit."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from inspect import getdoc
from types import ModuleType

import anyio
import click

from tests.load import (
    accounting,
    chaos,
    client_disconnects,
    client_errors,
    dependency_outages,
    failing_target,
    full_disk,
    half_open_probes,
    hanging_targets,
    hostile_bodies,
    idle_connections,
    key_guessing,
    large_ledger,
    ledger_kills,
    memory_limit,
    migrations,
    queue_fairness,
    reloads,
    replicas,
    retry_after,
    revoked_keys,
    rolling_restart,
    slow_requests,
    slow_target,
    sse_fronts,
    stale_connections,
    stalled_readers,
    streams,
    total_outage,
    upstream_silence,
    worker_throughput,
)
from tests.load.harness import Options
from tests.load.report import Report

Check = Callable[[Report, Options], Awaitable[None]]
MODULES = (
    accounting,
    chaos,
    client_disconnects,
    client_errors,
    dependency_outages,
    failing_target,
    full_disk,
    half_open_probes,
    hanging_targets,
    hostile_bodies,
    idle_connections,
    key_guessing,
    large_ledger,
    ledger_kills,
    memory_limit,
    migrations,
    queue_fairness,
    reloads,
    replicas,
    retry_after,
    revoked_keys,
    rolling_restart,
    slow_requests,
    slow_target,
    sse_fronts,
    stale_connections,
    stalled_readers,
    streams,
    total_outage,
    upstream_silence,
    worker_throughput,
)


def name_of(module: ModuleType) -> str:
    """Return the name of a check's module without its package."""
    return module.__name__.rpartition(".")[2]


CHECKS: dict[str, Check] = {name_of(module): module.check for module in MODULES}


SHORT: dict[str, Options] = {name_of(module): module.SHORT_FORM for module in MODULES if hasattr(module, "SHORT_FORM")}


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK|all]...")
@click.option("--calls", type=click.IntRange(1), help="Number of calls; replaces the check's own.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length of the main phase; replaces the own.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random choices.")
@click.option("--short", is_flag=True, help="A few calls; judge only what does not depend on load and speed.")
def main(names: tuple[str, ...], calls: int | None, seconds: float | None, seed: int, *, short: bool) -> None:
    """Run checks by name, or all of them; without a name, list them."""
    if not names:
        for module in MODULES:
            click.echo(f"{name_of(module):<20} {(getdoc(module) or '').splitlines()[0]}")
        return
    known = SHORT if short else CHECKS
    chosen = list(known) if "all" in names else list(names)
    if unknown := [name for name in chosen if name not in known]:
        raise click.UsageError(f"no such check: {', '.join(unknown)}; the checks are {', '.join(known)}")
    failed = 0
    for name in chosen:
        options = SHORT[name] if short else Options(calls, seconds, seed)
        failed += anyio.run(_run, name, options, short, backend_options={"use_uvloop": True})
    sys.exit(1 if failed else 0)


async def _run(name: str, options: Options, short: bool) -> int:
    click.echo(name)
    report = Report(name, full=not short)
    await CHECKS[name](report, options)
    return report.failed


if __name__ == "__main__":
    main()
