"""What tests share: a clock of their own, and a service under a real server on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator


class FakeClock:
    """Time that passes only when it is told to, or when somebody sleeps."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_800_000_000.0 + self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds


def cut(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    """`data` in pieces of the given sizes, the rest in one."""
    at = 0
    for size in sizes:
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size
    if at < len(data):
        yield data[at:]
