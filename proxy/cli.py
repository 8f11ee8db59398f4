"""The command `signalbox`. Exit codes: 0 success, 1 failure, 2 invalid input.

A command imports what it needs when it runs, so that the help and the health check are quick.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from proxy import __version__
from proxy.commands.diff import diff
from proxy.commands.explain import explain, route
from proxy.commands.lazy import GROUPS
from proxy.commands.replay import replay
from proxy.commands.reports import budgets, usage

if TYPE_CHECKING:
    from proxy.config.loaded import Loaded

FAULTS = ("error", "timeout", "slow", "cut", "bad_json")

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SIGNALBOX_CONFIG",
    help="The configuration file. Default: config/signalbox.yaml, else the file in the package.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="signalbox")
def main() -> None:
    """A drop-in OpenAI-compatible reverse proxy for LLMs."""


for command in (*GROUPS, route, explain, diff, replay, usage, budgets):
    main.add_command(command)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold SIGHUP until the service handles it, and exit on SIGTERM until then.

    The first process of a container ignores signals without a handler: it would serve on until it is killed.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    # `sys.exit` could be ignored: the signal may arrive in a callback of the garbage collector or of an import
    handler = signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    try:
        yield
    except Exception:  # it does not start
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise


@main.command()
@config_option
@click.option("--host", help="The address to listen on; overrides `server.host`.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port to listen on; overrides `server.port`; 0: any free port."
)
@click.option("--workers", type=click.IntRange(1), help="The number of processes; overrides `server.workers`.")
@_signals_held()
def serve(config: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the proxy until SIGTERM."""
    from proxy.config.apart import LoadedApart
    from proxy.config.errors import ConfigError

    try:
        loading = LoadedApart(config or _default_path(), os.environ, workers)
        from proxy.runtime_file import announced  # while the configuration is loaded
        from proxy.server import bind, raise_descriptor_limit, serve_alone, serve_with_workers, url_of

        loaded = loading.result()
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc
    except ChildProcessError as exc:
        raise click.ClickException(str(exc)) from exc
    _check_connections(loaded)
    server = loaded.process.server
    host, port = host or server.host, server.port if port is None else port
    try:
        listener = bind(host, port)
    except OSError as exc:
        raise click.ClickException(
            f"{host}:{port}: {exc.strerror}; choose another address with --host and --port."
        ) from exc
    raise_descriptor_limit()
    _warn(loaded)
    _check_schema(loaded)
    with announced(loaded.path) as announcement:

        def started() -> None:
            url = url_of(listener)
            announcement.write(url)
            of = f" with {loaded.workers} workers" if loaded.workers > 1 else ""
            click.echo(f"Signalbox {__version__} serves {loaded.path} on {url}/v1{of}", err=True)

        if loaded.workers == 1:
            serve_alone(loaded, listener, host, started)
            return
        from proxy.workers.supervisor import StartError

        try:
            serve_with_workers(loaded, listener, host, started)
        except StartError as exc:
            raise click.ClickException(f"{exc}; the messages above say why.") from exc


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@config_option
def check(file: Path | None, config: Path | None) -> None:
    """Validate a configuration; exit 0 if it is valid, 2 if not."""
    loaded = _load(file or config)
    snapshot = loaded.snapshot
    _check_connections(loaded)
    _warn(loaded)
    click.echo(
        f"{loaded.path}: ok, {len(snapshot.providers)} providers, {len(snapshot.deployments)} models, "
        f"{len(snapshot.scenarios)} scenarios, version {snapshot.version}"
    )


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from proxy.config.settings.describe import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(config: Path | None, as_json: bool) -> None:
    """Print the effective settings of each model and where they come from."""
    from proxy.commands.overrides import stored_overrides
    from proxy.config.compile.view import models_text, models_view
    from proxy.config.overrides import overlay, overridden_fields

    settings = _load(config).settings
    overrides = stored_overrides(settings)
    view = models_view(overlay(settings, overrides), overridden_fields(settings, overrides))
    click.echo(json.dumps(view, indent=2, ensure_ascii=False) if as_json else models_text(view))


@main.command()
@click.option("--to", "revision", metavar="REVISION", help="The revision: a number, head or base. Default: head.")
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 if a migration is pending.")
@config_option
def migrate(revision: str | None, only_check: bool, config: Path | None) -> None:
    """Create or change the tables of the store."""
    from proxy.core.location import locate
    from proxy.store.errors import StoreUnavailable
    from proxy.store.migrate import migrate_to, pending_text, revision_named, state_of

    settings = _load(config).settings
    location = locate(settings.store, settings.data_dir)
    if location is None:
        raise click.UsageError("`store` is `none`, so there are no tables to change.")
    if only_check and revision is not None:
        raise click.UsageError("--check changes nothing; remove --to.")
    try:
        to = None if revision is None else revision_named(revision)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--to") from exc
    try:
        if only_check:
            now, problem = asyncio.run(state_of(location))
            if (pending := problem or pending_text(now)) is not None:
                raise click.ClickException(f"{location.name}: {pending}")
            click.echo(f"{location.name}: revision {now}, ok")
            return
        before, after = asyncio.run(migrate_to(location, to))
    except StoreUnavailable as exc:
        raise click.ClickException(str(exc)) from exc
    changed = "unchanged" if before == after else f"was {before or 'empty'}"
    click.echo(f"{location.name}: revision {after or 'base'}, {changed}")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9099, show_default=True, help="The port.")
@click.option("--seed", type=int, default=42, show_default=True, help="The seed; equal seeds give equal answers.")
@click.option("--latency", default="0ms", show_default=True, help="The delay before the first byte, such as 800ms.")
@click.option("--tokens", type=click.IntRange(1), help="The length of an answer in words.")
@click.option(
    "--failure-rate", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="The share of calls that fail."
)
@click.option("--fault", "faults", type=click.Choice(FAULTS), multiple=True, help="How calls fail; repeatable.")
def mock(
    host: str, port: int, seed: int, latency: str, tokens: int | None, failure_rate: float, faults: tuple[str, ...]
) -> None:
    """Serve the mock provider over HTTP, as an upstream for tests."""
    import uvicorn

    from proxy.config.settings.units import seconds
    from proxy.core.clock import SystemClock
    from proxy.core.model import MockOptions
    from proxy.mock.server import mock_app

    try:
        pause = seconds(latency)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--latency") from exc
    chosen = MockOptions(seed, pause, tokens, failure_rate, faults or ("error",))
    uvicorn.run(mock_app(chosen, SystemClock()), host=host, port=port, log_level="warning", ws="none")


@main.command()
@click.option("--url", envvar="SIGNALBOX_URL", help="The URL of the service. Default: found by its configuration.")
@click.option("--timeout", type=float, default=3.0, show_default=True, help="The timeout in seconds.")
@config_option
@click.pass_context
def healthcheck(ctx: click.Context, url: str | None, timeout: float, config: Path | None) -> None:
    """Check a running service; exit 0 if it is ready, 1 if not."""
    if url is None:
        url = _running_url(config, ctx.get_parameter_source("config"))
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("must start with http:// or https://", param_hint="--url")
    click.echo(_health(url, timeout))


def _health(url: str, timeout: float) -> str:
    """Request `/healthz`. Raises `ClickException` if the answer is no 200."""
    from http.client import HTTPException  # only here: other commands need no HTTP client
    from urllib.error import HTTPError, URLError
    from urllib.request import ProxyHandler, build_opener

    try:
        with build_opener(ProxyHandler({})).open(f"{url.rstrip('/')}/healthz", timeout=timeout) as answer:
            return str(answer.read().decode())
    except HTTPError as exc:
        exc.close()
        raise click.ClickException(f"{url}: {exc}") from None
    except (URLError, OSError, ValueError, HTTPException) as exc:
        raise click.ClickException(f"{url}: {exc}") from exc


def _running_url(config: Path | None, source: ParameterSource | None) -> str:
    """The URL of the running service: from its runtime file, else from its configuration.

    The runtime file comes first because a process whose configuration has become invalid keeps the previous one.
    """
    from proxy.runtime_file import find, reachable, running_services

    path = config or _default_path()
    running = find(path)
    if running is None and source is not ParameterSource.COMMANDLINE:
        services = running_services()
        # unambiguous if no configuration is given, or if the service is the first process of a container
        known = [each for each in services if each.pid == 1 or config is None]
        running = known[0] if len(services) == 1 and known else None
    if running is not None:
        return running.url
    from proxy.config.errors import ConfigError
    from proxy.config.load import load

    host, port = os.environ.get("SIGNALBOX_HOST") or "127.0.0.1", os.environ.get("SIGNALBOX_PORT") or "8080"
    try:
        server = load(path, os.environ).process.server
        host, port = server.host, str(server.port)
    except ConfigError as exc:
        click.echo(f"warning: the configuration is not valid, so the service is assumed at {host}:{port}", err=True)
        click.echo(str(exc), err=True)
    return reachable(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def _default_path() -> Path:
    from proxy.config.source import default_path

    return default_path()


def _load(path: Path | None) -> Loaded:
    from proxy.config.errors import ConfigError
    from proxy.config.load import load

    try:
        return load(path or _default_path(), os.environ)
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc


def _check_schema(loaded: Loaded) -> None:
    """Check the schema of PostgreSQL; a server that does not answer is only a warning, as it is later."""
    from proxy.core.location import locate

    location = locate(loaded.process.store, loaded.process.data_dir)
    if location is None or location.kind == "sqlite":  # whose schema is migrated when the file is opened
        return
    from proxy.store.errors import StoreUnavailable
    from proxy.store.migrate import state_of

    try:
        _, problem = asyncio.run(state_of(location))
    except StoreUnavailable as exc:
        click.echo(f"warning: {exc}", err=True)
        return
    if problem is not None:
        raise click.ClickException(f"{location.name}: {problem}")


def _check_connections(loaded: Loaded) -> None:
    """Find proxies of the environment and a `state` that cannot be used, which building the service would find."""
    from proxy.components import network_of, state_of
    from proxy.config.errors import ConfigError
    from proxy.core.clock import SystemClock

    try:
        network_of(os.environ)
        state_of(loaded.process, SystemClock())
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc


def _warn(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
