"""Idle connections: how long they are kept when the upstream says for how long it keeps them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.upstream.net.transport import MARGIN, Pool

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Idle:
    """An open connection without an exchange."""

    silent = True

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True

    abort = close


async def test_shorter_timeout_closes_idle_connections() -> None:
    pool = Pool(keep=9, keep_alive=30.0)
    idle: list[Any] = [Idle(), Idle()]
    for connection in idle:
        pool.put(connection, None)

    pool.put(last := Idle(), MARGIN)  # type: ignore[arg-type]

    assert [connection.closed for connection in (*idle, last)] == [True, True, True]
    assert len(pool) == 0


async def test_connections_expire_after_the_latest_timeout() -> None:
    pool = Pool(keep=9, keep_alive=30.0)
    first: Any = Idle()
    pool.put(first, None)

    pool.put(Idle(), 5.0 + MARGIN)  # type: ignore[arg-type]
    await asyncio.sleep(6.0)

    assert (first.closed, len(pool)) == (True, 0)


async def test_longer_timeout_changes_nothing() -> None:
    pool = Pool(keep=9, keep_alive=30.0)
    connection: Any = Idle()
    pool.put(connection, None)
    timer = pool._timer  # noqa: SLF001

    for _ in range(3):
        pool.put(pool.take() or connection, 600.0)

    assert pool._timer is timer  # noqa: SLF001
    await asyncio.sleep(31.0)
    assert connection.closed
