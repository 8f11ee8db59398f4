"""The process that serves: uvicorn with uvloop and httptools, signals, and an orderly end.

On SIGTERM (or SIGINT) new calls are refused and readiness is off while streams finish, for `drain` seconds at most;
what is then left ends with an error event. The exit code is 0. A second signal does not wait. SIGHUP reads the
configuration again.
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
MAX_DIGITS = 640  # the least that Python allows
LAST_WORDS = 2.0  # seconds for interrupted streams to send their error event


class _Server(uvicorn.Server):
    """uvicorn, without its own idea of signals: it would cut streams, and end with the signal's exit code."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, on_start: Callable[[str], None]) -> None:
        super().__init__(config)
        self._listener = listener
        self._on_start = on_start
        logging.getLogger("uvicorn").setLevel(logging.WARNING)  # what it tells of starting, we tell with the URL

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
    """Look for cycles less often than Python does by default, and never among what start-up has made.

    Each stream is some hundred objects. At the default thresholds thousands of them are searched again and again, for
    the few cycles that there are.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


def limit_integers() -> None:
    """Refuse integers of more digits than any API has: to read one takes time with the square of its length."""
    sys.set_int_max_str_digits(MAX_DIGITS)


def raise_descriptor_limit() -> None:
    """Allow as many open files as the system lets us: every call needs two sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bind(host: str, port: int) -> socket.socket:
    """A socket to listen on. Raises `OSError` if the address is taken or not ours.

    `::` accepts connections of both families, and IPv4 alone on a system without IPv6.
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
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)  # with its protocol, or the event loop leaves Nagle's delay on
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
    """Serve until a signal says otherwise. `on_start` is told the URL once connections are taken."""
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
