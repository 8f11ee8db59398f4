"""5,000 streams of one event a second in one worker: all open in time, none fails or is reordered.

Memory is the resident memory of Signalbox with all streams open, less that before the first, for each stream. The
delay of an event is the time from the upstream's writing of it to its arrival at the client; on two cores, which
upstream and client share with Signalbox, it says more about the machine.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from typing import Any

from proxy.server import raise_descriptor_limit
from tests.load.client import at_rate
from tests.load.harness import Gateway, Options, gateway, lean_config, lean_upstream, now, until
from tests.load.lean_client import Swarm
from tests.load.report import Report, percentile

STREAMS = 5_000
STARTING = 10.0  # seconds in which the streams are started
WITHIN = 30.0  # seconds until all are open
OPEN = 30.0  # seconds for which all are open
PACE = 1.0  # seconds between two events
MEMORY = 100.0  # KiB for each stream
SPARE = 200  # descriptors for everything else
SHORT_FORM = Options(calls=50, seconds=1.0)


async def check(report: Report, options: Options) -> None:
    """Start the streams, measure while all are open, and read them to their end."""
    raise_descriptor_limit()
    gc.set_threshold(50_000, 20, 100)  # the client must not be what is slow
    count = possible(report, options.calls or STREAMS)
    starting = STARTING * count / STREAMS
    open_for = options.seconds or OPEN
    events = int((starting + open_for) / PACE) + 1
    more: dict[str, Any] = {"resilience": {"deadline": {"soft": "5m", "hard": "10m"}}}
    async with lean_upstream() as url, gateway(lean_config(url, **more)) as box, Swarm(box.url) as swarm:
        async with Swarm(box.url) as warm:
            await (await warm.open("lean/paced-2-1")).ended.wait()
        before, began = box.memory(), now()
        await at_rate(count / starting, starting, lambda _: swarm.open(f"lean/paced-{events}-{1000 * PACE:.0f}"))
        await until(lambda: _all_open(box, swarm, count), 2 * WITHIN, every=0.1)
        report.at_most("seconds until all are open", now() - began, WITHIN, "s", full_only=True)
        report.at_least("open at once", sum(stream.running for stream in swarm.streams), count, full_only=True)
        await asyncio.sleep(2 * PACE)  # until each has relayed a few events
        used, each = box.processor_seconds(), sum(stream.events for stream in swarm.streams)
        report.at_most("memory for each stream", (box.memory() - before) / count / 1024, MEMORY, "KiB", full_only=True)
        await asyncio.sleep(open_for / 2)
        used, each = box.processor_seconds() - used, sum(stream.events for stream in swarm.streams) - each
        report.figure("processor time for each event", 1e6 * used / max(each, 1), "us")
        for stream in swarm.streams:
            await stream.ended.wait()
    whole = sum(stream.whole and stream.events == events for stream in swarm.streams)
    delays = sorted(delay for stream in swarm.streams for delay in stream.delays)
    report.equal("complete, with all events in order", whole, count)
    report.equal("reordered", sum(not stream.ordered for stream in swarm.streams), 0)
    report.figure("events", len(delays))
    report.figure("delay of an event, median", percentile(delays, 50) * 1000, "ms")
    report.figure("delay of an event, p99", percentile(delays, 99) * 1000, "ms")


async def _all_open(box: Gateway, swarm: Swarm, count: int) -> bool:
    if sum(stream.running for stream in swarm.streams) < count:
        return False
    return await box.metric("signalbox_inflight_requests") >= count


def possible(report: Report, count: int) -> int:
    """Return how many of `count` streams the limit of open files allows: Signalbox needs two for each."""
    limit = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE) // 2
    if limit < count:
        report.note(f"only {limit} streams: the limit of open files allows no more (`ulimit -n`)")
    return min(count, limit)
