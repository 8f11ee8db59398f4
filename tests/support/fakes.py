"""A clock that tests move, and a transport with scripted answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.transport import Response


class FakeClock:
    """Time that passes only by `pass_` and `sleep`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_800_000_000.0 + self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_(seconds)
        await asyncio.sleep(0)

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until the event is set. Code that waits for time needs a `VirtualClock`."""
        if seconds > 0:
            await event.wait()
        return event.is_set()

    async def elapse(self, seconds: float) -> None:
        """Pass the time of a scripted upstream."""
        self.pass_(seconds)

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds


async def turn(times: int = 100) -> None:
    """Let all other tasks run until they wait for something."""
    for _ in range(times):
        await asyncio.sleep(0)


async def pieces(response: Response) -> AsyncGenerator[bytes, None]:
    """The rest of a response's body, piece by piece."""
    while piece := await response.read():
        yield piece


async def whole(response: Response) -> bytes:
    """The rest of a response's body."""
    return b"".join([piece async for piece in pieces(response)])


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


@dataclass(frozen=True)
class Stall:
    """Nothing more comes, ever."""


@dataclass(frozen=True)
class Wait:
    """The clock's time that goes by before the next piece."""

    seconds: float


Piece = bytes | Stall | Wait | UpstreamFailure


@dataclass(frozen=True)
class Answer:
    """What a scripted upstream does with one request: `before` its head, then the `body`, piece by piece."""

    body: Sequence[Piece] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    before: Sequence[Stall | Wait | UpstreamFailure] = ()


REFUSED = Answer(before=[UpstreamFailure(FailureKind.CONNECT, "the upstream could not be reached")])


Script = Sequence[Answer] | Callable[[], Answer]  # line by line, or computed at each request


class ScriptedTransport:
    """Answers each request with the next line of its host's script, and counts what is open."""

    def __init__(self, clock: FakeClock, script: Mapping[str, Script]) -> None:
        self.requests: list[UpstreamRequest] = []
        self.open = 0
        self.reading = 0
        self._clock = clock
        self._script = {host: lines for host, lines in script.items() if callable(lines)}
        self._lines = {host: list(lines) for host, lines in script.items() if not callable(lines)}

    @property
    def hosts(self) -> list[str]:
        """The hosts of the requests, without `.test`."""
        return [_host(request) for request in self.requests]

    @property
    def left(self) -> int:
        """Lines of the script that were not needed."""
        return sum(len(answers) for answers in self._lines.values())

    async def send(self, request: UpstreamRequest) -> Response:
        """Raises what the script says, on entering or while the body is read."""
        self.requests.append(request)
        host = _host(request)
        answer = self._script[host]() if host in self._script else self._lines[host].pop(0)
        self.open += 1
        try:
            async for _ in self._play(answer.before):
                raise AssertionError("nothing is sent before the head")
        except BaseException:
            self.open -= 1
            raise
        return Response(answer.status, answer.headers, self._play(answer.body), close=self._closed)

    async def _closed(self) -> None:
        self.open -= 1

    async def _play(self, pieces: Sequence[Piece]) -> AsyncGenerator[bytes, None]:
        self.reading += 1
        try:
            for piece in pieces:
                await asyncio.sleep(0)
                if isinstance(piece, Stall):
                    await asyncio.Event().wait()
                elif isinstance(piece, Wait):
                    await self._clock.elapse(piece.seconds)
                elif isinstance(piece, UpstreamFailure):
                    raise piece
                else:
                    yield piece
        finally:
            self.reading -= 1


def _host(request: UpstreamRequest) -> str:
    return (urlsplit(request.url).hostname or "").removesuffix(".test")
