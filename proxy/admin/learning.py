"""`/admin/learning`: what was learned from feedback, and update, freeze, resume, rollback and reset of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.bodies import read_object
from proxy.admin.endpoint import Answer, Context, reads, writes
from proxy.core.errors import InvalidRequest
from proxy.learning.service import Learning as Service

LEARNING = "learning"  # the topic of a question to other workers


class Learning:
    """The endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [
            reads("/learning", self.show),
            writes("POST", "/learning/update", self.update),
            writes("POST", "/learning/freeze", self.freeze),
            writes("POST", "/learning/resume", self.resume),
            writes("POST", "/learning/rollback", self.roll_back),
            writes("POST", "/learning/reset", self.reset),
        ]
        self.answers: dict[str, Answer] = {LEARNING: self.answer}

    async def show(self, request: Request) -> Response:
        """`GET /admin/learning`: the version in use, its check, the labels by model, and the versions that are kept."""
        return JSONResponse(await self._service.status())

    async def update(self, request: Request) -> Response:
        """`POST /admin/learning/update`: learn from all labels now, instead of when enough have come."""
        return await self._changed(await self._service.update())

    async def freeze(self, request: Request) -> Response:
        """`POST /admin/learning/freeze`: make no more versions; labels are still taken."""
        return await self._changed(await self._service.change(frozen=True))

    async def resume(self, request: Request) -> Response:
        """`POST /admin/learning/resume`: end a freeze and a rollback."""
        return await self._changed(await self._service.change(frozen=False, version=None))

    async def roll_back(self, request: Request) -> Response:
        """`POST /admin/learning/rollback`: serve an earlier version, `version` or the one before."""
        raw = await self._context.read(request)
        values = read_object(raw) if raw.strip() else {}
        version = values.pop("version", None)
        if values:
            raise InvalidRequest("The only field is `version`.")
        if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
            raise InvalidRequest("`version` must be the number of a version.", param="version")
        return await self._changed(await self._service.roll_back(version))

    async def reset(self, request: Request) -> Response:
        """`POST /admin/learning/reset`: return to the prior; the labels so far do not count any more."""
        return await self._changed(await self._service.reset())

    async def answer(self, body: str) -> str:
        """Read the store again, as another worker asks after a change."""
        await self._service.follow()
        return ""

    async def _changed(self, status: dict[str, object]) -> Response:
        await self._context.ask(LEARNING, "")
        return JSONResponse(status)

    @property
    def _service(self) -> Service:
        return self._context.learning
