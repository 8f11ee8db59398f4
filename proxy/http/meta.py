"""The endpoints about the service itself: models, routing without a call, probes, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admission.gate import Gate, InterruptibleTask, leaving
from proxy.admission.permissions import PRINCIPAL
from proxy.arrival import run_off_loop
from proxy.capacity.queue import FairQueue
from proxy.core.agents import AgentFinder, UnknownAgent
from proxy.core.call import Call
from proxy.core.json_text import compact_nulled
from proxy.core.plan import Plan
from proxy.core.snapshot import Live
from proxy.http.exchange import Ids
from proxy.http.google_models import google_model, google_page
from proxy.http.model_list import model_object, model_page
from proxy.http.reading import BodyReader
from proxy.observe.metrics import Metrics
from proxy.routing.classify.strongest import with_words
from proxy.routing.permitted import model_for, names_for
from proxy.routing.router import Router
from proxy.surfaces.any_shape import read_any_shape
from proxy.surfaces.headers import sane_id
from proxy.surfaces.shapes import is_google

CONFIG_REJECTED = "The newest configuration was rejected; the previous one stays active. The log has the reason."


class Meta:
    """The endpoints; none of them changes anything."""

    def __init__(
        self,
        *,
        live: Live,
        router: Router,
        gate: Gate,
        queue: FairQueue,
        metrics: Metrics,
        ids: Ids,
        read: BodyReader,
        is_admin: Callable[[Request], bool],
        routed: Callable[[Call, Plan], None],
        agents: AgentFinder,
        ask: Callable[[str], Awaitable[list[str]]] | None = None,
    ) -> None:
        self._live = live
        self._router = router
        self._gate = gate
        self._queue = queue
        self._metrics = metrics
        self._ids = ids
        self._read = read
        self._is_admin = is_admin
        self._routed = routed  # takes decisions that may be judged later
        self._agents = agents
        self._ask = ask  # asks the other workers for their metrics; `None` without workers

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`, `GET /v1beta/models`: what the caller may use."""
        names = names_for(self._live.snapshot, request.scope[PRINCIPAL])
        if is_google(request.scope["path"], request.scope["headers"]):
            return JSONResponse(google_page(names, request.query_params))
        return JSONResponse(model_page(names, request.query_params))

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{id}`, `GET /v1beta/models/{id}`; ids contain slashes."""
        name = model_for(self._live.snapshot, request.path_params["id"], request.scope[PRINCIPAL])
        if is_google(request.scope["path"], request.scope["headers"]):
            return JSONResponse(google_model(name))
        return JSONResponse(model_object(name))

    async def route(self, request: Request) -> Response:
        """`POST /v1/route`: the decision record of a body in any format, and the strongest words, without a call."""
        task = InterruptibleTask()
        self._gate.enter(task)
        try:
            return await self._decide(request)
        except asyncio.CancelledError:
            if not task.recover():
                raise
            raise leaving() from None
        finally:
            self._gate.leave(task)

    async def _decide(self, request: Request) -> Response:
        raw = await self._read(request)
        headers = dict(request.headers)
        own = self._ids.new()
        request_id = sane_id(headers.get("x-request-id")) or own
        read = partial(
            read_any_shape,
            raw,
            headers,
            id=own,
            request_id=request_id,
            snapshot=self._live.snapshot,
            principal=request.scope[PRINCIPAL],
        )
        try:
            call = await run_off_loop(read, len(raw))
        except UnknownAgent as unknown:
            await self._agents.find(unknown, request.scope[PRINCIPAL])
            call = await run_off_loop(partial(read, snapshot=self._live.snapshot), len(raw))
        plan = await self._router.route(call, ask=False)
        self._routed(call, plan)
        body = {"id": own, **with_words(plan.decision, call), "attempts": [], "cost_usd": None}
        return Response(compact_nulled(body), 200, {"x-router-id": own, "x-request-id": request_id}, "application/json")

    async def livez(self, request: Request) -> Response:
        """`GET /livez`: respond while the event loop runs."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """`GET /readyz`: whether new calls are accepted, and whether the newest configuration was rejected."""
        gate = self._gate
        status = "draining" if gate.closed else "overloaded" if gate.shedding else "ok"
        state: dict[str, Any] = {"status": status, "config": self._live.snapshot.version}
        if error := self._live.error:
            state["config_error"] = error if self._is_admin(request) else CONFIG_REJECTED
        return JSONResponse(state, 200 if status == "ok" else 503)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`: the sums over all workers."""
        others = [] if self._ask is None else await self._ask(await self.answer())
        self._read_metrics()
        exports = [export.encode() for export in others]
        accept = request.headers.get("accept", "")
        # in a thread: thousands of series must not keep calls waiting
        text, content_type = await asyncio.to_thread(self._metrics.exposition, exports, accept)
        return Response(text, headers={"content-type": content_type})

    async def answer(self, _: str = "") -> str:
        """Return the metrics of this process for the answer of another worker."""
        self._read_metrics()
        return (await asyncio.to_thread(self._metrics.export)).decode()

    def _read_metrics(self) -> None:
        self._metrics.inflight.set(self._gate.inside)
        self._metrics.queue_depth.set(self._queue.depth)
        self._metrics.read()
