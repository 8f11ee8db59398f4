"""100 calls for ten slots: served in turn, shared evenly between callers, none waits longer than `max_wait`.

Callers differ in their bearer tokens. Times and concurrency are those that the upstream has logged.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import anyio

from tests.load.client import Answer, Client, chat_body, in_parallel, request_bytes
from tests.load.harness import Gateway, Options, Upstreams, gateway, now, scenario, until, upstreams
from tests.load.report import Report, percentile
from tests.load.scripted import Behaviour, Seen

SLOTS = 10
PATIENCE = 2.0  # seconds in the queue
SLACK = 0.05  # seconds that an answer to a waiting call may be late
SERVICE = 1.0  # seconds
APART = 0.003  # seconds between two arrivals, so that their order is certain
OVERTAKEN = 0.05  # seconds by which a later call must not be ahead: those admitted together may change places
LEFT = 0.1  # seconds until calls whose clients left are removed from the queue
SHORT = 0.1  # seconds of service, while callers compete
WIDTHS = {"greedy": 80, "modest": 20, "single": 1}  # calls that each caller has under way
FAIR, ABOUT = 0.5, 0.1  # of the slots for each of two who want more, and of that how much more or less


@dataclass(frozen=True)
class Asked:
    """One call of a crowd."""

    number: int
    caller: str
    answer: Answer


async def check(report: Report, options: Options) -> None:
    """Run 100 arrivals; then a service three times as slow; clients that leave; callers of unequal load."""
    async with upstreams("up") as up, gateway(configuration(up)) as box:
        await _crowd(report, up, box, "rush", options.calls or 100)
        await _crowd(report, up, box, "slower", 3 * SLOTS)
        await _leaving(report, up, box, options.calls or 100)
        await _fair(report, up, box, options.seconds or 5.0)


def configuration(up: Upstreams) -> dict[str, Any]:
    """A limited model for each part."""
    models = [{"id": f"up/{name}", "limits": {"concurrency": SLOTS}} for name in ("rush", "slower", "leaving", "fair")]
    return scenario(up, models=models, routing={}, resilience={"queue": {"max_wait": f"{PATIENCE}s"}})


async def ask(client: Client, caller: str, model: str, name: str, *, stream: bool = False) -> Answer:
    """One call of a caller; its line in the access log is labelled with the model."""
    request = prepared(caller, model, name, stream=stream)
    return await client.call(request, stream=stream)


def prepared(caller: str, model: str, name: str, *, stream: bool) -> bytes:
    """The request of such a call."""
    body = chat_body(f"up/{model}", name, stream=stream, router={"client_id": f"{model} {caller}"})
    return request_bytes("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {caller}"})


async def _crowd(report: Report, up: Upstreams, box: Gateway, title: str, calls: int) -> None:
    """Two callers alternate; the service takes its usual time, or three times that."""
    client, asked = box.client(), list[Asked]()
    await up.behave("up", Behaviour(before=SERVICE), model=title)
    if title == "slower":
        await in_parallel(SLOTS, SLOTS, lambda number: ask(client, "warm", title, f"warm {number}"))
        await up.behave("up", Behaviour(before=3 * SERVICE), model=title)
    before = len(box.calls)

    async def call(number: int) -> None:
        await anyio.sleep(number * APART)
        caller = ("one", "other")[number % 2]
        name = f"{title} {number}"
        asked.append(Asked(number, caller, await ask(client, caller, title, name, stream=number % 4 < 2)))

    await in_parallel(calls, calls, call)
    client.close()
    await box.settled(before + calls)
    log = {seen.call: seen for seen in await up.log() if seen.call.startswith(title)}
    served = {each.number: log[f"{title} {each.number}"] for each in asked if f"{title} {each.number}" in log}
    refused = [each for each in asked if each.number not in served]
    lines = [line for line in box.calls if str(line["client_id"]).startswith(f"{title} o")]
    at_once = sum(each.answer.seconds < SLACK for each in refused)
    report.figure(f"{title}: served and refused, of {calls}", f"{len(served)}, {len(refused)}")
    report.figure(f"{title}: of these at once", at_once)
    report.equal(f"{title}: served well", sum(each.answer.ok for each in asked), len(served))
    report.at_most(f"{title}: at the upstream at once", _at_once(log.values()), SLOTS)
    longest = max(line["waited_ms"] for line in lines) / 1000
    report.at_most(f"{title}: longest wait", longest, PATIENCE + SLACK, "s")
    longest = max((each.answer.seconds for each in refused), default=0.0)
    report.figure(f"{title}: longest as a client saw it that was refused", longest, "s")
    rejected = sum(each.answer.status == 429 and "retry-after" in each.answer.headers for each in refused)
    report.equal(f"{title}: refused with 429 and retry-after", rejected, len(refused))
    report.equal(f"{title}: overtaken by a later call of their caller", _overtaken(asked, served), 0)
    _foreseen(report, box, title)


def _overtaken(asked: list[Asked], served: dict[int, Seen]) -> int:
    """Return the calls that a later one of the same caller has overtaken."""
    found = 0
    for each in asked:
        own = served[each.number].at if each.number in served else each.answer.ended
        later = (one.number for one in asked if one.caller == each.caller and one.number > each.number)
        found += any(number in served and served[number].at < own - OVERTAKEN for number in later)
    return found


def _at_once(log: Collection[Seen]) -> int:
    """Return the highest concurrency."""
    changes = sorted([(seen.at, 1) for seen in log] + [(seen.done_at, -1) for seen in log if seen.done_at])
    most = count = 0
    for _, change in changes:
        count += change
        most = max(most, count)
    return most


def _foreseen(report: Report, box: Gateway, title: str) -> None:
    """Report the predicted and the real waits."""
    lines = [line for line in box.calls if str(line["client_id"]).startswith(f"{title} ") and line["waited_ms"] > 1]
    served = [line for line in lines if line["attempts"]]
    off = sorted(abs(line["predicted_wait_ms"] - line["waited_ms"]) for line in served)
    if not served:
        return
    predicted, waited = (fmean(line[name] for line in served) for name in ("predicted_wait_ms", "waited_ms"))
    report.figure(f"{title}: wait of those served, predicted and real", f"{predicted:.0f}, {waited:.0f}", "ms")
    report.figure(f"{title}: difference, median and worst", f"{percentile(off, 50):.0f}, {off[-1]:.0f}", "ms")


async def _leaving(report: Report, up: Upstreams, box: Gateway, calls: int) -> None:
    """All slots are in use; the waiting clients leave in two halves."""
    await up.behave("up", Behaviour(words=1000, pace=0.05), model="leaving")
    client = box.client()
    async with AsyncExitStack() as holding:
        for number in range(SLOTS):
            name = f"holding {number}"
            await holding.enter_async_context(client.sent(prepared("holder", "leaving", name, stream=True)))
            await until(partial(up.arrived, name))
        halves = [AsyncExitStack(), AsyncExitStack()]
        for number in range(calls):
            request = prepared("waiter", "leaving", f"leaving {number}", stream=number % 4 < 2)
            await halves[number % 2].enter_async_context(client.sent(request))
        report.equal("leaving: all wait", await until(partial(_waiting, box, calls)), wanted=True)
        rows = await box.rows("queues")
        report.equal("leaving: in /admin/queues", [row["waiting"] for row in rows], [calls])
        for half, left in zip(halves, (calls - (calls + 1) // 2, 0), strict=True):
            await half.aclose()
            gone = now()
            await until(partial(_waiting, box, left), within=3.0, every=0.002)
            report.at_most(f"leaving: {left} wait after", (now() - gone) * 1000, LEFT * 1000, "ms")
        report.equal("leaving: rows of /admin/queues", len(await box.rows("queues")), 0)
    await up.behave("up", Behaviour(), model="leaving")
    answer = await ask(client, "waiter", "leaving", "afterwards")
    client.close()
    report.equal("leaving: served once the slots are free", answer.ok, wanted=True)
    sent = sum(seen.call.startswith("leaving ") for seen in await up.log())
    report.equal("leaving: sent for those who had left", sent, 0)


async def _waiting(box: Gateway, count: int) -> bool:
    return await box.metric("signalbox_queue_depth") == count


async def _fair(report: Report, up: Upstreams, box: Gateway, seconds: float) -> None:
    """Each caller keeps its number of calls in flight; all but one want more than there is."""
    await up.behave("up", Behaviour(before=SHORT), model="fair")
    client, answers = box.client(), {caller: list[Answer]() for caller in WIDTHS}
    end = now() + seconds

    async def keep_asking(caller: str, number: int) -> None:
        while now() < end:
            answers[caller].append(await ask(client, caller, "fair", f"{caller} {number}"))

    async with anyio.create_task_group() as group:
        for caller, width in WIDTHS.items():
            for number in range(width):
                group.start_soon(keep_asking, caller, number)
    client.close()
    # at the beginning the first caller has all slots, so only the end counts
    served = {caller: sum(answer.ok and answer.ended < end for answer in answers[caller]) for caller in WIDTHS}
    rate = sum(served.values()) / seconds
    wide = served["greedy"] + served["modest"]
    report.figure("fair: served, " + ", ".join(served), ", ".join(map(str, served.values())))
    report.at_least("fair: of what the slots allow, %", 100 * rate * SHORT / SLOTS, 70.0)
    share = served["modest"] / wide
    wanted = f"{FAIR * (1 - ABOUT):.2f} to {FAIR * (1 + ABOUT):.2f}"
    good = FAIR * (1 - ABOUT) <= share <= FAIR * (1 + ABOUT)
    report.want("fair: share of the modest one", share, wanted, ok=good)
    single = sorted(answer.seconds - SHORT for answer in answers["single"])
    report.equal("fair: refused to the one who asks for one", sum(not answer.ok for answer in answers["single"]), 0)
    report.figure("fair: its wait, median", percentile(single, 50) * 1000, "ms")
    others = sorted(answer.seconds - SHORT for answer in answers["greedy"] if answer.ok)
    report.figure("fair: the greedy one's, median", percentile(others, 50) * 1000, "ms")
    await box.settled(len(box.calls) + 1, within=1.0)
    _foreseen(report, box, "fair")
