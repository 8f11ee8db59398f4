"""`POST /admin/simulate/failure`: simulates failures of a provider for a while. For tests and drills."""

from __future__ import annotations

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.bodies import read_body
from proxy.admin.endpoint import Answer, Context, writes
from proxy.admin.values import Body
from proxy.core.errors import InvalidRequest, NotFound
from proxy.upstream.simulate import Kind

LONGEST = 3600.0  # seconds
SIMULATE = "simulate"  # the topic of a question to other workers


class FailureBody(Body):
    """The failure to simulate: target, kind, duration in seconds and rate."""

    provider: str
    model: str | None = None
    kind: Kind
    seconds: float = Field(ge=0, le=LONGEST, allow_inf_nan=False)
    rate: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)


class Simulate:
    """The endpoint, which exists only with `testing: true`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [writes("POST", "/simulate/failure", self.failure)]
        self.answers: dict[str, Answer] = {SIMULATE: self.answer}

    async def failure(self, request: Request) -> Response:
        """`POST /admin/simulate/failure`: start a failure in all workers, or end it with `seconds: 0`.

        Returns the active ones.
        """
        if not self._context.live.snapshot.testing:
            raise NotFound("There is nothing to simulate: `testing: true` is not configured.")
        raw = await self._context.read(request)
        self._fail(raw)
        await self._context.ask(SIMULATE, raw.decode())
        return JSONResponse({"active": self._context.simulator.rows()})

    async def answer(self, body: str) -> str:
        """Start the failure that another worker was asked for."""
        self._fail(body.encode())
        return ""

    def _fail(self, raw: bytes) -> None:
        body = read_body(FailureBody, raw)
        self._check(body)
        self._context.simulator.fail(body.provider, body.model, body.kind, body.seconds, body.rate)

    def _check(self, body: FailureBody) -> None:
        """Raise `InvalidRequest` for unknown names, which would otherwise have no effect."""
        snapshot = self._context.live.snapshot
        provider = snapshot.providers.get(body.provider)
        if provider is None:
            raise InvalidRequest("`provider`: there is no such provider.", param="provider")
        if body.model is None or provider.any_model:
            return
        if f"{body.provider}/{body.model}" not in snapshot.deployments:
            message = "`model`: the provider has no such model; give its id without the provider."
            raise InvalidRequest(message, param="model")
