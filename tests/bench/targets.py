"""What is measured: Signalbox, nginx as the yardstick, and peers where they are installed.

A target is a command that listens on `port` and sends `/v1/chat/completions` to the upstream. Peers are found in the
folder that `SIGNALBOX_BENCH_PEERS` names, each in a virtual environment of its own: `vllm-router` and `litellm`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PEERS = "SIGNALBOX_BENCH_PEERS"
NAMES = ("bench", "bench-64-0", "bench-64-50", "bench-64-5", "bench-64-200")  # the upstream's models, see upstream.py
KEY = "sk-bench-0123456789"


@dataclass(frozen=True)
class Target:
    """How to start one; `ready` is a path that answers below 500 once it can be used."""

    name: str
    command: list[str]
    ready: str
    environ: dict[str, str] = field(default_factory=dict)
    prefix: str = ""  # of the model's name
    only: tuple[str, ...] = NAMES  # the models that it knows


Make = Callable[[int, int, Path], Target]  # its port, the upstream's port, a folder of its own


def signalbox(dialect: str = "openai") -> Make:
    """One worker, memory state, limits, breakers, prices, metrics and access log on."""

    def make(port: int, upstream: int, folder: Path) -> Target:
        limits = {"rpm": 10_000_000, "tpm": 10_000_000_000}
        models = [{"id": f"up/{name}", "price": {"input": 0.15, "output": 0.6}, "limits": limits} for name in NAMES]
        keys = [{"id": "main", "value": KEY}]
        config = folder / "signalbox.yaml"
        provider = {"dialect": dialect, "base_url": f"http://127.0.0.1:{upstream}/v1", "keys": keys}
        text = {"data_dir": str(folder / "data"), "store": "none", "providers": {"up": provider}, "models": models}
        config.write_text(yaml.safe_dump(text))
        command = [sys.executable, "-m", "proxy", "serve", "--port", str(port), "--config", str(config)]
        return Target("signalbox", command, "/readyz", prefix="up/")

    return make


def nginx(port: int, upstream: int, folder: Path) -> Target:
    """One worker that passes everything on, with keep-alive on both sides and no buffering."""
    temporary = "".join(f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
        events {{ worker_connections 16384; }}
        http {{
          access_log off; tcp_nodelay on; keepalive_requests 100000000; client_max_body_size 50m;
          client_body_buffer_size 1m; {temporary}
          upstream up {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
          server {{ listen 127.0.0.1:{port}; location / {{
            proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
          }} }}
        }}"""
    config = folder / "nginx.conf"
    config.write_text(text)
    return Target("nginx", [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config)], "/ready")


def vllm_router(port: int, upstream: int, folder: Path) -> Target:
    """A load balancer in Rust, without keys, prices or translation."""
    command = [_peer("vllm-router"), "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin"]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--prometheus-port", str(port + 1000)]
    return Target("vllm-router", [*command, "--log-level", "error"], "/health")


def litellm(port: int, upstream: int, folder: Path) -> Target:
    """LiteLLM's proxy with one worker and its production settings, without a database."""
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": f"http://127.0.0.1:{upstream}/v1",
                "api_key": KEY,
            },
        }
        for name in NAMES
    ]
    config = folder / "litellm.yaml"
    settings = {"request_timeout": 600, "set_verbose": False, "json_logs": True}
    config.write_text(yaml.safe_dump({"model_list": models, "litellm_settings": settings}))
    command = [
        _peer("litellm"),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
    ]
    environ = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Target("litellm", command, "/health/liveliness", environ)


def _peer(name: str) -> str:
    return str(Path(os.environ.get(PEERS, "")) / name / "bin" / name)


def available() -> dict[str, Make]:
    """The targets that can run here; Signalbox is the first."""
    found: dict[str, Make] = {"signalbox": signalbox()}
    if shutil.which("nginx") or Path("/usr/sbin/nginx").exists():
        found["nginx"] = nginx
    if os.environ.get(PEERS):
        peers: dict[str, Make] = {"vllm-router": vllm_router, "litellm": litellm}
        found |= {name: make for name, make in peers.items() if Path(_peer(name)).exists()}
    return found
