"""Faults of the network, as the client and the log show them, and what an operator can configure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from anyio.from_thread import start_blocking_portal

from tests.support.certificates import Certificates
from tests.support.raw_server import RawServer, Step, server
from tests.support.servers import ROOT, signalbox_process
from tests.support.upstreams import completion, full_port, refusing
from tests.support.waiting import PATIENCE, until

ANSWER = json.dumps(completion("hello")).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


def sending(data: bytes) -> Step:
    async def turn(connection: Any) -> None:
        await connection.read_request()
        await connection.send(data)
        connection.close()

    return turn


async def reset(connection: Any) -> None:
    await connection.read_head()
    connection.reset()


@contextmanager
def upstream(turn: Step, certificates: Certificates | None = None, name: str = "localhost") -> Iterator[RawServer]:
    """A server of raw connections in a thread."""
    context = certificates.server(name) if certificates else None
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server(turn, context=context)) as found:
        yield found


def base(found: RawServer) -> str:
    return found.url.removesuffix("/chat/completions")


def configuration(**provider: Any) -> dict[str, Any]:
    return {
        "providers": {"acme": {"keys": [{"value": "sk-acme-0000000"}], **provider}},
        "models": [{"id": "acme/small"}],
        "resilience": {"retry": {"same_target": 0}},
    }


def asked(
    folder: Path, config: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> tuple[httpx.Response, dict[str, Any]]:
    """One call to a process of its own: the answer, and its attempt in the access log."""
    chat = {"model": "acme/small", "messages": [{"role": "user", "content": "hi"}], "router": {"debug": True}}
    with signalbox_process(config, folder, environ) as process:
        response = httpx.post(f"{process.url}/v1/chat/completions", json=chat, timeout=PATIENCE, trust_env=False)

        def lines() -> list[dict[str, Any]]:
            parsed = [json.loads(line) for line in process.log.read_text().splitlines() if line.endswith("}")]
            return [line for line in parsed if line["event"] == "call"]

        [line] = until(lines)
    [attempt] = line["attempts"]
    return response, attempt


def failed(folder: Path, config: Mapping[str, Any], cause: str, words: str) -> None:
    """The failure is named in the error and in the log."""
    response, attempt = asked(folder, config)

    assert response.status_code == 502
    message = response.json()["error"]["message"]
    assert words in message
    assert (attempt["outcome"], attempt["cause"]) == ("connect", cause)
    assert words in attempt["error"]
    assert "sk-acme" not in message + json.dumps(attempt)


def test_untrusted_certificate_is_named(tmp_path: Path, certificates: Certificates) -> None:
    with upstream(sending(WHOLE), certificates) as found:
        failed(tmp_path, configuration(base_url=base(found)), "tls", "certificate is not trusted: ")


def test_certificate_of_another_name_is_named(tmp_path: Path, certificates: Certificates) -> None:
    with upstream(sending(WHOLE), certificates, "elsewhere") as found:
        config = configuration(base_url=base(found), ca_file=str(certificates.folder / "ca.pem"))
        failed(tmp_path, config, "tls", "mismatch")


def test_refused_connection_is_named(tmp_path: Path) -> None:
    with refusing() as url:
        failed(tmp_path, configuration(base_url=url), "refused", "refused the connection")


def test_unknown_name_is_named(tmp_path: Path) -> None:
    failed(tmp_path, configuration(base_url="http://nowhere.invalid/v1"), "dns", "host name could not be resolved")


def test_connect_timeout_is_named(tmp_path: Path) -> None:
    with full_port() as port:
        config = configuration(base_url=f"http://127.0.0.1:{port}/v1", timeouts={"connect": "100ms"})
        failed(tmp_path, config, "timeout", "timed out")


def test_reset_is_named(tmp_path: Path) -> None:
    with upstream(reset) as found:
        failed(tmp_path, configuration(base_url=base(found)), "reset", "reset the connection")


def test_close_without_an_answer_is_named(tmp_path: Path) -> None:
    with upstream(sending(b"")) as found:
        failed(tmp_path, configuration(base_url=base(found)), "closed", "closed the connection without an answer")


def test_answer_that_is_not_http_is_named(tmp_path: Path) -> None:
    with upstream(sending(b"SSH-2.0-OpenSSH_9\r\n")) as found:
        failed(tmp_path, configuration(base_url=base(found)), "protocol", "not valid HTTP")


def test_private_ca_is_trusted_by_ca_file(tmp_path: Path, certificates: Certificates) -> None:
    with upstream(sending(WHOLE), certificates) as found:
        config = configuration(base_url=base(found), ca_file=str(certificates.folder / "ca.pem"))
        response, attempt = asked(tmp_path, config)

    assert response.json()["choices"][0]["message"]["content"] == "hello"
    assert "cause" not in attempt


def test_private_ca_is_trusted_by_the_environment(tmp_path: Path, certificates: Certificates) -> None:
    with upstream(sending(WHOLE), certificates) as found:
        environ = {"SSL_CERT_FILE": str(certificates.folder / "ca.pem")}
        response, _ = asked(tmp_path, configuration(base_url=base(found)), environ)

    assert response.status_code == 200


def test_https_goes_by_the_proxy_of_the_environment(tmp_path: Path) -> None:
    with upstream(reset) as proxy:
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        response, attempt = asked(tmp_path, configuration(base_url="https://llm.acme.test/v1"), environ)

    assert proxy.heads[0].startswith(b"CONNECT llm.acme.test:443 ")
    assert (response.status_code, attempt["outcome"]) == (502, "connect")


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("environ", "ca_file", "words"),
    [
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, None, "SSL_CERT_FILE"),
        ({"HTTPS_PROXY": "socks5://proxy.test"}, None, "HTTPS_PROXY"),
        ({}, "/nowhere/ca.pem", "providers.acme.ca_file: names a file that does not exist"),
    ],
    ids=["SSL_CERT_FILE", "HTTPS_PROXY", "ca_file"],
)
def test_what_cannot_be_used_is_an_error_at_start(
    tmp_path: Path, command: str, environ: Mapping[str, str], ca_file: str | None, words: str
) -> None:
    path = tmp_path / "signalbox.yaml"
    config = configuration(base_url="https://llm.acme.test/v1", **({"ca_file": ca_file} if ca_file else {}))
    path.write_text(yaml.safe_dump({**config, "data_dir": str(tmp_path), "store": "none", "server": {"port": 0}}))

    run = subprocess.run(
        [sys.executable, "-m", "proxy", command, "--config", str(path)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr
