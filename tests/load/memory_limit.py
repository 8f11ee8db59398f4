"""A memory limit of 256 MiB and more streams than fit: the rest is rejected with 503, and the limit is never reached.

The watermark is what `server.memory_watermark` is without a value in a cgroup with this limit: 85 % of it. There is no
cgroup here, so nothing kills the process; its peak of resident memory is compared with the limit. First many small
streams arrive, then a few with large bodies at once. Accepted streams must not be cut, and calls are accepted again
once there is memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

from proxy.server import raise_descriptor_limit
from tests.load.client import at_rate, in_parallel
from tests.load.harness import Gateway, Options, gateway, lean_config, lean_upstream, until
from tests.load.lean_client import Stream, Swarm, error_code
from tests.load.report import Report

MIB = 1024 * 1024
LIMIT = 256.0  # MiB
WATERMARK = 217  # MiB
STREAMS = 8_000  # more than fit
RATE = 400.0  # new streams a second
PACE = 5_000  # ms between two events
BODIES = 40  # streams with large bodies
BODY = 12 * MIB
SHORT_FORM = Options(calls=5, seconds=0.1)
FULL = 1  # MiB: a watermark above which every process is


async def check(report: Report, options: Options) -> None:
    """Send more than fits, twice."""
    raise_descriptor_limit()
    count, watermark = options.calls or STREAMS, FULL if options.seconds else WATERMARK
    async with lean_upstream() as url:
        config = lean_config(url, server={"memory_watermark": f"{watermark}MiB"})
        async with gateway(config) as box, Swarm(box.url) as swarm:
            await _first(box, swarm, full=watermark == FULL)
            await at_rate(RATE, count / RATE, lambda _: swarm.open(f"lean/paced-0-{PACE}"))
            await _judge(report, "streams", box, swarm)
        async with gateway(config) as box, Swarm(box.url) as swarm:
            await _first(box, swarm, full=watermark == FULL)
            text = "x" * BODY
            bodies = min(count, BODIES)
            await in_parallel(bodies, bodies, lambda _: swarm.open(f"lean/paced-0-{PACE}", content=text))
            await _judge(report, "large bodies", box, swarm)


async def _first(box: Gateway, swarm: Swarm, *, full: bool) -> None:
    """Open one stream. Where the process is above its watermark from the start, the next ones are rejected."""
    await (await swarm.open(f"lean/paced-0-{PACE}")).opened.wait()
    if full:
        await until(partial(_sheds, box))


async def _judge(report: Report, title: str, box: Gateway, swarm: Swarm) -> None:
    """Wait for the answers, and see whether all accepted streams are running."""
    for stream in swarm.streams:
        await stream.opened.wait()
    await asyncio.sleep(1.0)  # an accepted stream that is cut is cut by now
    kinds = Counter(_kind(stream) for stream in swarm.streams)
    report.figure(f"{title}: accepted and running", kinds["running"])
    report.at_least(f"{title}: rejected with 503 `overloaded`", kinds["overloaded"], 1)
    others = {kind: number for kind, number in kinds.items() if kind not in ("running", "overloaded")}
    report.want(f"{title}: anything else", others or "nothing", "nothing", ok=not others)
    report.at_most(f"{title}: memory at the peak", box.peak_memory() / MIB, LIMIT, "MiB", full_only=True)
    report.equal(f"{title}: the process runs", box.process.returncode is None, wanted=True)
    await swarm.close()
    client = box.client()

    async def accepted() -> bool:
        return (await client.chat("lean/plain")).ok

    report.equal(f"{title}: calls are accepted afterwards", await until(accepted), wanted=True)
    client.close()


def _kind(stream: Stream) -> str:
    if stream.running:
        return "running"
    if stream.status == 503 and error_code(stream) == "overloaded":
        return "overloaded"
    return f"{stream.status} {error_code(stream)}"


async def _sheds(box: Gateway) -> bool:
    return await box.metric("signalbox_memory_shedding") == 1
