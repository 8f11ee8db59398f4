"""Signalbox in a thread before a scripted upstream, and a client for its endpoints."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from proxy.app import Parts
from proxy.core.clock import Clock
from proxy.upstream.pulse import Pulse
from tests.support import upstreams
from tests.support.servers import signalbox
from tests.support.waiting import PATIENCE

ADMIN = {"authorization": "Bearer admin"}
HELLO: Any = [{"role": "user", "content": "hi"}]
ANSWER = json.dumps(upstreams.completion("hello")).encode()
KEYS = [{"id": "one", "value": "sk-one-00000000"}, {"id": "two", "value": "sk-two-00000000"}]
ROUNDS = 5  # requests, each of which is several turns of the server's event loop


class OnTime(Pulse):
    """The pulse of a process whose clock a test moves, which is no delay of the event loop."""

    late = 0.0

    async def run(self) -> None:
        """Measure nothing."""


class Box:
    """A client of a running Signalbox; `begin` needs a `pool`."""

    def __init__(self, url: str, http: httpx.Client, pool: ThreadPoolExecutor | None = None) -> None:
        self.url = url
        self.http = http
        self._pool = pool

    def ask(self, model: str, *, caller: str | None = None, **more: Any) -> httpx.Response:
        """Make one call and read its whole answer; `caller` is its credential and its message."""
        messages = [{"role": "user", "content": caller}] if caller else HELLO
        headers = {"authorization": f"Bearer {caller}"} if caller else {}
        body = {"model": model, "messages": messages, **more}
        return self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)

    def begin(self, model: str, *, caller: str | None = None, **more: Any) -> Future[httpx.Response]:
        """Start one call in a thread."""
        assert self._pool is not None
        return self._pool.submit(self.ask, model, caller=caller, **more)

    def admin(self, path: str) -> list[dict[str, Any]]:
        """Return all rows of an admin list, over all its pages."""
        rows: list[dict[str, Any]] = []
        params: dict[str, Any] = {"limit": 1000}
        while True:
            page = self.http.get(f"{self.url}/admin/{path}", params=params, headers=ADMIN).json()
            rows += page["data"]
            if not page["has_more"]:
                return rows
            params["after"] = page["last_id"]

    def breakers(self) -> dict[str, tuple[str, float]]:
        """State and seconds left of breakers that are not closed, by provider, model and key."""
        rows = self.admin("breakers")
        return {row["id"]: (row["state"], row["open_seconds_left"]) for row in rows if row["state"] != "closed"}

    def cooldowns(self) -> list[tuple[str, str | None, str, float]]:
        """Key, model, reason and seconds left of every cooldown."""
        return [
            (key["id"], cooldown["model"], cooldown["reason"], cooldown["seconds_left"])
            for row in self.admin("providers")
            for key in row["keys"]
            for cooldown in key["rests"]
        ]

    def simulate(self, **body: Any) -> httpx.Response:
        """Simulate a failure."""
        return self.http.post(f"{self.url}/admin/simulate/failure", headers=ADMIN, json=body)

    def metric(self, name: str) -> int:
        """A gauge without labels."""
        lines = self.http.get(f"{self.url}/metrics").text.splitlines()
        return next(int(float(line.partition(" ")[2])) for line in lines if line.startswith(f"{name} "))

    def depth(self) -> int:
        """The length of the queue, by the metric."""
        return self.metric("signalbox_queue_depth")

    def rounds(self) -> None:
        """Let the server's event loop run, so that it has handled everything that had reached it before."""
        for _ in range(ROUNDS):
            self.http.get(f"{self.url}/livez")


def moved_by(clock: Clock) -> Parts:
    """The parts of a service with a clock that a test moves."""
    return Parts(clock=clock, rng=random.Random(1), pulse=OnTime(clock))


def patient_client(*, keeps_connections: bool = True) -> httpx.Client:
    """A client for a server under test. It must not keep connections to one whose clock a test moves past their end."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None if keeps_connections else 0)
    return httpx.Client(trust_env=False, timeout=PATIENCE, limits=limits)


@contextmanager
def boxed(folder: Path, config: dict[str, Any], clock: Clock | None = None) -> Iterator[Box]:
    """A running `Box`."""
    with (
        signalbox(config, folder, parts=moved_by(clock) if clock else None) as running,
        patient_client(keeps_connections=clock is None) as http,
        ThreadPoolExecutor(64) as pool,
    ):
        yield Box(running.url, http, pool)
