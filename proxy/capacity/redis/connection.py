"""One connection to Redis: its URL, one command at a time, and a warning about eviction."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 1.0  # for the connection, the handshake and the first probe; `socket_connect_timeout` of the URL
ANSWER_SECONDS = 0.25  # a longer answer counts as a failure; `socket_timeout` of the URL
URL_FORM = "use `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS"

Argument = str | int | float | bytes


def connector(url: str) -> tuple[Callable[[], AbstractConnection], float, float]:
    """Return what makes connections to `url`, with the seconds for a connection and for an answer.

    Imports the library.
    """
    try:
        from redis.asyncio import ConnectionPool
    except ImportError:
        raise ValueError("needs the library `redis`; install `signalbox-proxy[redis]`") from None
    try:
        pool = ConnectionPool.from_url(url, protocol=2)
        kwargs: dict[str, Any] = dict(pool.connection_kwargs)
        answer_seconds = float(kwargs.pop("socket_timeout", ANSWER_SECONDS))
        connect = float(kwargs.pop("socket_connect_timeout", CONNECT_SECONDS))
        new = partial(pool.connection_class, **kwargs, socket_timeout=None, socket_connect_timeout=connect)
        new()  # finds unknown options
    except (ValueError, TypeError):
        raise ValueError(f"is not a valid URL; {URL_FORM}") from None
    return new, connect, answer_seconds


async def answer(connection: AbstractConnection, *words: Argument) -> Any:
    """Send a command, and return its answer."""
    await connection.send_packed_command(connection.pack_command(*words), check_health=False)
    return await connection.read_response()


async def close(connection: AbstractConnection) -> None:
    """Close the connection."""
    with contextlib.suppress(Exception):  # it is given up in any case
        await connection.disconnect(nowait=True)


async def warn_of_eviction(connection: AbstractConnection) -> None:
    """Warn if Redis may drop counters: limits then allow more than configured."""
    from redis.exceptions import ResponseError

    try:
        memory = await answer(connection, "INFO", "memory")
    except ResponseError:
        return  # not permitted
    rows = dict(line.split(":", 1) for line in memory.decode(errors="replace").splitlines() if ":" in line)
    policy = rows.get("maxmemory_policy", "noeviction")
    if rows.get("maxmemory", "0") != "0" and policy != "noeviction":
        _LOG.warning("Redis may evict the shared state", extra={"fields": {"maxmemory_policy": policy}})
