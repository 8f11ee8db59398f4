"""Assembly of the HTTP edge: the routes, and the checks before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.types import ASGIApp

from proxy.admission.gate import Gate
from proxy.admission.identify import Identify
from proxy.admission.watermark import Watermark
from proxy.background.service import BackgroundCalls
from proxy.capacity.queue import FairQueue
from proxy.core.agents import AgentFinder
from proxy.core.background import BackgroundService
from proxy.core.clock import Clock
from proxy.core.process import ServerPolicy
from proxy.core.snapshot import Live
from proxy.http.browsers import Browsers, is_loopback
from proxy.http.conversations import Conversations
from proxy.http.cors import Cors
from proxy.http.exchange import Endpoint, Ids, RunCall
from proxy.http.feedback import Feedback
from proxy.http.forwarded import Forwarded
from proxy.http.guard import Guard
from proxy.http.meta import Meta
from proxy.http.prompts import Prompts
from proxy.http.provider_keys import OwnProviderKeys
from proxy.http.reading import BodyReader, Limits
from proxy.http.responses import StoredResponses
from proxy.http.routes import AdminApp, error_handlers, routes
from proxy.http.usage import OwnUsage
from proxy.http.websocket.handshake import WebSocketResponses
from proxy.learning.service import Learning
from proxy.observe.exposition import METRICS
from proxy.observe.metrics import Metrics
from proxy.prompts import StoredPrompts
from proxy.routing.router import Router
from proxy.store.conversations import ConversationStore
from proxy.store.database import Database
from proxy.store.ledger import LedgerStore
from proxy.store.prompts import PromptStore
from proxy.store.responses import ResponseStore
from proxy.surfaces.table import SURFACES
from proxy.upstream.own_key_service import OwnKeyService

Answer = Callable[[str], Awaitable[str]]
Ask = Callable[[str, str], Awaitable[list[str]]]


def client_limits(server: ServerPolicy, watermark: Watermark | None) -> Limits:
    """Return the limits for one client."""
    return Limits(
        max_body=server.max_body,
        body_silence=server.header_timeout,
        write_stall=server.write_stall,
        keep_alive=server.stream_keep_alive,
        early_comments=server.early_comments,
        watermark=watermark,
    )


@dataclass(frozen=True, slots=True)
class Edge:
    """The HTTP edge."""

    asgi: ASGIApp
    answers: dict[str, Answer]  # to the questions of other workers, by topic


def build_http(
    live: Live,
    pipeline: RunCall,
    *,
    router: Router,
    identify: Identify,
    gate: Gate,
    queue: FairQueue,
    metrics: Metrics,
    admin: AdminApp,
    limits: Limits,
    server: ServerPolicy,
    host: str,
    ask: Ask | None,
    ledger: LedgerStore | None,
    database: Database | None,
    background: BackgroundCalls | None,
    prompts: StoredPrompts | None,
    learning: Learning,
    clock: Clock,
    own_keys: OwnKeyService,
    agents: AgentFinder,
    start: Sequence[Callable[[], Awaitable[None]]],
    services: Iterable[BackgroundService],
    close: Sequence[Callable[[], Awaitable[None]]],
) -> Edge:
    """Build it. `host` is the address on which the server listens; `ask` asks other workers, if there are any.

    Before the first request each of `start` is awaited, after the last one each of `close`; `services` run in between,
    and end in their order.
    """
    ids = Ids()
    meta = Meta(
        live=live,
        router=router,
        gate=gate,
        queue=queue,
        metrics=metrics,
        ids=ids,
        read=BodyReader(limits),
        is_admin=admin.admits,
        routed=learning.routed,
        agents=agents,
        ask=partial(ask, METRICS) if ask else None,
    )
    proxied = {path: Endpoint(pipeline, surface, limits, ids) for path, surface in SURFACES.items()}
    app = Starlette(
        routes=routes(
            proxied=proxied,
            websocket=WebSocketResponses(pipeline, limits, ids, clock.time),
            meta=meta,
            usage=OwnUsage(ledger, clock.time),
            provider_keys=OwnProviderKeys(own_keys, BodyReader(limits)),
            responses=StoredResponses(ResponseStore(database) if database else None, background, limits.keep_alive),
            conversations=Conversations(ConversationStore(database, clock) if database else None, BodyReader(limits)),
            feedback=Feedback(learning, BodyReader(limits)),
            prompts=Prompts(PromptStore(database) if database else None, prompts),
            identify=identify,
            admin=admin,
        ),
        exception_handlers=error_handlers(ids, meta),
        lifespan=_lifespan(start, services, close),
    )
    app.router.redirect_slashes = False
    cors = server.cors
    guard = Guard(
        app,
        ids,
        Browsers(server.hosts, cors.origins, loopback=is_loopback(host)),
        Cors(cors.headers, cors.max_age) if cors.origins else None,
        Forwarded(server.trusted_proxies) if server.trusted_proxies else None,
        proxied,
    )
    return Edge(guard, {METRICS: meta.answer})


def _lifespan(
    start: Sequence[Callable[[], Awaitable[None]]],
    services: Iterable[BackgroundService],
    close: Sequence[Callable[[], Awaitable[None]]],
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            for begin in start:
                await begin()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(service.run()) for service in services]
                yield
                for task in tasks:  # one after another: the last ones serve the others until these have ended
                    task.cancel()
                    await asyncio.wait([task])
        finally:
            for end in close:
                await end()

    return lifespan
