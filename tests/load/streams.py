"""5,000 streams of one event a second in one worker: all open in time, none fails or is reordered.

Each stream has one event a second. The open files of all three processes are twice the streams at most; where the
limit is lower, fewer streams are opened, and a note says so.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
from pathlib import Path
from typing import Any

from proxy.server import raise_descriptor_limit
from tests.load.client import Answer, at_rate
from tests.load.harness import Options, gateway, now, scenario, until, upstreams
from tests.load.report import Report, percentile
from tests.load.scripted import Behaviour

STREAMS = 5_000
WITHIN = 30.0  # seconds until all are open
STARTING = 10.0  # seconds in which they are started
PACE = 1.0  # seconds between two events
SPARE = 200  # descriptors for everything else


async def check(report: Report, options: Options) -> None:
    """Start the streams, see when all are open, and read them to the end."""
    raise_descriptor_limit()
    gc.set_threshold(50_000, 20, 100)  # the client must not be what is slow
    count = _possible(report, options.calls or STREAMS)
    words = int(((options.seconds or WITHIN) + STARTING) / PACE)
    answers: list[Answer] = []
    opened: list[float] = []

    config: dict[str, Any] = {
        "server": {"max_in_flight": 2 * count},
        "resilience": {"deadline": {"soft": "5m", "hard": "10m"}},
    }
    async with upstreams("up") as up, gateway(scenario(up, **config)) as box:
        await up.behave("up", Behaviour(words=words, pace=PACE))
        client = box.client(timeout=300.0)
        began = now()

        async def call(number: int) -> None:
            answers.append(await client.chat("scenario/all", f"call {number}", stream=True))

        async def watch() -> None:
            async def all_open() -> bool:
                opened.append(await box.metric("signalbox_inflight_requests"))
                return opened[-1] >= count

            await until(all_open, 2 * WITHIN, every=0.5)
            report.at_most("seconds until all are open", now() - began, WITHIN, "s")

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await at_rate(count / STARTING, STARTING, call)
        memory, busy = box.memory(), _processor_seconds(box.pid)
        client.close()
    firsts = sorted(answer.first - answer.started for answer in answers if answer.first)
    lengths = sorted(answer.seconds for answer in answers)
    report.equal("open at once", int(max(opened)), count)
    report.equal("answered in full", sum(answer.ok for answer in answers), count)
    report.equal("lies", sum(answer.lie for answer in answers), 0)
    report.figure("first event after, median", percentile(firsts, 50), "s")
    report.figure("first event after, p99", percentile(firsts, 99), "s")
    report.figure("length of a stream, p99", percentile(lengths, 99), "s")
    report.figure("processor time of Signalbox, for each event", 1e6 * busy / (count * words), "us")
    report.figure("memory at the end", memory // 1_000_000, "MB")


def _processor_seconds(pid: int) -> float:
    """What a process has used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _possible(report: Report, count: int) -> int:
    limit = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE) // 2
    if limit < count:
        report.note(f"only {limit} streams: the limit of open files allows no more (`ulimit -n`)")
    return min(count, limit)
