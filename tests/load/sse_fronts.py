"""Streams through nginx with its default settings and through HAProxy: every event arrives within 100 ms.

The delay of an event is the time from the upstream's writing of it to its arrival at the client, through Signalbox and
the program in front of it. A front that buffers would also hold back a single event, with none after it.

Each front has several rounds, of which the best one counts: what the machine adds comes by chance, what a front adds
comes every time.

HAProxy 2.6 marks what it sends of a chunked answer by `MSG_MORE`, so that the kernel holds it back for up to 200 ms;
`option http-no-delay` turns that off. Without it the delay is printed and not judged, because a chunked answer cannot
prevent it.
"""

from __future__ import annotations

import anyio

from tests.load.client import in_parallel
from tests.load.fronts import (
    Configuration,
    front,
    haproxy_defaults,
    haproxy_without_delay,
    installed,
    nginx_defaults,
)
from tests.load.harness import PATIENCE, Options, gateway, lean_config, lean_upstream
from tests.load.lean_client import Stream, Swarm
from tests.load.report import Report, percentile

STREAMS = 20
EVENTS = 60
ROUNDS = 3
PACE = 50  # ms between two events
DELAY = 100.0  # ms
FRONTS: dict[str, tuple[str, Configuration]] = {
    "nginx": ("nginx", nginx_defaults),
    "haproxy, http-no-delay": ("haproxy", haproxy_without_delay),
    "haproxy": ("haproxy", haproxy_defaults),
}
SHORT_FORM = Options(calls=5, seconds=0.5)


async def check(report: Report, options: Options) -> None:
    """The same streams without a front and through each."""
    async with lean_upstream() as url, gateway(lean_config(url)) as box:
        await _rounds(report, "direct", box.url, options)
        for title, (program, configuration) in FRONTS.items():
            if installed(program) is None:
                report.note(f"{program} is not installed: skipped")
                continue
            async with front(program, configuration, box.url) as address:
                await _rounds(report, title, address, options)


async def _rounds(report: Report, title: str, url: str, options: Options) -> None:
    count = options.calls or STREAMS
    events = round(options.seconds * 1000 / PACE) if options.seconds else EVENTS
    rounds = [await _round(url, count, events) for _ in range(1 if options.seconds else ROUNDS)]
    streams = [stream for streams in rounds for stream in streams]
    whole = sum(stream.whole and stream.events == events for stream in streams)
    report.equal(f"{title}: complete, with all events in order", whole, len(streams))
    report.equal(f"{title}: a single event arrives at once", await _is_live(url), wanted=True)
    delays = min((_delays(streams) for streams in rounds), key=lambda delays: delays[-1])
    report.figure(f"{title}: delay of an event, median", percentile(delays, 50), "ms")
    report.figure(f"{title}: delay of an event, p99", percentile(delays, 99), "ms")
    if title == "haproxy":
        report.figure(f"{title}: delay of an event, longest", delays[-1], "ms")
    else:
        report.at_most(f"{title}: delay of an event, longest", delays[-1], DELAY, "ms", full_only=True)


async def _is_live(url: str) -> bool:
    """Return whether the first event of a stream arrives although the next one is a minute away."""
    async with Swarm(url) as swarm:
        stream = await swarm.open("lean/paced-2-60000")
        with anyio.move_on_after(PATIENCE):
            await stream.opened.wait()
        return stream.events == 1


async def _round(url: str, count: int, events: int) -> list[Stream]:
    async with Swarm(url) as swarm:

        async def stream(_: int) -> None:
            await (await swarm.open(f"lean/paced-{events}-{PACE}")).ended.wait()

        await in_parallel(count, count, stream)
    return swarm.streams


def _delays(streams: list[Stream]) -> list[float]:
    """Return the delays of all events in ms, sorted; infinity without any."""
    return sorted(delay * 1000 for stream in streams for delay in stream.delays) or [float("inf")]
