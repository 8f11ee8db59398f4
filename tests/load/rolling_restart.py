"""SIGTERM to one of two replicas behind nginx, with 200 streams: none is cut, and no new call is refused.

nginx has the configuration that `docs/deployment.md` recommends for several replicas. New calls come from before the
signal until after the replica is gone, on kept and on new connections. Calls that reach the draining replica directly
get a 503 `draining` with `retry-after` while it drains.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

from tests.load.client import Answer, Client, at_rate, in_parallel
from tests.load.fronts import front, installed, nginx_replicas
from tests.load.harness import Gateway, Options, gateway, lean_config, lean_upstream, now, until
from tests.load.lean_client import Swarm
from tests.load.report import Report

STREAMS = 200
SECONDS = 10.0  # length of a stream
PACE = 0.1  # seconds between two events
RATE = 50.0  # new calls a second
LATE = 5.0  # seconds after the end of its streams until a replica must be gone
SHORT_FORM = Options(calls=20, seconds=1.0)


async def check(report: Report, options: Options) -> None:
    """Open the streams, stop a replica, and call on."""
    if installed("nginx") is None:
        report.note("nginx is not installed: skipped")
        return
    count, seconds = options.calls or STREAMS, options.seconds or SECONDS
    events = round(seconds / PACE)
    async with (
        lean_upstream() as url,
        gateway(lean_config(url)) as leaving,
        gateway(lean_config(url)) as staying,
        front("nginx", nginx_replicas, leaving.url, staying.url) as address,
        Swarm(address) as swarm,
    ):
        calls, gone = Calls(address), list[float]()
        async with asyncio.TaskGroup() as group:
            group.create_task(at_rate(RATE, seconds + 3.0, calls.one))
            await in_parallel(count, 20, lambda _: swarm.open(f"lean/paced-{events}-{PACE * 1000:.0f}"))
            for stream in swarm.streams:
                await stream.opened.wait()
            held = await leaving.metric("signalbox_inflight_requests")
            report.at_least("streams at the replica that leaves", held, count / 4, full_only=True)
            leaving.process.send_signal(signal.SIGTERM)
            began = now()
            group.create_task(_ended(leaving, gone))
            rejects = await _draining(leaving)
            report.want("direct calls to it: 503 `draining`", rejects, "= True", ok=rejects, full_only=True)
            for stream in swarm.streams:
                await stream.ended.wait()
        calls.close()
        report.at_most("seconds until it is gone", gone[0] - began, seconds + LATE, "s", full_only=True)
        report.equal("its exit code", leaving.process.returncode, 0)
    whole = sum(stream.whole and stream.events == events for stream in swarm.streams)
    report.equal("streams: complete, with all events in order", whole, count)
    late = sum(answer.started > gone[0] for answer in calls.answers)
    report.figure("new calls", len(calls.answers))
    report.at_least("new calls after it was gone", late, 1, full_only=True)
    report.equal("new calls: answered", sum(answer.ok for answer in calls.answers), len(calls.answers))
    for (status, torn), number in Counter((a.status, a.torn) for a in calls.answers if not a.ok).items():
        report.note(f"{number} calls with status {status}, {torn or 'whole'}")


class Calls:
    """New calls: every other one on a connection that is kept, the others on new ones."""

    def __init__(self, address: str) -> None:
        self.answers: list[Answer] = []
        self._address = address
        self._kept = Client(address)

    async def one(self, number: int) -> None:
        """Make a call."""
        client = self._kept if number % 2 else Client(self._address)
        self.answers.append(await client.chat("lean/plain", f"call {number}"))
        if client is not self._kept:
            client.close()

    def close(self) -> None:
        """Close the kept connections."""
        self._kept.close()


async def _ended(box: Gateway, gone: list[float]) -> None:
    await box.process.wait()
    gone.append(now())


async def _draining(box: Gateway) -> bool:
    """Whether new connections get the answer of a draining replica, once it has taken the signal."""
    client = box.client()

    async def rejects() -> bool:
        answer = await client.chat("lean/plain", "late")
        return answer.status == 503 and answer.code == "draining" and answer.headers.get("retry-after") == "1"

    try:
        return await until(rejects, 2.0)
    finally:
        client.close()
