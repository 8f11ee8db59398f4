"""Requests that are barely HTTP, heads without end, and standard output that nobody reads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.servers import ROOT, signalbox_process
from tests.waiting import PATIENCE

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


def said(address: Address, *pieces: bytes) -> tuple[int, str, bytes]:
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

    status, _, answer = said(address, *filter(None, (request[:cut], request[cut:])), after)

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
        (b"GET /" + b"a" * 100_000, 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 100_000, 431, "headers_too_large"),
    ],
)
def test_what_is_no_request_gets_an_error_in_openais_shape(
    address: Address, request_: bytes, status: int, code: str | None
) -> None:
    seen, kind, body = said(address, request_)

    assert (seen, kind) == (status, "application/json")
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


def test_a_head_that_does_not_end_is_given_up(impatient: Address) -> None:
    seen, kind, body = said(impatient, b"GET / HTTP/1.1\r\nHost")

    assert (seen, kind) == (408, "application/json")
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "request_timeout")


def test_a_connection_that_says_nothing_is_closed(impatient: Address) -> None:
    assert said(impatient) == (0, "", b"")


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
            status, _, _ = said(address, POST + b"Connection: close\r\n\r\n" + BODY)
            assert status == 200

        process.send_signal(signal.SIGTERM)

        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in process.stderr.read()
    for number in {reader, writer, target}:
        os.close(number)
