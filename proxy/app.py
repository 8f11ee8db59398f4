"""The composition root: builds the service from a configuration and connects its components.

There are no globals and no lookups: constructors take their dependencies. Tests replace the clock, randomness and the
network through `Parts`; everything else is real.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.types import ASGIApp

from proxy.admin.access import AdminAccess
from proxy.admin.simulate import Simulate
from proxy.admin.state import State
from proxy.admission.gate import Gate
from proxy.admission.memory import memory_source
from proxy.admission.watermark import Watermark, memory_families
from proxy.arrival import run_off_loop
from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.queue import FairQueue
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.errors import ConfigError, Problem
from proxy.config.load import Loaded
from proxy.config.settings.redact import redacted
from proxy.config.settings.schema import Settings
from proxy.config.settings.server import ServerSettings
from proxy.config.watch import Watcher
from proxy.core.clock import Clock, SystemClock
from proxy.core.dialects import DIALECTS, DialectName
from proxy.core.retry_budget import RetryBudget
from proxy.core.slow import SlowCalls
from proxy.core.snapshot import Snapshot
from proxy.dialects.table import Dialects
from proxy.http.browsers import Browsers, is_loopback
from proxy.http.callers import Callers
from proxy.http.cors import Cors
from proxy.http.exchange import Endpoint
from proxy.http.forwarded import Forwarded
from proxy.http.guard import Guard
from proxy.http.ids import Ids
from proxy.http.meta import Meta
from proxy.http.reading import BodyReader
from proxy.http.reading import Limits as Costs
from proxy.http.routes import error_handlers, routes
from proxy.mock.upstream import MockUpstream
from proxy.observe.exposition import METRICS
from proxy.observe.metrics import Metrics
from proxy.pipeline import Pipeline
from proxy.reload import Current, Reloader, share_of_calls
from proxy.routing.router import Router
from proxy.routing.tokens import token_counter
from proxy.settle.access import AccessLine, log_access
from proxy.settle.settle import Settler
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.openai.endpoints import PASSED, read_passed
from proxy.upstream.attempt import Attempts
from proxy.upstream.executor import Executor
from proxy.upstream.health import Health
from proxy.upstream.hedge import Hedge
from proxy.upstream.identity import identities
from proxy.upstream.network import Network
from proxy.upstream.persist import StateFile
from proxy.upstream.probe_requests import ProbeRequests
from proxy.upstream.probes import Prober
from proxy.upstream.pulse import Pulse
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Simulator
from proxy.upstream.slots import Slots
from proxy.upstream.transport import Transport

if TYPE_CHECKING:  # one process needs no workers
    from proxy.workers.member import Member

STATE_FILE = "state.json"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The replaceable dependencies: time, randomness, the network and the access log."""

    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    transport: Transport | None = None  # `None` uses the real network
    pulse: Pulse | None = None  # `None` derives it from the clock
    write_access: Callable[[AccessLine], None] = log_access


@dataclass(frozen=True, slots=True)
class Service:
    """A built service: the ASGI application, and the handles that the server needs."""

    asgi: ASGIApp
    gate: Gate
    reload: Callable[[], None]  # soon
    refresh: Callable[[], None]  # at once, before it serves


@dataclass(frozen=True, slots=True)
class Upstream:
    """The components that execute a plan."""

    executor: Executor
    health: Health
    slots: Slots
    limits: Limits
    queue: FairQueue
    budget: RetryBudget
    prober: Prober
    pulse: Pulse
    simulator: Simulator
    state: StateFile
    network: Network
    dialects: Dialects

    def adopt(self, snapshot: Snapshot) -> None:
        """Apply another configuration and keep the collected state."""
        self.dialects.prepare(provider.dialect for provider in snapshot.providers.values())
        self.health.policy, self.health.rules = snapshot.breaker, snapshot.failures
        self.health.identities = identities(snapshot)
        self.limits.deployments = snapshot.deployments
        self.queue.size = snapshot.queue.size
        self.budget.share, self.budget.floor = snapshot.retry.share, snapshot.retry.floor
        self.queue.notify()  # limits may have changed


def build(
    loaded: Loaded,
    environ: Mapping[str, str],
    parts: Parts | None = None,
    *,
    host: str | None = None,
    member: Member | None = None,
) -> Service:
    """Build the service; `host` overrides `server.host`, `member` is this process as a worker of several.

    Raises `ConfigError` if the configuration is invalid.
    """
    parts = parts or Parts()
    clock = parts.clock
    settings, token = loaded.settings, loaded.settings.auth.admin_token
    current = Current(loaded, compile_snapshot(settings))

    metrics, ids, callers = Metrics(), Ids(), Callers()
    settler = Settler(metrics, clock, parts.write_access, access_log=settings.logs.access)
    upstream = _upstream(current, parts, settler, network_of(environ))
    upstream.adopt(current.snapshot)
    health, queue = upstream.health, upstream.queue
    metrics.watch_breakers(health.breaker_rows, lambda: current.snapshot.deployments, lambda: health.identities)
    metrics.watch_retries(lambda: upstream.budget.refused)
    metrics.watch_cooldowns(health.cooldown_rows, lambda: current.snapshot)
    metrics.watch_providers(lambda: current.snapshot)
    metrics.watch_process(lambda: upstream.pulse.lag)
    metrics.initialise(current.snapshot)
    workers = member.workers if member else 1
    gate = Gate(share_of_calls(settings, workers))
    processes: Callable[[], Iterable[int | str]] = member.board.processes if member else lambda: ("self",)
    memory = memory_source(settings.server.memory_watermark, processes)
    watermark = Watermark(memory, gate, clock) if memory else None
    if watermark:
        metrics.watch(partial(memory_families, watermark, gate))
    router = Router(upstream.slots, count=token_counter(environ.get("TIKTOKEN_CACHE_DIR")), off_loop=run_off_loop)
    pipeline = Pipeline(
        snapshot=lambda: current.snapshot,
        router=router,
        gate=gate,
        executor=upstream.executor,
        settler=settler,
        clock=clock,
    )

    costs = Costs(
        max_body=settings.server.max_body,
        body_silence=settings.server.header_timeout,
        write_stall=settings.server.write_stall,
        keep_alive=settings.server.stream_keep_alive,
        early_comments=settings.server.early_comments,
        watermark=watermark,
    )
    read = BodyReader(costs)
    proxied = {"/v1/chat/completions": Endpoint(pipeline, read_chat, costs, ids, callers)}
    for endpoint in PASSED:
        read_call = partial(read_passed, endpoint)
        proxied[f"/v1{endpoint.path}"] = Endpoint(pipeline, read_call, costs, ids, callers)
    access = AdminAccess(token.get_secret_value() if token else None)
    meta = Meta(
        snapshot=lambda: current.snapshot,
        router=router,
        gate=gate,
        waiting=lambda: queue.depth,
        metrics=metrics,
        ids=ids,
        read=read,
        config_error=lambda: current.error,
        check_admin=access.check,
    )
    admin = State(
        access=access,
        snapshot=lambda: current.snapshot,
        health=health,
        limits=upstream.limits,
        queues=lambda: [asdict(row) for row in queue.rows()],
        config=lambda: redacted(_in_force(current.loaded.settings, settings)),
        read=read,
    )

    simulate = Simulate(
        access=access,
        simulator=upstream.simulator,
        snapshot=lambda: current.snapshot,
        testing=lambda: current.loaded.settings.testing,
        read=read,
    )

    if member:
        _join(member, upstream, meta, admin, simulate)
    reloader = Reloader(current, upstream, gate=gate, settler=settler, metrics=metrics, workers=workers)
    watcher = Watcher(loaded.path, environ, clock=clock, on_load=reloader.take, on_error=reloader.keep, loaded=loaded)
    app = Starlette(
        routes=routes(proxied=proxied, meta=meta, admin=admin, simulate=simulate),
        exception_handlers=error_handlers(ids, admin, meta),
        lifespan=_lifespan(watcher, upstream, watermark),
    )
    app.router.redirect_slashes = False
    return Service(
        _guarded(app, ids, settings.server, host or settings.server.host, proxied), gate, watcher.reload, watcher.check
    )


def _join(member: Member, upstream: Upstream, meta: Meta, admin: State, simulate: Simulate) -> None:
    """Let this worker and the others answer together for metrics and for what the admin API changes."""
    upstream.state.read_only = member.index > 0
    meta.others = partial(member.ask, METRICS)
    admin.others = partial(member.ask, "reset")
    simulate.others = partial(member.ask, "simulate")
    member.answers |= {METRICS: meta.answer, "reset": admin.answer, "simulate": simulate.answer}


def _guarded(app: ASGIApp, ids: Ids, server: ServerSettings, host: str, endpoints: Mapping[str, Endpoint]) -> Guard:
    """Wrap the application in the checks of `Host` and origin."""
    cors = server.cors
    return Guard(
        app,
        ids,
        Browsers(server.hosts, cors.origins, loopback=is_loopback(host)),
        Cors(cors.headers, cors.max_age) if cors.origins else None,
        Forwarded(server.trusted_proxies) if server.trusted_proxies else None,
        endpoints,
    )


def network_of(environ: Mapping[str, str]) -> Network:
    """Return the real network. Raises `ConfigError` if an environment variable is invalid."""
    try:
        return Network(environ)
    except ValueError as exc:
        raise ConfigError([Problem("environment", None, "", str(exc))]) from None


def _upstream(current: Current, parts: Parts, settler: Settler, network: Network) -> Upstream:
    """Build the components that make attempts and track the health and limits of targets."""
    clock, snapshot, dialects = parts.clock, current.snapshot, Dialects(parts.clock)
    outside = parts.transport or network
    mock = MockUpstream(clock)
    transports: dict[DialectName, Transport] = {name: mock if row.local else outside for name, row in DIALECTS.items()}
    queue = FairQueue(clock, snapshot.queue.size)
    health = Health(clock, snapshot.breaker, snapshot.failures, notify=queue.notify)
    counters = MemoryCounters(clock)
    limits = Limits(counters, clock, notify=queue.notify)
    slots = Slots(health, limits, queue, clock)
    simulator, slow, pulse = Simulator(clock, parts.rng), SlowCalls(), parts.pulse or Pulse(clock)
    budget = RetryBudget(snapshot.retry.share, snapshot.retry.floor)
    cleaners = Cleaners(_own_secrets(current.loaded.settings))
    attempts = Attempts(
        transports=transports,
        dialects=dialects,
        slots=slots,
        simulator=simulator,
        slow=slow,
        pulse=pulse,
        cleaners=cleaners,
        clock=clock,
    )
    executor = Executor(
        attempts=attempts,
        health=health,
        slots=slots,
        budget=budget,
        hedge=Hedge(attempts, slots, slow=slow, budget=budget, clock=clock),
        clock=clock,
        rng=parts.rng,
    )
    requests = ProbeRequests(
        snapshot=lambda: current.snapshot,
        limits=limits,
        transports=transports,
        dialects=dialects,
        simulator=simulator,
        count=settler.probed,
        cleaners=cleaners,
        clock=clock,
    )
    prober = Prober(
        snapshot=lambda: current.snapshot,
        health=health,
        requests=requests,
        simulator=simulator,
        clock=clock,
        rng=parts.rng,
    )
    path = Path(current.loaded.settings.data_dir) / STATE_FILE
    state = StateFile(path, clock, lambda: current.snapshot, health=health, limits=limits, counters=counters)
    return Upstream(executor, health, slots, limits, queue, budget, prober, pulse, simulator, state, network, dialects)


def _own_secrets(settings: Settings) -> list[str]:
    """Return the proxy's own secrets, which are removed from answers like provider keys."""
    auth = settings.auth
    secrets = (auth.admin_token, auth.pepper, auth.encryption_key)
    return [secret.get_secret_value() for secret in secrets if secret is not None]


def _in_force(now: Settings, first: Settings) -> Settings:
    """Return the settings in effect: a reload applies all but `server` and `auth`, which need a restart."""
    server = first.server.model_copy(update={"max_in_flight": now.server.max_in_flight})
    return now.model_copy(update={"server": server, "auth": first.auth})


def _lifespan(
    watcher: Watcher, upstream: Upstream, watermark: Watermark | None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(upstream.network.aclose)
            await upstream.state.load()
            group = await stack.enter_async_context(asyncio.TaskGroup())
            services = [
                watcher.run(),
                upstream.prober.run(),
                upstream.pulse.run(),
                upstream.state.run(),
            ]
            if watermark:
                services.append(watermark.run())
            for task in [group.create_task(service) for service in services]:
                stack.callback(task.cancel)
            yield

    return lifespan
