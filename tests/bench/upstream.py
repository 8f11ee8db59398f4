"""The upstream of the benchmarks: chat completions with as little work as Python allows.

    python -m tests.bench.upstream PORT

`POST /v1/chat/completions` answers one fixed JSON object, or, where the body asks for a stream, events of which each
carries the time at which it was written (`created`, nanoseconds of the monotonic clock, which all processes of a
machine share), so that a client can tell how long each event was on its way. The model's name says how: `bench`, or
`bench-EVENTS-DELAY`, the delay between two events in milliseconds. Streams also come in the formats of Anthropic
(`/messages`) and Gemini (`:streamGenerateContent`), with the same text in each event.

One `asyncio.Protocol` on httptools. Its own CPU time is not part of any result.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, cast

import httptools

from proxy.core.clock import SystemClock

ANSWER = (
    b'{"id":"chatcmpl-bench0123456789","object":"chat.completion","created":1764288000,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Hello! This is an answer of the benchmark,'
    b' about as long as a short chat answer usually is.","refusal":null,"annotations":[]},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":21,"completion_tokens":19,"total_tokens":40,'
    b'"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,'
    b'"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_bench"}'
)
_EVENT = (
    b'data: {"id":"chatcmpl-bench0123456789","object":"chat.completion.chunk","created":%d,"model":'
    b'"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":'
    b'{"content":" word"},"logprobs":null,"finish_reason":%s}],"usage":null}\n\n'
)
_USAGE = (
    b'data: {"id":"chatcmpl-bench0123456789","object":"chat.completion.chunk","created":1,"model":'
    b'"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":21,"completion_tokens":%d,"total_tokens":%d}}\n\n'
)
_DONE = b"data: [DONE]\n\n"
_ANTHROPIC_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_bench","type":"message","role":'
    b'"assistant","model":"claude-bench","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens"'
    b':21,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":'
    b'""}}\n\n'
)
_ANTHROPIC_EVENT = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":'
    b'" word"}}\n\n'
)
_ANTHROPIC_END = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":64}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
_GEMINI_EVENT = (
    b'data: {"candidates":[{"content":{"parts":[{"text":" word"}],"role":"model"},%s"index":0}],"usageMetadata":'
    b'{"promptTokenCount":21,"candidatesTokenCount":64,"totalTokenCount":85,"promptTokensDetails":[{"modality":"TEXT",'
    b'"tokenCount":21}]},"modelVersion":"gemini-bench","responseId":"bench0123456789"}\r\n\r\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CLOCK = SystemClock()


class Format(NamedTuple):
    """A stream: what comes before its events, each event, the last one, and what follows them."""

    start: bytes
    event: Callable[[], bytes]
    last: Callable[[], bytes]
    end: bytes


def _stamped(finish: bytes) -> bytes:
    return _EVENT % (int(_CLOCK.monotonic() * 1e9), finish)


OPENAI = Format(b"", partial(_stamped, b"null"), partial(_stamped, b'"stop"'), _DONE)
ANTHROPIC = Format(_ANTHROPIC_START, lambda: _ANTHROPIC_EVENT, lambda: _ANTHROPIC_EVENT, _ANTHROPIC_END)
GEMINI = Format(b"", lambda: _GEMINI_EVENT % b"", lambda: _GEMINI_EVENT % b'"finishReason":"STOP",', b"")


def piece(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """One connection, which is in `live` while it is open."""

    def __init__(self, live: set[asyncio.Transport]) -> None:
        self._live = live

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._live.add(self._transport)
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End a stream that is under way."""
        self._live.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse; what is no HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """The path, which names the format, and Gemini's model."""
        self._url = url

    def on_body(self, data: bytes) -> None:
        """A piece of a request's body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Answer."""
        body, url = bytes(self._body), self._url
        self._body.clear()
        gemini = b":streamGenerateContent" in url
        if not gemini and b'"stream":true' not in body and b'"stream": true' not in body:
            self._transport.write(_HEAD % len(ANSWER) + ANSWER)
            return
        kind = GEMINI if gemini else ANTHROPIC if url.endswith(b"/messages") else OPENAI
        name = url.partition(b"/bench-")[2].partition(b":")[0] or body.partition(b'"bench-')[2].partition(b'"')[0]
        count, _, delay = name.partition(b"-")
        self._transport.write(_STREAM + (piece(kind.start) if kind.start else b""))
        usage = kind is OPENAI and b'"include_usage"' in body
        self._next(kind, int(count or 8), 0, int(delay or 0) / 1000, usage=usage)

    def _next(self, kind: Format, count: int, at: int, delay: float, *, usage: bool) -> None:
        while at < count:
            at += 1
            self._transport.write(piece(kind.last() if at == count else kind.event()))
            if delay and at < count:
                later = partial(self._next, kind, count, at, delay, usage=usage)
                self._timer = asyncio.get_running_loop().call_later(delay, later)
                return
        if usage:
            self._transport.write(piece(_USAGE % (count, count + 21)))
        self._transport.write((piece(kind.end) if kind.end else b"") + b"0\r\n\r\n")


async def serve(port: int, ready: threading.Event, stop: asyncio.Event, found: list[int]) -> None:
    """Serve until `stop`; the port in use is put into `found` before `ready`. Closes every connection in the end."""
    live = set[asyncio.Transport]()
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(live), "127.0.0.1", port, backlog=4096)
    found.append(server.sockets[0].getsockname()[1])
    ready.set()
    await stop.wait()
    server.close()
    if accepting := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(accepting)
    for transport in live:
        transport.abort()
    await asyncio.sleep(0)  # asyncio closes the sockets in the next turn of the loop


@contextmanager
def upstream(port: int = 0) -> Iterator[str]:
    """The upstream in a thread of its own; yields its URL without a path."""
    ready, found = threading.Event(), list[int]()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(port, ready, stop, found)), daemon=True)
    thread.start()
    if not ready.wait(20):
        raise RuntimeError("the upstream did not start")
    try:
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def main() -> None:
    """Serve on the port of the command line until the process is ended."""
    import uvloop

    ready, found = threading.Event(), list[int]()

    async def run() -> None:
        await serve(int(sys.argv[1]), ready, asyncio.Event(), found)

    uvloop.run(run())


if __name__ == "__main__":
    main()
