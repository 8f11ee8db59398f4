"""`python -m tests.load CHECK...`: run checks and print their figures; exit 1 if one is not as wanted."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from inspect import getdoc, getmodule

import anyio
import click

from tests.load import a1, a8, b1, b2, b3, b4, b5, b6, b7, b8, b9, b12, c6, chaos, streams
from tests.load.harness import Options
from tests.load.report import Report

Check = Callable[[Report, Options], Awaitable[None]]
CHECKS: dict[str, Check] = {
    module.__name__.rpartition(".")[2]: module.check
    for module in (chaos, a1, a8, b1, b2, b3, b4, b5, b6, b7, b8, b9, b12, c6, streams)
}


@click.command()
@click.argument("names", nargs=-1, metavar="[CHECK|all]...")
@click.option("--calls", type=click.IntRange(1), help="Calls, in place of the check's own number.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length of its main phase, likewise.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed rolls other dice.")
def main(names: tuple[str, ...], calls: int | None, seconds: float | None, seed: int) -> None:
    """Run checks by name, or all of them; without a name, list them."""
    if not names:
        for name, check in CHECKS.items():
            click.echo(f"{name:<6} {(getdoc(getmodule(check)) or '').splitlines()[0]}")
        return
    chosen = list(CHECKS) if "all" in names else list(names)
    if unknown := [name for name in chosen if name not in CHECKS]:
        raise click.UsageError(f"no such check: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    options = Options(calls, seconds, seed)
    failed = sum(anyio.run(_run, name, options, backend_options={"use_uvloop": True}) for name in chosen)
    sys.exit(1 if failed else 0)


async def _run(name: str, options: Options) -> int:
    report = Report(name)
    await CHECKS[name](report, options)
    return report.failed


if __name__ == "__main__":
    main()
