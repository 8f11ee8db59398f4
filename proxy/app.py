"""The composition root: builds the service from a configuration.

Each room has an assembly that builds it and returns the parts that others use. There are no globals and no lookups:
constructors take their dependencies. Tests replace the clock, randomness and the network through `Parts`; everything
else is real.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from proxy.admin.assembly import build_admin
from proxy.admin.endpoint import Context
from proxy.admin.storage import Storage
from proxy.admission.callers import IdentifyCallers
from proxy.admission.gate import Gate
from proxy.admission.identify import Identify, IdentifyNone
from proxy.admission.jwks import Fetch
from proxy.admission.keys import IssuedKey, Peppers
from proxy.admission.limits import ClientLimits
from proxy.admission.memory import memory_source
from proxy.admission.watermark import Watermark, memory_families
from proxy.arrival import run_off_loop
from proxy.capacity.budgets import FailOpen
from proxy.capacity.state import State, build_state
from proxy.config.errors import ConfigError, Problem
from proxy.config.load import Loaded
from proxy.config.settings.schema import Settings
from proxy.config.watch import Watcher
from proxy.core.clock import Clock, SystemClock
from proxy.core.location import locate
from proxy.http.assembly import build_http, client_limits
from proxy.http.reading import BodyReader
from proxy.ledger.assembly import BuiltLedger, build_ledger
from proxy.ledger.spending import PastSpending
from proxy.mock.upstream import MockUpstream
from proxy.observe.live import key_look_ups
from proxy.observe.live import state as state_family
from proxy.observe.live import store as store_family
from proxy.observe.metrics import Metrics
from proxy.observe.process import process_families
from proxy.overrides import ModelOverrides
from proxy.pipeline import Pipeline
from proxy.reload import Configuration, Reloader
from proxy.routing.router import Router
from proxy.routing.tokens import token_counter
from proxy.settle.access import AccessLine, log_access
from proxy.settle.call_logs import FOLDER as LOGS
from proxy.settle.call_logs import CallLogs
from proxy.settle.settle import Settler
from proxy.store.accounts import Accounts
from proxy.store.assembly import Store, build_store
from proxy.store.audit_log import AuditLog
from proxy.store.database import Database
from proxy.store.envelope import Envelope
from proxy.store.errors import StoreUnavailable
from proxy.store.ledger import LedgerStore
from proxy.store.models import ModelStore
from proxy.store.provider_keys import ProviderKeys
from proxy.upstream.assembly import build_upstream
from proxy.upstream.fetch import fetch
from proxy.upstream.network import Network
from proxy.upstream.own_key_service import OwnKeyService
from proxy.upstream.pulse import Pulse
from proxy.upstream.transport import Transport

if TYPE_CHECKING:  # one process needs no workers
    from proxy.workers.member import Member

STATE_FILE = "state.json"


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
    parts, settings = parts or Parts(), loaded.settings
    clock, server = parts.clock, settings.server
    live = Configuration(loaded, member.workers if member else 1)
    metrics = Metrics()
    logs = CallLogs(Path(settings.data_dir) / LOGS, clock)
    settler = Settler(metrics, clock, live, parts.write_access, logs)
    network = network_of(environ)
    state = _state(settings, clock)
    gate = Gate(live)
    store = _store(settings, live, gate, parts)
    database = store.database if store else None
    provider_keys = _provider_keys(database, settings, clock)
    ledger = _ledger(database, settings, clock) if database else None
    upstream = build_upstream(
        live,
        state,
        outside=parts.transport or network,
        local=MockUpstream(clock),
        clock=clock,
        rng=parts.rng,
        count=settler.probed,
        ledger=ledger.recorder if ledger else None,
        state_path=Path(settings.data_dir) / STATE_FILE,
        own_secrets=settings.auth.secrets(),
        pulse=parts.pulse,
        past=PastSpending(ledger.writer, LedgerStore(database), clock) if ledger and database else None,
        fail_open=FailOpen(
            state=settings.dependencies.state.fail == "open", store=settings.dependencies.store.fail == "open"
        ),
        read_only=member is not None and member.index > 0,
        key_source=provider_keys if settings.auth.mode != "none" else None,
    )
    callers = _callers(live, database, partial(fetch, parts.transport or network), clock)
    identify: Identify = callers or IdentifyNone()
    memory = memory_source(server.memory_watermark, member.board.processes if member else _own_process)
    watermark = Watermark(memory, gate, clock) if memory else None
    router = Router(upstream.slots, count=token_counter(environ.get("TIKTOKEN_CACHE_DIR")), off_loop=run_off_loop)
    pipeline = Pipeline(
        live=live,
        router=router,
        identify=identify,
        gate=gate,
        limits=ClientLimits(state.counters, live.workers),
        executor=upstream.executor,
        settler=settler,
        clock=clock,
        ledger=ledger.recorder if ledger else None,
    )

    metrics.watch(upstream.families)
    metrics.watch(process_families)
    if client := state.client:
        metrics.watch(lambda: [state_family(degraded=not client.available)])
    if store:
        metrics.watch(lambda: [store_family(degraded=store.database.degraded)])
    if callers and (accounts := callers.accounts):
        metrics.watch(lambda: [key_look_ups(accounts.look_ups)])
    if watermark:
        metrics.watch(partial(memory_families, watermark, gate))
    if ledger:
        metrics.watch(ledger.families)
    metrics.initialise(live.snapshot)

    reloader = Reloader(live, upstream, metrics)
    overrides = ModelOverrides(ModelStore(database, clock), live, reloader, clock) if database else None
    ask = member.ask if member else None
    limits = client_limits(server, watermark)
    own_keys = OwnKeyService(
        live, provider_keys, upstream.own_keys, ask or _no_answers, registered=settings.auth.mode == "keys"
    )
    admin = build_admin(
        Context(
            live=live,
            health=upstream.health,
            limits=upstream.limits,
            queue=upstream.queue,
            simulator=upstream.simulator,
            config=live.shown,
            read=BodyReader(limits),
            ask=ask or _no_answers,
            own_keys=own_keys,
            storage=_storage(database, overrides, live, callers, clock),
            budgets=upstream.budgets,
        ),
        identify,
    )
    watcher = Watcher(loaded.path, environ, clock=clock, on_load=reloader.take, on_error=reloader.keep, loaded=loaded)
    services = [watcher, logs, *state.services, *upstream.services, watermark, overrides, callers and callers.accounts]
    services += [*(ledger.services if ledger else ()), *(store.services if store else ())]
    edge = build_http(
        live,
        pipeline,
        router=router,
        identify=identify,
        gate=gate,
        queue=upstream.queue,
        metrics=metrics,
        admin=admin.guard,
        limits=limits,
        server=server,
        host=host or server.host,
        ask=ask,
        ledger=LedgerStore(database) if database else None,
        clock=clock,
        own_keys=own_keys,
        start=[each.start for each in (state, upstream, store, overrides, ledger) if each],
        services=[each for each in services if each],
        close=[network.aclose, *([database.close] if database else [])],
    )
    if member:
        member.answers |= {**edge.answers, **admin.answers, **own_keys.answers}
    return Service(edge.asgi, gate, watcher.reload, watcher.check)


def _store(settings: Settings, live: Configuration, gate: Gate, parts: Parts) -> Store | None:
    location = locate(settings.store, settings.data_dir)
    if location is None:
        return None
    return build_store(
        location,
        retention=lambda: live.settings.logs.retention,
        required=settings.dependencies.store.fail == "closed",
        eager=settings.auth.mode != "none",
        on_change=lambda degraded: gate.without_store(on=degraded),
        clock=parts.clock,
        rng=parts.rng,
    )


def _ledger(database: Database, settings: Settings, clock: Clock) -> BuiltLedger:
    """Build the ledger over a database."""
    store, closed = LedgerStore(database), settings.dependencies.store.fail == "closed"
    return build_ledger(Path(settings.data_dir), store, clock, unavailable=StoreUnavailable, closed=closed)


def network_of(environ: Mapping[str, str]) -> Network:
    """Return the real network. Raises `ConfigError` if an environment variable is invalid."""
    try:
        return Network(environ)
    except ValueError as exc:
        raise ConfigError([Problem("environment", None, "", str(exc))]) from None


def _state(settings: Settings, clock: Clock) -> State:
    """Return the state of limits. Raises `ConfigError` if its URL is not valid."""
    try:
        return build_state(settings.state, clock, fail_open=settings.dependencies.state.fail == "open")
    except ValueError as exc:
        raise ConfigError([Problem("configuration", None, "state", str(exc))]) from None


def _callers(live: Configuration, database: Database | None, fetch: Fetch, clock: Clock) -> IdentifyCallers | None:
    """Return what identifies callers; `None` if they are anonymous."""
    if live.snapshot.auth.mode == "none":
        return None
    accounts = Accounts(database, clock) if database else None
    return IdentifyCallers(live, accounts, fetch, clock, share=1 / live.workers)


def _provider_keys(database: Database | None, settings: Settings, clock: Clock) -> ProviderKeys | None:
    """Return users' own provider keys; `None` without a store or an encryption key."""
    current = settings.auth.encryption_key
    if database is None or current is None:
        return None
    keys = [key.get_secret_value() for key in (current, *settings.auth.previous_encryption_keys)]
    return ProviderKeys(database, Envelope(keys), clock)


def _storage(
    database: Database | None,
    overrides: ModelOverrides | None,
    live: Configuration,
    callers: IdentifyCallers | None,
    clock: Clock,
) -> Storage | None:
    """Return what the admin API uses of the store."""
    if database is None or overrides is None:
        return None
    return Storage(
        accounts=Accounts(database, clock),
        ledger=LedgerStore(database),
        audit=AuditLog(database),
        overrides=overrides,
        now=clock.time,
        issue=partial(_issue, live) if live.snapshot.auth.peppers else None,
        forget=callers.forget if callers else lambda: None,
        counts_shared=live.workers == 1 or live.settings.state != "memory",
    )


def _issue(live: Configuration) -> IssuedKey:
    """Return a new key under the pepper in force."""
    return Peppers(live.snapshot.auth.peppers).issue()


def _own_process() -> Iterable[int | str]:
    return ("self",)


async def _no_answers(topic: str, body: str = "") -> list[str]:
    """Return the answers of the other workers: there are none."""
    return []
