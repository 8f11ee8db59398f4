"""`GET /admin/breakers` and `POST /admin/breakers/reset`: circuit breakers, and how to close them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.bodies import read_body
from proxy.admin.endpoint import Answer, Context, reads, writes
from proxy.admin.pages import page
from proxy.admin.values import Body

RESET = "reset"  # the topic of a question to other workers


class ResetBody(Body):
    """A selection of breakers to close; an omitted field matches all."""

    provider: str | None = None
    model: str | None = None
    key: str | None = None


class Breakers:
    """The endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/breakers", self.list), writes("POST", "/breakers/reset", self.reset)]
        self.answers: dict[str, Answer] = {RESET: self.answer}

    async def list(self, request: Request) -> Response:
        """`GET /admin/breakers`: the breakers of the configured providers."""
        known = self._context.live.snapshot.providers
        rows = [
            {"id": f"{row['provider']}/{row['model']}#{row['key']}", **row}
            for row in self._context.health.breaker_rows()
            if row["provider"] in known
        ]
        return JSONResponse(page(request, rows))

    async def reset(self, request: Request) -> Response:
        """`POST /admin/breakers/reset`: close breakers and end cooldowns of keys, in all workers."""
        raw = await self._context.read(request)
        count = self._reset(raw)
        count += sum(int(answer or 0) for answer in await self._context.ask(RESET, raw.decode()))
        return JSONResponse({"reset": count})

    async def answer(self, body: str) -> str:
        """Do what another worker was asked for, and return the number of closed breakers and ended cooldowns."""
        return str(self._reset(body.encode()))

    def _reset(self, raw: bytes) -> int:
        body = read_body(ResetBody, raw if raw.strip() else b"{}")
        self._context.limits.reset(body.provider, body.model, body.key)
        return self._context.health.reset(body.provider, body.model, body.key)
