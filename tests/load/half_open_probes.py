"""A breaker half-opens before 200 clients: exactly the configured probes are sent, and their outcome decides.

Other calls use another target; without one they wait for the outcome and share it. A failed probe doubles the wait, and
one whose client leaves returns its lease. With one lease and with three.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio

from tests.load.client import Answer, Client, chat_body, in_parallel, request_bytes
from tests.load.harness import Gateway, Options, Upstreams, gateway, now, until, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen

OPEN, LONGEST = 0.5, 1.5  # seconds
PROBE = 1.5  # seconds that a probe takes, so that all clients are there before it ends
SOON = 0.1  # seconds until a returned lease is used
ALL = 0.5  # seconds until all waiting calls have their answer
GAPS = (2 * OPEN, LONGEST)  # between a failed probe and the next
LATE = 0.25  # seconds that a client that polls may be late
WELL = Behaviour(before=PROBE)
ILL = Behaviour(before=PROBE, status=500)
DOWN = Behaviour(status=500)
HANGS = Behaviour(end="stall")


class Trial:
    """One part of the check, with a route and a breaker of its own."""

    def __init__(self, report: Report, up: Upstreams, box: Gateway, route: str, leases: int, clients: int) -> None:
        self.report = report
        self.up = up
        self.box = box
        self.client: Client = box.client()
        self.route = route
        self.leases = leases
        self.clients = clients

    async def beside(self, probe: Behaviour, openings: int) -> None:
        """Probe one target while another serves all other calls."""
        await self._open(probe)
        answers = await self._rush("rush")
        self._probes(await self._reached("rush"))
        self._equal("answered", sum(answer.ok for answer in answers), self.clients)
        waited = [line["waited_ms"] for line in self._lines("rush") if line["attempts"][0]["provider"] == "strong"]
        self._equal("sent elsewhere at once", sum(ms < SOON * 1000 for ms in waited), self.clients - self.leases)
        self._equal("times that the breaker has opened", (await self._row())["openings"], openings)

    async def alone(self) -> None:
        """Probe the only target while other calls wait: they are served once the probes succeed."""
        await self._open(WELL)
        answers = await self._rush("rush")
        reached = await self._reached("rush")
        self._probes(reached)
        self._equal("answered", sum(answer.ok for answer in answers), self.clients)
        self._equal("requests in all", len(reached), self.clients)

    async def alone_failing(self) -> None:
        """The same with failing probes: all calls fail."""
        await self._open(ILL)
        answers = await self._rush("rush")
        reached = await self._reached("rush")
        self._probes(reached)
        self._equal("requests in all", len(reached), self.leases)
        statuses = Counter(answer.status for answer in answers)
        self._equal("probes answered with 502", statuses[502], self.leases)
        self._equal("others refused with 503", statuses[503], self.clients - self.leases)
        rejected = sum(answer.status == 503 and "retry-after" in answer.headers for answer in answers)
        self._equal("of them with retry-after", rejected, self.clients - self.leases)
        waited = max(line["waited_ms"] for line in self._lines("rush"))
        self._at_most("longest wait", waited, (PROBE + ALL) * 1000)

    async def doubles(self) -> None:
        """Measure the waits between failing probes."""
        await self._open(DOWN)
        times: list[float] = []
        while len(times) <= len(GAPS):
            began = now()
            await self.client.chat(f"scenario/{self.route}", f"{self.route} again x")
            times += [seen.at for seen in (await self._reached("again"))[len(times) :]]
            await asyncio.sleep(max(0.0, began + 0.02 - now()))
        gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
        good = all(0 <= gap - wanted <= LATE for gap, wanted in zip(gaps, GAPS, strict=True))
        shown = (", ".join(f"{gap:.2g}" for gap in each) for each in (gaps, GAPS))
        self.report.want(self._name("seconds between failing probes"), next(shown), next(shown), ok=good)

    async def left(self) -> None:
        """Clients leave during their probes: the next calls get their leases."""
        await self._open(HANGS)
        async with AsyncExitStack() as leaving:
            await self._hang(leaving)
            meanwhile = await self._rush("meanwhile")
        self._equal("more probes while these are out", len(await self._reached("meanwhile")), 0)
        self._equal("answered meanwhile", sum(answer.ok for answer in meanwhile), self.clients)
        await self.up.behave("weak", WELL, model=self.route)
        await anyio.sleep(SOON)
        answers = await self._rush("after")
        self._probes(await self._reached("after"))
        self._equal("answered", sum(answer.ok for answer in answers), self.clients)
        self._equal("breaker afterwards", await self._state(), "closed")

    async def left_alone(self) -> None:
        """The same while other calls wait for the outcome: some of these become probes."""
        await self._open(HANGS)
        answers: list[Answer] = []

        async def rush() -> None:
            answers.extend(await self._rush("rush"))

        async with anyio.create_task_group() as group, AsyncExitStack() as leaving:
            await self._hang(leaving)
            await self.up.behave("weak", WELL, model=self.route)
            group.start_soon(rush)
            await until(self._all_wait)
            self._equal("more probes while these are out", len(await self._reached("rush")), 0)
            await leaving.aclose()
            gone = now()
        reached = await self._reached("rush")
        self._at_most("first of the next after", (min(seen.at for seen in reached) - gone) * 1000, SOON * 1000)
        self._probes(reached)
        self._equal("answered", sum(answer.ok for answer in answers), self.clients)

    async def _open(self, then: Behaviour) -> None:
        """Open the breaker of the weak target, wait until it half-opens, and let the target behave as `then`."""
        await self.up.behave("weak", DOWN, model=self.route)
        while await self._state() != "open":
            await self.client.chat(f"scenario/{self.route}", f"{self.route} trip x")
        await self.up.behave("weak", then, model=self.route)

        async def over() -> bool:
            return await self._state() == "half-open"

        await until(over)

    async def _row(self) -> dict[str, Any]:
        return next((row for row in await self.box.breakers() if row["model"] == self.route), {"state": "closed"})

    async def _state(self) -> str:
        return str((await self._row())["state"])

    async def _rush(self, label: str) -> list[Answer]:
        """Start all clients at once."""
        answers: list[Answer] = []
        self.box.read()
        known = len(self.box.calls)

        async def call(number: int) -> None:
            name = f"{self.route} {label} {number}"
            answers.append(
                await self.client.chat(
                    f"scenario/{self.route}", name, stream=number % 2 == 0, router={"client_id": name}
                )
            )

        await in_parallel(self.clients, self.clients, call)
        await self.box.settled(known + self.clients)
        return answers

    async def _reached(self, label: str) -> list[Seen]:
        """What reached the weak target of a rush, in the order of arrival."""
        return [seen for seen in await self.up.log("weak") if seen.call.startswith(f"{self.route} {label} ")]

    def _lines(self, label: str) -> list[dict[str, Any]]:
        """The access lines of a rush."""
        prefix = f"{self.route} {label} "
        return [line for line in self.box.calls if str(line["client_id"]).startswith(prefix)]

    async def _hang(self, stack: AsyncExitStack) -> None:
        """Start all probes with an answer that never comes; their clients leave with `stack`."""
        for number in range(self.leases):
            name = f"{self.route} hang {number}"
            body = chat_body(f"scenario/{self.route}", name, stream=True)
            await stack.enter_async_context(self.client.sent(request_bytes("POST", "/v1/chat/completions", body)))
            await until(partial(self.up.arrived, name))

    async def _all_wait(self) -> bool:
        return await self.box.metric("signalbox_queue_depth") == self.clients

    def _probes(self, reached: list[Seen]) -> None:
        """Report the number of requests before the first was answered."""
        self._equal("probes at once", sum(seen.at < reached[0].at + PROBE for seen in reached), self.leases)

    def _name(self, name: str) -> str:
        return f"{self.route} ({self.leases}): {name}"

    def _equal(self, name: str, value: object, wanted: object) -> None:
        self.report.equal(self._name(name), value, wanted)

    def _at_most(self, name: str, value: float, most: float) -> None:
        self.report.at_most(self._name(name), value, most, "ms")


PARTS: dict[str, tuple[int, Callable[[Trial], Awaitable[None]]]] = {  # by route: targets, and what happens
    "beside": (2, lambda trial: trial.beside(WELL, 1)),
    "beside-failing": (2, lambda trial: trial.beside(ILL, 2)),
    "alone": (1, Trial.alone),
    "alone-failing": (1, Trial.alone_failing),
    "left": (2, Trial.left),
    "left-alone": (1, Trial.left_alone),
    "doubles": (2, Trial.doubles),
}


async def check(report: Report, options: Options) -> None:
    """Run all parts with one lease, and those for which the number matters with three."""
    for leases, parts in ((1, list(PARTS)), (3, ["beside-failing", "alone-failing", "left-alone"])):
        async with upstreams("weak", "strong") as up, gateway(configuration(up, leases)) as box:
            for route in parts:
                trial = Trial(report, up, box, route, leases, options.calls or 200)
                await PARTS[route][1](trial)
                trial.client.close()


def configuration(up: Upstreams, leases: int) -> dict[str, Any]:
    """A route for each part, with models of its own."""
    routes = {route: [f"{name}/{route}" for name in up.names[:targets]] for route, (targets, _) in PARTS.items()}
    breaker = {"open": f"{OPEN}s", "max_open": f"{LONGEST}s", "half_open": leases}
    return {
        "providers": {name: {"base_url": up.url(name)} for name in up.names},
        "models": [{"id": model} for route in routes.values() for model in route],
        "routing": {"scenarios": routes},
        "resilience": {"breaker": breaker, "probes": {"enabled": False}},
    }
