"""From one process to replicas by two URLs: what the profile `scale` of the compose file starts, as processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.databases import Postgres
from tests.support.redis_server import RedisServer
from tests.support.redis_server import redis as redis
from tests.support.redis_server import shared_redis as shared_redis
from tests.support.servers import ROOT, Process, signalbox_process
from tests.support.waiting import PATIENCE, until

NGINX = shutil.which("nginx", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
TOKEN = "canary-admin-2c4e"
CONFIG: dict[str, Any] = {
    "store": "${SIGNALBOX_STORE}",
    "state": "${SIGNALBOX_STATE}",
    "auth": {"mode": "keys", "admin_token": TOKEN, "pepper": "p" * 32, "encryption_key": "k" * 32},
    "providers": {"mock": {"dialect": "mock", "tokens": 5}},
    "models": [{"id": "mock/m", "price": {"input": 1, "output": 2}, "limits": {"rpm": 12}}],
    "resilience": {"queue": {"max_wait": "0s"}},
}


def command(folder: Path, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of `signalbox` with the configuration of the replicas."""
    path = folder / "signalbox.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "data_dir": str(folder / "data")}))
    line = [sys.executable, "-m", "proxy", *arguments, "--config", str(path)]
    env = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)


@contextmanager
def front(folder: Path, replicas: list[Process]) -> Iterator[str]:
    """nginx with the configuration of the example, before the replicas; yields its URL."""
    assert NGINX is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (ROOT / "config" / "examples" / "nginx.conf").read_text().replace("/tmp/", f"{folder}/")
    for number, replica in enumerate(replicas, start=1):
        text = text.replace(f"scale-{number}:8080", replica.url.removeprefix("http://"))
    text = re.sub(r"listen 8080", f"listen 127.0.0.1:{port}", text).replace("/dev/stderr", f"{folder}/error.log")
    (folder / "nginx.conf").write_text(("user root;\n" if os.getuid() == 0 else "") + text)
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"], stderr=subprocess.PIPE)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        with socket.socket() as peer:
            return peer.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)
        if process.stderr:
            process.stderr.close()


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (tests/setup.sh)")
def test_two_replicas_behind_nginx_are_one_service(tmp_path: Path, postgres: Postgres, redis: RedisServer) -> None:
    environ = {"SIGNALBOX_STORE": postgres.url(postgres.create()), "SIGNALBOX_STATE": redis.url}
    folders = [tmp_path / name for name in ("setup", "one", "two", "nginx")]
    for folder in folders:
        folder.mkdir()
    setup, one, two, front_folder = folders

    early = command(setup, environ, "serve", "--port", "0")
    migrated, again = command(setup, environ, "migrate"), command(setup, environ, "migrate")

    assert (early.returncode, "signalbox migrate" in early.stderr) == (1, True)
    assert (migrated.returncode, again.returncode) == (0, 0)

    with ExitStack() as stack:
        replicas = [stack.enter_context(signalbox_process(CONFIG, folder, environ)) for folder in (one, two)]
        url = stack.enter_context(front(front_folder, replicas))
        http = stack.enter_context(httpx.Client(trust_env=False, timeout=PATIENCE))
        admin = {"authorization": f"Bearer {TOKEN}"}

        http.post(f"{replicas[0].url}/admin/users", headers=admin, json={"id": "ann"}).raise_for_status()
        key = {"name": "laptop", "user": "ann"}
        made = http.post(f"{replicas[0].url}/admin/keys", headers=admin, json=key)
        caller = {"authorization": f"Bearer {made.json()['key']}"}

        def ask(base: str, **more: Any) -> int:
            body = {"model": "mock/m", "messages": [{"role": "user", "content": "hi"}], **more}
            return http.post(f"{base}/v1/chat/completions", headers=caller, json=body).status_code

        everywhere = [replicas[0].url, replicas[1].url, url, url]
        assert [ask(base) for base in everywhere] == [200] * 4
        assert [ask(url, stream=True) for _ in range(2)] == [200] * 2

        replicas[0].popen.send_signal(signal.SIGKILL)
        replicas[0].popen.wait(PATIENCE)

        assert [ask(url) for _ in range(10)] == [200] * 6 + [429] * 4  # 12 a minute over both replicas

        stack.enter_context(signalbox_process(CONFIG, one, environ))  # recovers the journal of the killed one

        def recorded() -> bool:
            rows = http.get(f"{replicas[1].url}/admin/requests", headers=admin, params={"user": "ann"}).json()["data"]
            return [row["status"] for row in rows].count(200) == 12

        until(recorded)
