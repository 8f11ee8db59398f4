"""Requests that are barely HTTP, messages without end, and standard output that is not read."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.servers import IDLE, ROOT, signalbox_process
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, Wire, words
from tests.support.waiting import PATIENCE, until

CONFIG = {
    "providers": {"mock": {"dialect": "mock"}},
    "models": [{"id": "mock/small"}],
}
Address = tuple[str, int]
BODY = json.dumps({"model": "mock/small", "messages": [{"role": "user", "content": "Hello"}]}).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(BODY)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with signalbox_process(CONFIG, tmp_path_factory.mktemp("box")) as process:
        yield address_of(process.url)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A service that waits for no more than a moment for the head of a request."""
    config = {**CONFIG, "server": {"header_timeout": "300ms"}}
    with signalbox_process(config, tmp_path_factory.mktemp("impatient")) as process:
        yield address_of(process.url)


def address_of(url: str) -> Address:
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    return host, int(port)


def got(url: str) -> str:
    """The body of an answer to GET, over a connection of its own."""
    return httpx.get(url, trust_env=False, timeout=PATIENCE).text


def exchange(address: Address, *pieces: bytes) -> tuple[int, str, bytes]:
    """What comes back for these packets until the server closes: status, content type, body."""
    with socket.create_connection(address, PATIENCE) as client:
        for piece in pieces:
            client.sendall(piece)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    kind = next((line.split(": ", 1)[1] for line in lines if line.startswith("content-type")), "")
    return int(lines[0].split()[1]) if answer else 0, kind, body


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("cut", [0, 40, 120, 200])
def test_an_upgrade_that_we_do_not_take_does_not_lose_the_body(address: Address, cut: int) -> None:
    request = POST + UPGRADE + b"\r\n" + BODY
    after = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"  # the same connection serves on

    status, _, answer = exchange(address, *filter(None, (request[:cut], request[cut:])), after)

    assert status == 200
    assert b"[MOCK]" in answer
    assert b'{"status":"ok"}' in answer


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400, None),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            None,
        ),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, None),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
        (b"GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, None),
        (b"GET http://localhost@evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, None),
        (b"GET /" + b"a" * 100_000, 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 100_000, 431, "headers_too_large"),
    ],
)
def test_what_is_no_request_gets_an_error_in_openais_shape(
    address: Address, request_: bytes, status: int, code: str | None
) -> None:
    seen, kind, body = exchange(address, request_)

    assert (seen, kind) == (status, "application/json")
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


def test_a_head_that_does_not_end_is_given_up(impatient: Address) -> None:
    seen, kind, body = exchange(impatient, b"GET / HTTP/1.1\r\nHost")

    assert (seen, kind) == (408, "application/json")
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "request_timeout")


def test_a_connection_that_says_nothing_is_closed(impatient: Address) -> None:
    assert exchange(impatient) == (0, "", b"")


def talked(address: Address, *pieces: bytes | Iterator[bytes]) -> bytes:
    """All that comes back until the server closes, for a client that sends on and on meanwhile."""
    answer = bytearray()
    with socket.create_connection(address, PATIENCE) as client, ThreadPoolExecutor(1) as pool:

        def read() -> None:
            with suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    answer.extend(piece)

        reading = pool.submit(read)
        with suppress(ConnectionError):
            for piece in pieces:
                for part in [piece] if isinstance(piece, bytes) else piece:
                    client.sendall(part)
                    if reading.done():
                        break
        reading.result(PATIENCE)
    return bytes(answer)


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def many(piece: bytes, size: int) -> Iterator[bytes]:
    return itertools.repeat(piece, size // len(piece))


def dripped(piece: bytes) -> Iterator[bytes]:
    """A piece now and then, for as long as the server takes them."""
    never = threading.Event()
    while True:
        yield piece
        never.wait(0.05)


LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED_BODY = CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
MIB = 1024 * 1024
LARGE: dict[str, tuple[list[int], list[bytes | Iterator[bytes]]]] = {
    "a header after empty lines": ([431], [b"\r\n\r\nGET / HTTP/1.1\r\nX: ", many(b"a" * 65536, 20 * MIB)]),
    "empty lines": ([400], [many(b"\r\n" * 1000, MIB)]),
    "the header of a second request": (
        [200, 431],
        [POST + b"\r\n" + BODY + b"GET / HTTP/1.1\r\nX: ", many(b"a" * 65536, 20 * MIB)],
    ),
    "the line of a second request": ([200, 414], [LIVEZ + b"\r\nGET /", many(b"a" * 65536, 20 * MIB)]),
    "many headers": ([431], [LIVEZ, many(b"a: b\r\n" * 1000, 2 * MIB)]),
    "a line in whole headers": ([414], [b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"]),
    "trailers": ([431], [CHUNKED_BODY, many(b"x-a: " + b"b" * 1000 + b"\r\n", 20 * MIB)]),
    "one trailer": ([431], [CHUNKED_BODY + b"x-a: ", many(b"b" * 65536, 20 * MIB)]),
    "a chunk extension": ([431], [CHUNKED + b"5;", many(b"b" * 65536, 20 * MIB)]),
    "chunk extensions": ([431], [CHUNKED, many(b"1;" + b"b" * 1000 + b"\r\na\r\n", 2 * MIB)]),
    "chunks of one byte": ([431], [CHUNKED, many(b"1\r\na\r\n" * 1000, 8 * MIB)]),
}


@pytest.mark.parametrize(("expected", "pieces"), LARGE.values(), ids=LARGE.keys())
def test_every_part_of_a_message_is_limited_in_size(
    address: Address, expected: list[int], pieces: list[bytes | Iterator[bytes]]
) -> None:
    answer = talked(address, *pieces)

    assert statuses(answer) == expected
    assert b'"invalid_request_error"' in answer


SLOW: dict[str, tuple[list[int], bytes, bytes]] = {
    "empty lines only": ([], b"\r\n\r\n", b""),
    "the head of a second request": ([200, 408], POST + b"\r\n" + BODY + b"G", b"a"),
    "the head after an answer": ([200, 408], LIVEZ + b"\r\n", b"G"),
    "a body": ([408], POST + b"\r\n", b"a"),
    "a body to be routed": ([408], POST.replace(b"chat/completions", b"route") + b"\r\n", b"a"),
    "chunks": ([408], CHUNKED, b"1\r\na\r\n"),
    "trailers": ([408], CHUNKED_BODY, b"a: b\r\n"),
    "a body after a 404": ([404], b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", b"a"),
    "a body after a GET": ([200], LIVEZ + b"Content-Length: 9999\r\n\r\n", b"a"),
    "chunks after a GET": ([200], LIVEZ + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "bytes after the last answer": ([200], LIVEZ + b"Connection: close\r\n\r\n", b"a"),
}


@pytest.mark.parametrize(("expected", "start", "piece"), SLOW.values(), ids=SLOW.keys())
def test_every_part_of_a_message_has_a_deadline(
    impatient: Address, expected: list[int], start: bytes, piece: bytes
) -> None:
    answer = talked(impatient, start, *([dripped(piece)] if piece else []))

    assert statuses(answer) == expected


@pytest.mark.parametrize(
    "more", [b"\r\n", b"x", b"GET / HTTP/1.1\r\n", b"\x00" * 100], ids=["line", "x", "head", "junk"]
)
def test_bytes_sent_during_an_answer_do_not_appear_in_it(upstream: Upstream, tmp_path: Path, more: bytes) -> None:
    held = Held()
    upstream.script("small", held)
    config = {"server": {"header_timeout": "1s"}, "providers": {"up": {"base_url": upstream.url, "any_model": True}}}
    body = json.dumps({"model": "up/small", "messages": [{"role": "user", "content": "a"}], "stream": True}).encode()

    with signalbox_process(config, tmp_path) as process, socket.create_connection(address_of(process.url)) as client:
        client.settimeout(PATIENCE)
        client.sendall(POST.replace(b"%d" % len(BODY), b"%d" % len(body)) + b"\r\n" + body)
        answer = client.recv(65536)
        client.sendall(more)
        got(process.url.removesuffix("/v1") + "/livez")  # by now the bytes have been read
        held.go_on()
        while piece := client.recv(65536):
            answer += piece

    whole, _, rest = answer.partition(b"0\r\n\r\n")
    assert statuses(whole) == [200]
    assert b"half1" in whole
    assert whole.rstrip().endswith(b"data: [DONE]")
    assert statuses(rest) in ([], [408], [400])


class Held:
    """A script that sends half an answer and the rest when it may."""

    def __init__(self) -> None:
        self._may = threading.Event()

    def go_on(self) -> None:
        self._may.set()

    async def __call__(self, wire: Wire) -> None:
        await wire.head()
        for data in [ROLE, *words("half", 1)]:
            await wire.send(data)
        await asyncio.get_running_loop().run_in_executor(None, self._may.wait, PATIENCE)
        for data in [*words("half", 2), FINISH, DONE]:
            await wire.send(data)
        await wire.end()


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize(
    ("path", "expected"),
    [("/v1/chat/completions", "413 request_too_large"), ("/v1/nothing", "404 not_found")],
)
def test_a_client_of_node_gets_every_early_answer(tmp_path: Path, path: str, expected: str) -> None:
    with signalbox_process({**CONFIG, "server": {"max_body": "1MiB"}}, tmp_path) as process:
        url = process.url.removesuffix("/v1") + path
        command = ["node", str(ROOT / "tests" / "e2e" / "node_upload.mjs"), url, str(25 * MIB), "5"]
        seen = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout)

    assert seen == {client: [expected] * 5 for client in ("fetch", "request", "chunked", "expect")}


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/embeddings", b"/v1/route"])
def test_a_body_that_is_arriving_counts_as_in_flight(tmp_path: Path, path: bytes) -> None:
    head = POST.replace(b"/v1/chat/completions", path) + b"\r\n"
    with signalbox_process({**CONFIG, "server": {"max_in_flight": 1}}, tmp_path) as process:
        url, address = process.url.removesuffix("/v1"), address_of(process.url)
        with socket.create_connection(address, PATIENCE) as first:
            first.sendall(head + b"{")
            until(lambda: "signalbox_inflight_requests 1.0" in got(f"{url}/metrics"))
            refused = exchange(address, head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + BODY)
        until(lambda: IDLE in got(f"{url}/metrics"))
        status, _, _ = exchange(address, POST + b"Connection: close\r\n\r\n" + BODY)

    assert (refused[0], json.loads(refused[2])["error"]["code"]) == (503, "overloaded")
    assert status == 200


def test_requests_sent_at_once_are_answered_one_after_another(address: Address) -> None:
    upgraded = POST + UPGRADE + b"\r\n" + BODY

    answer = talked(address, upgraded + CHUNKED_BODY + b"\r\n" + upgraded + LIVEZ + b"Connection: close\r\n\r\n")

    assert statuses(answer) == [200, 200, 200, 200]
    assert answer.count(b"[MOCK]") == 3


def test_trailers_are_not_taken_for_headers(address: Address) -> None:
    answer = talked(
        address,
        CHUNKED_BODY
        + b"host: evil.example\r\nx-request-id: from-trailer\r\n\r\n"
        + LIVEZ
        + b"Connection: close\r\n\r\n",
    )

    assert statuses(answer) == [200, 200]
    assert b"from-trailer" not in answer


def test_a_body_after_its_answer_keeps_the_connection(address: Address) -> None:
    answer = b""
    with socket.create_connection(address, PATIENCE) as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n")
        while not answer.endswith(b"}}"):
            answer += client.recv(65536)
        client.sendall(b"x" * 2000 + LIVEZ + b"Connection: close\r\n\r\n")
        while piece := client.recv(65536):
            answer += piece

    assert statuses(answer) == [404, 200]


@pytest.mark.parametrize(
    "headers", [b"", b"Host: localhost\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n"]
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_http_1_0_needs_no_host_and_gets_no_chunks(address: Address, headers: bytes, stream: bool) -> None:
    body = BODY.replace(b"}]}", b'}], "stream": true}') if stream else BODY

    answer = talked(
        address, b"POST /v1/chat/completions HTTP/1.0\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(body), body)
    )

    head, _, content = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [200]
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert content.endswith(b"data: [DONE]\n\n" if stream else b"}")
    assert content.startswith(b"data: {" if stream else b"{")


def test_a_target_may_name_the_host_that_host_names(address: Address) -> None:
    request = b"GET http://LocalHost:1/livez?a HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n"

    assert exchange(address, request)[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_a_probe_without_host_is_answered(address: Address, method: str, path: str) -> None:
    status, media_type, body = exchange(address, f"{method} {path} HTTP/1.0\r\n\r\n".encode())

    assert (status, media_type) == (200, "application/json")
    assert json.loads(body)["status"] == "ok"


@pytest.mark.parametrize("head", ["/ HTTP/1.0", "* HTTP/1.0", "/ HTTP/1.1\r\nHost: localhost"])
def test_options_of_the_root_says_whether_calls_are_welcome(address: Address, head: str) -> None:
    ready = exchange(address, b"GET /readyz HTTP/1.0\r\n\r\n")

    assert exchange(address, f"OPTIONS {head}\r\nConnection: close\r\n\r\n".encode()) == ready
    assert exchange(address, f"GET {head}\r\nConnection: close\r\n\r\n".encode())[0] == 404


@pytest.mark.parametrize("output", ["full", "closed", "unread"])
def test_the_end_is_orderly_whatever_becomes_of_standard_output(tmp_path: Path, output: str) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    reader, writer = os.pipe()
    target = {"full": os.open("/dev/full", os.O_WRONLY), "closed": writer, "unread": writer}[output]
    command = [sys.executable, "-m", "proxy", "serve", "--port", "0", "--config", str(path)]
    if output == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    with subprocess.Popen(command, cwd=ROOT, stdout=target, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = address_of(next(line.split()[-1] for line in process.stderr if "/v1" in line))
        for _ in range(300 if output == "unread" else 3):  # more lines than a pipe holds
            status, _, _ = exchange(address, POST + b"Connection: close\r\n\r\n" + BODY)
            assert status == 200

        process.send_signal(signal.SIGTERM)

        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in process.stderr.read()
    for number in {reader, writer, target}:
        os.close(number)
