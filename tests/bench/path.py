"""How long the path of one call is: function calls in `proxy/`, modules, and changes of module.

    python -m tests.bench.path [--functions N] [--json]

One Signalbox serves real sockets in the main thread, where `sys.setprofile` counts; client and upstream run in other
threads, which it does not see. A resumed coroutine or generator counts as a call, as it does for the profiler. Each
scenario is measured on its second run, so that imports and first connections are not part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import anyio
import yaml

from proxy.app import Parts, build
from proxy.config.load import load
from proxy.server import bind, serve, url_of
from proxy.settle.log import LogWriter, logging_to
from tests.bench.upstream import upstream

ROOT = Path(__file__).resolve().parents[2]
PROXY = f"{ROOT / 'proxy'}{os.sep}"
EVENTS = 8  # content events of a stream
SCENARIOS = {
    "plain call, mock": ("mock/bench", False),
    "plain call, OpenAI dialect": ("up/bench", False),
    f"stream of {EVENTS} events, mock": ("mock/bench", True),
    f"stream of {EVENTS} events, OpenAI dialect": ("up/bench-8-5", True),
    f"stream of {2 * EVENTS} events, OpenAI dialect": ("up/bench-16-5", True),
    f"stream of {EVENTS} events after a fallback": ("scenario/fallback", True),
}
RECORDED = {
    "plain call with keys, limits, a budget and the ledger": ("up/bench", False),
    f"stream of {EVENTS} events with keys, limits, a budget and the ledger": ("up/bench-8-5", True),
}
ADMIN = "adm-0123456789"
LIMITS = {"rpm": 1_000_000, "tpm": 1_000_000_000, "concurrency": 1_000}


@dataclass
class Walk:
    """What was called."""

    calls: int = 0
    changes: int = 0
    modules: set[str] = field(default_factory=set)
    functions: Counter[str] = field(default_factory=Counter)
    last: str = ""

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """A function for `sys.setprofile`."""
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(PROXY):
            return
        module = file[len(PROXY) :]
        self.calls += 1
        self.modules.add(module)
        self.functions[f"{module}:{frame.f_code.co_qualname}"] += 1
        if module != self.last:
            self.changes, self.last = self.changes + 1, module


def configuration(url: str, folder: str) -> dict[str, Any]:
    """A mock, the upstream at `url`, and a provider that refuses every connection."""
    keys = [{"id": "main", "value": "sk-bench-0123456789"}]
    models = ("mock/bench", "up/bench", "up/bench-8-5", "up/bench-16-5", "down/bench")
    return {
        "data_dir": folder,
        "store": "none",
        "providers": {
            "mock": {"dialect": "mock"},
            "up": {"base_url": f"{url}/v1", "keys": keys},
            "down": {"base_url": "http://127.0.0.1:9/v1", "keys": keys},
        },
        "models": [{"id": name, "price": {"input": 1, "output": 2}} for name in models],
        "routing": {"scenarios": {"fallback": ["down/bench", "up/bench-8-5"]}},
        "resilience": {"breaker": {"consecutive": 1000, "window_failures": 1000}, "retry": {"same_target": 0}},
    }


def recorded(settings: dict[str, Any]) -> dict[str, Any]:
    """The same with virtual keys, limits of the key and of the model, a hard budget, and the ledger in SQLite."""
    models = [{**model, "max_output": 1000, "limits": LIMITS} for model in settings["models"]]
    auth = {"mode": "keys", "admin_token": ADMIN, "pepper": "p" * 32}
    budgets = [{"scope": "total", "usd": 1000, "period": "month"}]
    return {**settings, "store": "sqlite", "auth": auth, "models": models, "budgets": budgets}


def post(port: int, path: str, key: str, body: dict[str, Any]) -> bytes:
    """The answer to one request of a blocking client. Raises `RuntimeError` if it is an error."""
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{path}: {answer.status} {text[:300]!r}")
    return text


def ask(port: int, key: str, model: str, *, stream: bool) -> None:
    """One call. Raises `RuntimeError` if the answer is not whole."""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "one two three four"}]}
    text = post(port, "/v1/chat/completions", key, body)
    if stream and b"data: [DONE]" not in text:
        raise RuntimeError(f"{model}: {text[:300]!r}")


async def walk(port: int, key: str, model: str, *, stream: bool) -> Walk:
    """Ask once to warm up and once while counting."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, lambda: ask(port, key, model, stream=stream))
    await asyncio.sleep(0.1)  # the first call has settled
    found = Walk()
    sys.setprofile(found.profile)
    try:
        await loop.run_in_executor(None, lambda: ask(port, key, model, stream=stream))
        await asyncio.sleep(0.02)
    finally:
        sys.setprofile(None)
    return found


async def new_key(port: int) -> str:
    """A virtual key of a new user with a budget, with limits of its own."""

    def create() -> str:
        post(port, "/admin/users", ADMIN, {"id": "ada", "budget": {"usd": 1000, "period": "month"}})
        row = json.loads(post(port, "/admin/keys", ADMIN, {"name": "bench", "user": "ada", "limits": LIMITS}))
        return str(row["key"])

    return await asyncio.get_running_loop().run_in_executor(None, create)


async def measure(config: Path, log: LogWriter, scenarios: dict[str, tuple[str, bool]]) -> dict[str, Walk]:
    """Serve `config` with its access lines in `log`, and walk the scenarios."""
    loaded = load(config, {})
    service = build(loaded, {}, Parts(write_access=log.write))
    listener, found = bind("127.0.0.1", 0), dict[str, Walk]()
    async with anyio.create_task_group() as group:
        started = anyio.Event()

        group.start_soon(serve, service, listener, replace(loaded.process.server, drain=1.0), started.set)
        await started.wait()
        port = urlsplit(url_of(listener)).port or 0
        key = await new_key(port) if loaded.snapshot.auth.mode == "keys" else ""
        for name, (model, stream) in scenarios.items():
            found[name] = await walk(port, key, model, stream=stream)
        os.kill(os.getpid(), signal.SIGTERM)
    return found


def run() -> dict[str, Walk]:
    """All scenarios, in this process."""
    found = dict[str, Walk]()
    with upstream() as url, tempfile.TemporaryDirectory() as folder, logging_to(StringIO()) as log:
        lean = configuration(url, folder)
        for settings, scenarios in ((lean, SCENARIOS), (recorded(lean), RECORDED)):
            config = Path(folder) / "signalbox.yaml"
            config.write_text(yaml.safe_dump(settings))
            found |= asyncio.run(measure(config, log, scenarios))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the table; `arguments` are the command line's by default."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--functions", type=int, default=0, help="list the N functions called most, per scenario")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    found = run()
    if options.json:
        rows = {name: [each.calls, len(each.modules), each.changes] for name, each in found.items()}
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    lines = ["| scenario | function calls | modules | changes of module |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {each.calls:,} | {len(each.modules)} | {each.changes:,} |" for name, each in found.items()]
    for name, each in found.items():
        lines += [f"\n{name}"] * bool(options.functions)
        lines += [f"{count:6} {function}" for function, count in each.functions.most_common(options.functions)]
    short, long = (found[f"stream of {count} events, OpenAI dialect"].calls for count in (EVENTS, 2 * EVENTS))
    lines.append(f"\nOne more event of a stream, OpenAI dialect: {(long - short) / EVENTS:.1f} function calls")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
