"""The composition root: a configuration in, a service out. Read it to see what is connected to what.

Nothing is global and nothing is looked up: constructors say what they need. `Parts` is the seam by which a test
replaces a leaf; everything else is real.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
from starlette.applications import Starlette
from starlette.types import ASGIApp

from proxy.admin.access import AdminAccess
from proxy.admin.state import State
from proxy.admission.gate import Gate
from proxy.config.compile import compile_snapshot
from proxy.config.errors import ConfigError
from proxy.config.load import Loaded
from proxy.config.redact import redacted
from proxy.config.schema import Settings
from proxy.config.watch import Watcher
from proxy.core.clock import Clock, SystemClock
from proxy.core.recall import Recall
from proxy.core.types import DialectName, Snapshot
from proxy.dialects.anthropic.dialect import AnthropicDialect
from proxy.dialects.base import Dialect
from proxy.dialects.gemini.dialect import GeminiDialect
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.http.exchange import Exchange
from proxy.http.guard import HostGuard
from proxy.http.ids import Ids
from proxy.http.meta import Meta
from proxy.http.reading import BodyReader, Limits
from proxy.http.routes import error_handlers, routes
from proxy.observe.metrics import Metrics
from proxy.pipeline import Pipeline
from proxy.routing.router import plan
from proxy.routing.tokens import token_counter
from proxy.settle.settle import Settler
from proxy.surfaces.chat import read_chat
from proxy.surfaces.endpoints import PASSED, read_passed
from proxy.upstream.executor import Executor
from proxy.upstream.health import Health
from proxy.upstream.mock import MockUpstream
from proxy.upstream.transport import HttpTransport, Transport

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The leaves: where time, chance and the network come from."""

    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    transport: Transport | None = None  # None: the real network


@dataclass(slots=True)
class Current:
    """The configuration in force; a reload replaces what is in here, calls keep what they began with."""

    loaded: Loaded
    snapshot: Snapshot
    error: str | None = None  # why the newest file is not in force


@dataclass(frozen=True, slots=True)
class Service:
    """A built service: the ASGI application, and what the server needs to know of it."""

    asgi: ASGIApp
    gate: Gate
    reload: Callable[[], None]


def build(loaded: Loaded, environ: Mapping[str, str], parts: Parts | None = None) -> Service:
    """Connect everything. Raises `ConfigError` if the configuration cannot be compiled."""
    parts = parts or Parts()
    clock = parts.clock
    settings, token = loaded.settings, loaded.settings.auth.admin_token
    current = Current(loaded, compile_snapshot(settings))

    metrics, ids = Metrics(), Ids()
    health = Health(clock, current.snapshot.breaker)
    metrics.watch_breakers(health.breakers, lambda: current.snapshot.deployments)
    settler = Settler(metrics=metrics, clock=clock, access_log=settings.logs.access)
    gate = Gate(settings.server.max_in_flight)

    network = HttpTransport()
    passing, recall = OpenAIDialect(), Recall(clock)
    dialects: dict[DialectName, Dialect] = {
        "openai": passing,
        "anthropic": AnthropicDialect(recall, clock),
        "gemini": GeminiDialect(recall, clock),
        "mock": passing,
    }
    outside = parts.transport or network
    transports: dict[DialectName, Transport] = {
        "openai": outside,
        "anthropic": outside,
        "gemini": outside,
        "mock": MockUpstream(clock),
    }
    executor = Executor(transports=transports, dialects=dialects, health=health, clock=clock, rng=parts.rng)
    planner = partial(plan, count=token_counter(environ.get("TIKTOKEN_CACHE_DIR")))
    pipeline = Pipeline(
        snapshot=lambda: current.snapshot,
        planner=planner,
        gate=gate,
        executor=executor,
        health=health,
        settler=settler,
        clock=clock,
    )

    limits = Limits(
        max_body=settings.server.max_body,
        body_silence=settings.server.header_timeout,
        write_stall=settings.server.write_stall,
    )
    read = BodyReader(limits)
    proxied = {"/v1/chat/completions": Exchange(pipeline, read_chat, limits, ids, clock)}
    for endpoint in PASSED:
        proxied[f"/v1{endpoint.path}"] = Exchange(pipeline, partial(read_passed, endpoint), limits, ids, clock)
    meta = Meta(
        snapshot=lambda: current.snapshot,
        planner=planner,
        health=health,
        gate=gate,
        metrics=metrics,
        ids=ids,
        read=read,
        config_error=lambda: current.error,
    )
    admin = State(
        access=AdminAccess(token.get_secret_value() if token else None),
        snapshot=lambda: current.snapshot,
        health=health,
        config=lambda: redacted(_in_force(current.loaded.settings, settings)),
        read=read,
    )

    reloader = Reloader(current, health=health, gate=gate, settler=settler, metrics=metrics)
    watcher = Watcher(loaded.path, environ, clock=clock, on_load=reloader.take, on_error=reloader.keep, loaded=loaded)
    app = Starlette(
        routes=routes(proxied=proxied, meta=meta, admin=admin),
        exception_handlers=error_handlers(ids, admin),
        lifespan=_lifespan(watcher, network),
    )
    app.router.redirect_slashes = False
    return Service(HostGuard(app, ids), gate, watcher.reload)


def _changed_keys(before: Snapshot, now: Snapshot) -> Iterator[tuple[str, str]]:
    """Provider and id of each key that has another value than before."""
    for name, provider in now.providers.items():
        old = {key.id: key.value for key in before.providers[name].keys} if name in before.providers else {}
        for key in provider.keys:
            if key.id in old and old[key.id] != key.value:
                yield name, key.id


def _in_force(now: Settings, first: Settings) -> Settings:
    """The settings that serve: most of a reload counts at once, `server` and `auth` are those of the start."""
    server = first.server.model_copy(update={"max_in_flight": now.server.max_in_flight})
    return now.model_copy(update={"server": server, "auth": first.auth})


class Reloader:
    """Puts a changed configuration in force, or keeps the last good one and says so."""

    def __init__(self, current: Current, *, health: Health, gate: Gate, settler: Settler, metrics: Metrics) -> None:
        self._current = current
        self._health = health
        self._gate = gate
        self._settler = settler
        self._metrics = metrics

    def take(self, loaded: Loaded) -> None:
        """Swap. Raises `ConfigError`, and changes nothing, if it cannot be compiled."""
        snapshot = compile_snapshot(loaded.settings)
        before, outdated = self._current.loaded.settings, self._current.snapshot
        self._current.loaded, self._current.snapshot, self._current.error = loaded, snapshot, None
        self._health.policy = snapshot.breaker
        for provider, key in _changed_keys(outdated, snapshot):
            self._health.reset(provider, key=key)  # what was held against the old key is not the new one's fault
        self._gate.most = loaded.settings.server.max_in_flight
        self._settler.access_log = loaded.settings.logs.access
        self._metrics.reload_success.set(1)
        _LOG.info("configuration loaded", extra={"fields": {"version": snapshot.version}})
        for warning in loaded.warnings:
            _LOG.warning("configuration", extra={"fields": {"warning": warning}})
        if (loaded.settings.server, loaded.settings.auth) != (before.server, before.auth):
            _LOG.warning("`server` and `auth` take effect at the next start (`server.max_in_flight` at once)")

    def keep(self, error: ConfigError) -> None:
        """Say that the new configuration is not in force."""
        self._current.error = str(error)
        self._metrics.reload_success.set(0)
        _LOG.error("configuration refused, the last good one stays", extra={"fields": {"problems": str(error)}})


def _lifespan(watcher: Watcher, network: HttpTransport) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(network.aclose)
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(watcher.run)
            stack.callback(group.cancel_scope.cancel)
            yield

    return lifespan
