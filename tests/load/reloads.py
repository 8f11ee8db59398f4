"""100 reloads under load, one in ten of a broken file: no call fails, and each keeps its configuration.

Every reload moves the route to another provider and removes the previous one, while it still sends streams that last
for several reloads. A broken file changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, pairwise
from typing import Any

import anyio

from tests.load.client import Answer, Client, at_rate
from tests.load.harness import Gateway, Options, Resources, Upstreams, gateway, now, until, upstreams
from tests.load.report import Report, percentile
from tests.load.scripted import Behaviour, Seen

RELOADS = 100
BROKEN = 10  # every such file is
RATE = 100.0
WARM = "warm"
NAMES = ("left", "right")
LONG = Behaviour(words=20, pace=0.1)
LONG_EVERY = 25  # calls, of which one is such a stream
UNSURE = 0.15  # seconds before a file is known to hold in which a call may meet either
SETTLED = 8.0  # seconds until connections that are not used any more are closed
SWAPPED, REFUSED = "configuration loaded", "configuration rejected; keeping the previous one"
FAULTS = ("not: [yaml", "", "- a\n- list\n", "unknown: 1\n", "model", "url", "number")


@dataclass
class Run:
    """What happened; `changes` says since when which provider's configuration is known to hold."""

    box: Gateway
    seconds: float = 0.0
    changes: list[tuple[float, str]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    refused: int = 0
    ready: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)

    def provider(self, answer: Answer) -> str | None:
        """Return the provider that must answer; `None` if either may."""
        for (since, name), (until_then, _) in pairwise([*self.changes, (float("inf"), "")]):
            if since <= answer.started < until_then - UNSURE:
                return name
        return None


async def check(report: Report, options: Options) -> None:
    """Make 100 calls a second; write the next file once the last one is loaded or rejected."""
    reloads = options.calls or RELOADS
    async with upstreams(*NAMES) as up, gateway(configuration(up, 0)) as box:
        for name in NAMES:
            await up.behave(name, LONG, model="long")
        run, client = Run(box), box.client()
        run.changes.append((now(), NAMES[0]))
        before = await _rested(box)
        async with anyio.create_task_group() as group:
            over = anyio.Event()
            group.start_soon(_calls, run, client, over)
            await _reload(run, up, reloads)
            over.set()
        client.close()
        _judge(report, run, reloads, await up.log())
        end, after = now() + SETTLED, await _rested(box)
        while now() < end and (after.tasks, after.descriptors) > (before.tasks, before.descriptors):
            after = await _rested(box)
        report.equal("tasks more than before", max(0, after.tasks - before.tasks), 0)
        report.equal("descriptors more than before", max(0, after.descriptors - before.descriptors), 0)
        report.figure("memory more than before", (after.memory - before.memory) / 2**20, "MiB")


def configuration(up: Upstreams, number: int) -> dict[str, Any]:
    """Return a configuration whose routes lead to its only provider; other values change too."""
    name = NAMES[number % 2]
    models = ["model", "long", *(f"spare-{count}" for count in range(number % 7))]
    return {
        "providers": {name: {"base_url": up.url(name), "keys": [{"id": f"key-{number}", "value": f"key-{number}"}]}},
        "models": [{"id": f"{name}/{model}", "limits": {"concurrency": 500 + number}} for model in models],
        "routing": {"scenarios": {"all": [f"{name}/model"], "long": [f"{name}/long"]}},
        "resilience": {"breaker": {"consecutive": 3 + number % 5}, "queue": {"size": 500 + number}},
    }


def broken(up: Upstreams, number: int, fault: str) -> dict[str, Any] | str:
    """Return the text of a broken file."""
    config = configuration(up, number)
    if fault == "model":
        config["routing"]["scenarios"]["all"] = ["nobody/model"]
    elif fault == "url":
        config["providers"][NAMES[number % 2]]["base_url"] = "no url"
    elif fault == "number":
        config["resilience"]["queue"]["size"] = -1
    else:
        return fault
    return config


async def _reload(run: Run, up: Upstreams, reloads: int) -> None:
    """Write one file after the other, each once the last one is loaded or rejected."""
    faults = cycle(FAULTS)
    number = 0
    for count in range(1, reloads + 1):
        bad = count % BROKEN == 0
        number += not bad
        file = broken(up, number + 1, next(faults)) if bad else configuration(up, number)
        written = now()
        known = len(run.box.events)
        run.box.reconfigure(file)
        if not await until(partial(_logged, run.box, known, REFUSED if bad else SWAPPED)):
            raise RuntimeError(f"nothing is said of file {count}")
        run.lags.append(now() - written)
        if bad:
            run.refused += 1
            metric = await run.box.metric("signalbox_config_reload_success")
            client = run.box.client()
            run.ready += (await client.get("/readyz")).status == 200 and metric == 0
            client.close()
        else:
            run.changes.append((now(), NAMES[number % 2]))


async def _logged(box: Gateway, known: int, event: str) -> bool:
    box.read()
    return any(each["event"] == event for each in box.events[known:])


async def _calls(run: Run, client: Client, over: anyio.Event) -> None:
    """Make calls until it is over, in rounds of a second."""
    began = now()

    async def call(base: int, number: int) -> None:
        count = base + number
        long = count % LONG_EVERY == 0
        name = f"{'long' if long else 'all'} {count}"
        run.answers[name] = await client.chat(f"scenario/{name.partition(' ')[0]}", name, stream=long or count % 2 == 0)

    base = 0
    async with anyio.create_task_group() as group:
        while not over.is_set():
            group.start_soon(at_rate, RATE, 1.0, partial(call, base))
            base += round(RATE)
            await anyio.sleep(max(0.0, began + base / RATE - now()))
        run.seconds = now() - began


async def _rested(box: Gateway) -> Resources:
    """Return what an idle process holds."""
    client = box.client()
    for number in range(10):
        await client.chat("scenario/all", WARM, stream=number % 2 == 0)
    client.close()
    await anyio.sleep(0.2)
    return await box.resources()


def _judge(report: Report, run: Run, reloads: int, log: list[Seen]) -> None:
    answers = run.answers
    seen: dict[str, list[Seen]] = {}
    for each in log:
        if each.call != WARM:
            seen.setdefault(each.call, []).append(each)
    sure = {name: wanted for name, answer in answers.items() if (wanted := run.provider(answer))}
    long = {name: answer for name, answer in answers.items() if name.startswith("long")}
    starts = [since for since, _ in run.changes]
    spanning = sum(any(answer.started < at < answer.ended for at in starts) for answer in long.values())
    short = sorted(answer.seconds * 1000 for name, answer in answers.items() if name not in long)

    report.figure("files", f"{len(run.lags)}, {run.refused} broken")
    report.figure("known after, median", percentile(sorted(run.lags), 50), "s")
    report.equal("broken ones rejected and logged, still ready", run.ready, reloads // BROKEN)
    report.figure("calls, of them streams over reloads", f"{len(answers)}, {spanning}")
    report.figure("mean rate", len(answers) / run.seconds, "/s")
    report.equal("failed", sum(not answer.ok for answer in answers.values()), 0)
    report.equal("sent more than once", sum(len(each) > 1 for each in seen.values()), 0)
    report.figure("calls of which we know which file they met", len(sure))
    wrong = [name for name, provider in sure.items() if [each.provider for each in seen[name]] != [provider]]
    report.equal("of them answered by another's provider", len(wrong), 0)
    report.figure("time of short calls, median", percentile(short, 50), "ms")
    report.figure("time of short calls, 99th percentile", percentile(short, 99), "ms")
