"""100 clients that stop reading streams of 200 MB: Signalbox holds at most 20 MB more, and ends them in time.

Each client reads the beginning of its stream and then nothing, so that the buffers of the kernel and of Signalbox fill
up. After `server.write_stall` the calls end as `client_closed`. A client that reads is served beside them.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from tests.load.client import chat_body, in_parallel, request_bytes
from tests.load.harness import Options, gateway, lean_config, lean_upstream, now, until
from tests.load.lean_client import Swarm
from tests.load.report import Report

CLIENTS = 100
SIZE = 200  # MiB of each stream
MEMORY = 20.0  # MB that all of them may take
STALL = 10.0  # seconds: `server.write_stall`
LATE = 2.0  # seconds after that
SAMPLES = 0.1  # seconds between two looks at the memory
BEGINNING = 16 * 1024  # bytes that a client reads
SHORT_FORM = Options(calls=5, seconds=0.5)
REQUEST = request_bytes("POST", "/v1/chat/completions", chat_body(f"lean/flood-{SIZE}", stream=True))


async def check(report: Report, options: Options) -> None:
    """Let them stop, watch the memory, and see how they end."""
    count, stall = options.calls or CLIENTS, options.seconds or STALL
    server = {"write_stall": f"{stall * 1000:.0f}ms"}
    async with lean_upstream() as url, gateway(lean_config(url, server=server)) as box, AsyncExitStack() as stack:
        async with Swarm(box.url) as warm:
            await (await warm.open("lean/paced-2-1")).ended.wait()
        before = box.memory()
        box.reset_peak_memory()
        sockets: list[socket.socket] = []
        stack.callback(_close, sockets)

        async def start(_: int) -> None:
            sockets.append(await _begin(box.url))

        await in_parallel(count, 20, start)
        stopped = now()  # all of them; the buffers of the kernel may still fill
        swarm = await stack.enter_async_context(Swarm(box.url))
        steady = await swarm.open("lean/paced-20-50")
        await steady.ended.wait()
        report.equal("a client that reads beside them is served", steady.whole and steady.events == 20, wanted=True)
        ended = await box.settled(count + 2, stall + 10 * LATE)
        lines = [line for line in box.calls if line["outcome"] == "client_closed"]
        report.equal("calls that ended as closed by the client", len(lines) if ended else 0, count)
        report.at_most("the last of them after", now() - stopped, stall + 2 * LATE, "s", full_only=True)
        peak = (box.peak_memory() - before) / 1e6
        report.at_most("more memory at the peak", peak, MEMORY, "MB", full_only=True)

        async def released() -> bool:
            return box.connections() == 0

        await until(released)
        report.at_most("connections left over", box.connections(), 0)


async def _begin(url: str) -> socket.socket:
    """Send a request, read the beginning of the answer, and stop; the kernel's buffer is small."""
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BEGINNING)
    await loop.sock_connect(client, (parts.hostname, parts.port))
    await loop.sock_sendall(client, REQUEST)
    await loop.sock_recv(client, BEGINNING)
    return client


def _close(sockets: list[socket.socket]) -> None:
    for client in sockets:
        client.close()
