"""`POST /admin/simulate/failure`: simulates failures of a provider for a while. For tests and drills."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.access import AdminAccess
from proxy.admin.bodies import read_body
from proxy.core.errors import InvalidRequest, NotFound
from proxy.core.snapshot import Snapshot
from proxy.upstream.simulate import Kind, Simulator

LONGEST = 3600.0  # seconds


class FailureBody(BaseModel):
    """The failure to simulate: target, kind, duration in seconds and rate."""

    model_config = ConfigDict(extra="forbid", strict=True)

    provider: str
    model: str | None = None
    kind: Kind
    seconds: float = Field(ge=0, le=LONGEST, allow_inf_nan=False)
    rate: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)


class Simulate:
    """The endpoint, which exists only with `testing: true`."""

    def __init__(
        self,
        *,
        access: AdminAccess,
        simulator: Simulator,
        snapshot: Callable[[], Snapshot],
        testing: Callable[[], bool],
        read: Callable[[Request], Awaitable[bytes]],
    ) -> None:
        self._access = access
        self._simulator = simulator
        self._snapshot = snapshot
        self._testing = testing
        self._read = read
        self.others: Callable[[str], Awaitable[list[str]]] | None = None  # lets other workers fail too

    async def failure(self, request: Request) -> Response:
        """`POST /admin/simulate/failure`: start a failure, or end it with `seconds: 0`; returns the active ones."""
        self._access.check(request)
        if not self._testing():
            raise NotFound("There is nothing to simulate: `testing: true` is not configured.")
        raw = await self._read(request)
        self._fail(raw)
        if self.others is not None:
            await self.others(raw.decode())
        return JSONResponse({"active": self._simulator.rows()})

    async def answer(self, body: str) -> str:
        """Start the failure that another worker was asked for."""
        self._fail(body.encode())
        return ""

    def _fail(self, raw: bytes) -> None:
        body = read_body(FailureBody, raw)
        self._check(body)
        self._simulator.fail(body.provider, body.model, body.kind, body.seconds, body.rate)

    def _check(self, body: FailureBody) -> None:
        """Raise `InvalidRequest` for unknown names, which would otherwise have no effect."""
        snapshot = self._snapshot()
        provider = snapshot.providers.get(body.provider)
        if provider is None:
            raise InvalidRequest("`provider`: there is no such provider.", param="provider")
        if body.model is None or provider.any_model:
            return
        if f"{body.provider}/{body.model}" not in snapshot.deployments:
            message = "`model`: the provider has no such model; give its id without the provider."
            raise InvalidRequest(message, param="model")
