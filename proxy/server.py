"""The server process: uvicorn with uvloop and httptools, signal handling, and graceful shutdown.

On SIGTERM or SIGINT the server rejects new calls and reports that it is not ready, while running calls finish for at
most `drain` seconds; streams that remain end with an error event. The exit code is 0. A second signal ends the drain
at once. SIGHUP reloads the configuration.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio
import uvicorn

from proxy.admission.gate import Gate
from proxy.app import Service
from proxy.http.protocol import protocol_class

_LOG = logging.getLogger(__name__)
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, socket.EAI_ADDRFAMILY, socket.EAI_NONAME)
GC_THRESHOLD = (50_000, 20, 100)  # measured by `tests/load/streams.py`
MAX_DIGITS = 640  # the smallest limit that Python accepts
LAST_WORDS = 2.0  # seconds that interrupted streams have to send their error event


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would cut streams and exit with the signal's code."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, on_start: Callable[[str], None]) -> None:
        super().__init__(config)
        self._listener = listener
        self._on_start = on_start
        logging.getLogger("uvicorn").setLevel(logging.WARNING)  # `on_start` reports the start

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            tune_garbage_collector()
            limit_integers()
            self._on_start(self._url())

    def _url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def tune_garbage_collector() -> None:
    """Collect cycles less often than by default, and exclude the objects created during start-up.

    Each stream consists of about a hundred objects. At the default thresholds the collector scans thousands of live
    objects repeatedly and finds few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


def limit_integers() -> None:
    """Limit the digits of integers, because parsing time grows with the square of their length."""
    sys.set_int_max_str_digits(MAX_DIGITS)


def raise_descriptor_limit() -> None:
    """Raise the limit of open files to the system's maximum: every call needs two sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises `OSError` if the address is in use or not local.

    `::` accepts IPv6 and IPv4 connections; on a system without IPv6 it accepts IPv4 only.
    """
    host = host.strip("[]")
    try:
        return _bound(host, port)
    except OSError as exc:
        if host != "::" or exc.errno not in _NO_IPV6:
            raise
        return _bound("0.0.0.0", port)


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.encode() if host.isascii() else host,  # as bytes: a text would import the tables of IDNA, 1 MiB
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )[0]
    listener = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only if the protocol is given
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    service: Service,
    listener: socket.socket,
    *,
    header_timeout: float,
    keep_alive: float,
    drain: float,
    on_start: Callable[[str], None],
) -> None:
    """Serve until a signal ends it. Calls `on_start` with the URL once the server accepts connections."""
    config = uvicorn.Config(
        service.asgi,
        loop="none",
        http=protocol_class(header_timeout),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(keep_alive)),
        timeout_graceful_shutdown=LAST_WORDS,  # type: ignore[arg-type]
    )
    server = _Server(config, listener, on_start)
    leaving = asyncio.Event()

    def leave() -> None:
        if leaving.is_set():  # a second signal does not wait
            service.gate.interrupt()
            server.should_exit = True
        leaving.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    async with anyio.create_task_group() as group:
        group.start_soon(_drain, service.gate, server, leaving, drain)
        await server.serve([listener])
        group.cancel_scope.cancel()


async def _drain(gate: Gate, server: uvicorn.Server, leaving: asyncio.Event, seconds: float) -> None:
    await leaving.wait()
    gate.close()
    _LOG.info("draining", extra={"fields": {"in_flight": gate.inside, "seconds": seconds}})
    if not await gate.emptied(seconds):
        _LOG.warning("calls are interrupted", extra={"fields": {"in_flight": gate.inside}})
        gate.interrupt()
        await gate.emptied(LAST_WORDS)
    server.should_exit = True
