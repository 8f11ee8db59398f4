"""What the tests of admin endpoints need: a context with everything in it, and a client behind the guard."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount

from proxy.admin.assembly import build_admin
from proxy.admin.endpoint import Context
from proxy.admission.identify import Identify, IdentifyNone
from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.queue import FairQueue
from proxy.core.auth import AuthMode, AuthPolicy
from proxy.core.errors import ProxyError
from proxy.core.snapshot import Live
from proxy.learning.memory import LearningMemory
from proxy.learning.service import Learning
from proxy.routing.router import Router
from proxy.surfaces.openai.errors import error_body
from proxy.upstream.health import Health
from proxy.upstream.own_key_service import OwnKeyService
from proxy.upstream.simulate import Simulator
from tests.support.fakes import FakeClock
from tests.unit.routing.build import FixedHealth

TOKEN = "secret"


def context(live: Live) -> Context:
    """The components of a service that has just been started."""
    clock = FakeClock()
    return Context(
        live=live,
        health=Health(clock, live),
        limits=Limits(MemoryCounters(clock), clock, live),
        queue=FairQueue(clock, live),
        simulator=Simulator(clock, random.Random(1)),
        config=lambda: {"models": []},
        read=Request.body,
        ask=_no_answers,
        own_keys=OwnKeyService(live, None, None, _no_answers),
        learning=Learning(LearningMemory(), live, Router(FixedHealth()), clock),
    )


@asynccontextmanager
async def serving(
    of: Context, token: str | None = TOKEN, identify: Identify | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the admin API."""
    mode: AuthMode = "none" if identify is None else "keys"
    of.live.snapshot = replace(of.live.snapshot, auth=AuthPolicy(mode, admin_token=token))
    app = Starlette(
        routes=[Mount("/admin", build_admin(of, identify or IdentifyNone()).guard)],
        exception_handlers={ProxyError: _proxy_error},
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box") as client:
        yield client


async def _no_answers(topic: str, body: str) -> list[str]:
    return []


async def _proxy_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ProxyError)
    return JSONResponse(json.loads(error_body(exc)), exc.http_status)
