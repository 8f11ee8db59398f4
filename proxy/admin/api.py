"""The endpoints of the admin API, which are loaded when the first of them is used.

Their modules and pydantic, which checks the bodies of requests, are a fifth of the memory of an idle service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property, partial

from starlette.routing import Router

from proxy.admin.endpoint import Answer, Context, Endpoint
from proxy.admin.storage import stored

FORGET = "forget"  # the question of another worker that has changed a key, a user or a team
TOPICS = ("agents", "learning", "overrides", "reset", "simulate")  # questions that endpoints answer


class Api:
    """The endpoints, and their answers to the questions of other workers by topic."""

    def __init__(self, context: Context) -> None:
        answers: dict[str, Answer] = {topic: partial(self._answer, topic) for topic in TOPICS}
        self.answers: Mapping[str, Answer] = {**answers, FORGET: self._forget}
        self._context = context
        self._loaded = False
        self._lock = asyncio.Lock()

    @cached_property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints; their modules are imported at the first use."""
        from proxy.admin.endpoints import ENDPOINTS

        return [endpoint(self._context) for endpoint in ENDPOINTS]

    @cached_property
    def router(self) -> Router:
        """The routes of all endpoints."""
        return Router([route for endpoint in self.endpoints for route in endpoint.routes], redirect_slashes=False)

    async def load(self) -> Router:
        """Return the routes; the first time they are loaded in a thread, because calls would wait for the imports."""
        if not self._loaded:
            async with self._lock:
                await asyncio.to_thread(self._load)
                self._loaded = True
        return self.router

    def _load(self) -> None:
        self._context.config()  # the types of all settings
        _ = self.router

    async def _answer(self, topic: str, body: str) -> str:
        await self.load()
        answer = next(endpoint.answers[topic] for endpoint in self.endpoints if topic in endpoint.answers)
        return await answer(body)

    async def _forget(self, body: str) -> str:
        """Forget cached keys and users at once: a key that was deleted must not be accepted while endpoints load."""
        stored(self._context.storage).forget()
        return ""
