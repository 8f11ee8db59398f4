"""The composition root: builds the service from a configuration.

Each folder has an assembly that builds its components and returns the parts that others use. There are no globals and
no lookups: constructors take their dependencies. Tests replace the clock, randomness and the network through `Parts`;
everything else is real.
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
from proxy.admission.gate import Gate
from proxy.admission.identify import Identify, IdentifyNone
from proxy.admission.limits import ClientLimits
from proxy.admission.memory import memory_source
from proxy.admission.watermark import Watermark
from proxy.agents import StoredAgents
from proxy.arrival import run_off_loop
from proxy.capacity.budgets import FailOpen
from proxy.classifier import AskingClassifier
from proxy.components import (
    background_of,
    callers_of,
    ledger_of,
    network_of,
    provider_keys_of,
    state_of,
    storage_of,
    store_of,
    watch,
)
from proxy.config.apart import pickled
from proxy.config.loaded import Loaded
from proxy.config.watch import Watcher
from proxy.core.clock import Clock, SystemClock
from proxy.dialogs.turns import StoredTurns
from proxy.http.assembly import build_http, client_limits
from proxy.http.reading import BodyReader
from proxy.internal_calls import InternalCalls
from proxy.learning.memory import LearningMemory
from proxy.learning.service import Learning
from proxy.ledger.spending import PastSpending
from proxy.mock.upstream import MockUpstream
from proxy.observe.metrics import Metrics
from proxy.overrides import ModelOverrides
from proxy.pipeline import Pipeline
from proxy.prompts import StoredPrompts
from proxy.reload import Configuration, Reloader
from proxy.routing.router import Router
from proxy.routing.tokens import token_counter
from proxy.settle.access import AccessLine, log_access
from proxy.settle.call_logs import FOLDER as LOGS
from proxy.settle.call_logs import CallLogs
from proxy.settle.settle import Settler
from proxy.store.agents import AgentStore
from proxy.store.dialogs import DialogStore
from proxy.store.learning import LearningStore
from proxy.store.ledger import LedgerStore
from proxy.store.models import ModelStore
from proxy.store.prompts import PromptStore
from proxy.upstream.assembly import build_upstream
from proxy.upstream.fetch import fetch
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
    refresh: Callable[[Loaded | None], None]  # before it serves: the last configuration of other workers, if any


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
    parts, process = parts or Parts(), loaded.process
    clock, server = parts.clock, process.server
    live = Configuration(loaded, member.workers if member else 1)
    metrics = Metrics()
    logs = CallLogs(Path(process.data_dir) / LOGS, clock)
    network = network_of(environ)
    state = state_of(process, clock)
    gate = Gate(live)
    store = store_of(live, gate, clock, parts.rng)
    database = store.database if store else None
    records = LedgerStore(database) if database else None
    provider_keys = provider_keys_of(database, process, clock)
    ledger = ledger_of(records, process, clock) if records else None
    settler = Settler(metrics, clock, live, parts.write_access, logs, ledger.recorder if ledger else None)
    upstream = build_upstream(
        live,
        state,
        outside=parts.transport or network,
        local=MockUpstream(clock),
        clock=clock,
        rng=parts.rng,
        count=settler.probed,
        ledger=ledger.recorder if ledger else None,
        state_path=Path(process.data_dir) / STATE_FILE,
        own_secrets=process.secrets,
        pulse=parts.pulse,
        past=PastSpending(ledger.writer, ledger.journal, records, clock) if ledger and records else None,
        fail_open=FailOpen(state=not process.state_required, store=not process.store_required),
        read_only=member is not None and member.index > 0,
        key_source=provider_keys if live.snapshot.auth.mode != "none" else None,
    )
    callers = callers_of(live, database, partial(fetch, parts.transport or network), clock)
    identify: Identify = callers or IdentifyNone()
    memory = memory_source(server.memory_watermark, member.board.processes if member else _own_process)
    watermark = Watermark(memory, gate, clock) if memory else None
    router = Router(
        upstream.slots,
        count=token_counter(environ.get("TIKTOKEN_CACHE_DIR")),
        off_loop=run_off_loop,
        family_in_memory=upstream.dialects.family_in_memory,
        warm=upstream.warm.find,
        room=upstream.budgets.room,
    )
    internal_calls = InternalCalls(
        plan=router.route,
        health=upstream.slots.health_of,
        executor=upstream.executor,
        clock=clock,
        count_attempt=settler.probed,
        ledger=ledger.recorder if ledger else None,
    )
    router.llm = classifier = AskingClassifier(calls=internal_calls, clock=clock)
    metrics.watch(classifier.families)
    prompts = StoredPrompts(PromptStore(database), clock) if database else None
    router.note = prompts.note if prompts else None
    learning_store = LearningStore(database) if database else LearningMemory()
    learning = Learning(learning_store, live, router, clock, internal_calls, state.is_degraded)
    router.explore = learning.explore
    metrics.watch(learning.judge.families if learning.judge else list)
    settler.answered, settler.named = (upstream.warm.note, learning.answered), learning.named
    turns = StoredTurns(DialogStore(database, clock), clock) if database else None
    background = background_of(database, clock)
    reloader = Reloader(live, upstream, metrics)
    agent_store = AgentStore(database, clock) if database else None
    agents = StoredAgents(agent_store, live, reloader, clock)
    pipeline = Pipeline(
        live=live,
        router=router,
        identify=identify,
        gate=gate,
        limits=ClientLimits(state.counters, live.workers),
        executor=upstream.executor,
        watch=learning.watch,
        settler=settler,
        clock=clock,
        turns=turns,
        background=background,
        agents=agents,
    )

    watch(
        metrics,
        upstream=upstream,
        state=state,
        store=store,
        ledger=ledger,
        callers=callers,
        memory=(watermark, gate) if watermark else None,
    )
    metrics.initialise(live.snapshot)

    overrides = ModelOverrides(ModelStore(database, clock), live, reloader, clock) if database else None
    ask = member.ask if member else None
    limits = client_limits(server, watermark)
    own_keys = OwnKeyService(
        live, provider_keys, upstream.own_keys, ask or _no_answers, registered=live.snapshot.auth.mode == "keys"
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
            learning=learning,
            storage=storage_of(database, records, overrides, agents, live, callers, clock),
            budgets=upstream.budgets,
        ),
        identify,
    )

    def take(loaded: Loaded) -> None:
        reloader.take(loaded)
        if member:
            member.loaded(pickled(loaded))

    watcher = Watcher(
        loaded.path,
        environ,
        clock=clock,
        on_load=take,
        on_error=reloader.keep,
        prepare=reloader.prepare,
        loaded=loaded,
    )
    services = [
        background,
        watcher,
        logs,
        *state.services,
        *upstream.services,
        watermark,
        overrides,
        callers,
    ]
    services += [agents if database else None, turns, prompts, learning, learning.judge]
    if state.client:
        from proxy.shared_routing import SharedRouting  # only where the state is shared

        services.append(SharedRouting(state.client, upstream.warm, router.calibration, clock))
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
        ledger=records,
        database=database,
        background=background,
        prompts=prompts,
        learning=learning,
        clock=clock,
        own_keys=own_keys,
        agents=agents,
        start=[each.start for each in (state, upstream, store, overrides, agents, ledger, learning) if each],
        services=[each for each in services if each],
        close=[network.aclose, *([database.close] if database else [])],
    )
    if member:
        member.answers |= {**edge.answers, **admin.answers, **own_keys.answers}
    return Service(edge.asgi, gate, watcher.reload, watcher.refresh)


def _own_process() -> Iterable[int | str]:
    return ("self",)


async def _no_answers(topic: str, body: str = "") -> list[str]:
    """Return the answers of the other workers: there are none."""
    return []
