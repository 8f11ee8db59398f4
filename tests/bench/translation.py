"""What a translated streamed event costs, beside one that passes through.

    python -m tests.bench.translation [--rounds N]

One Signalbox with the upstream of the benchmarks as an OpenAI, an Anthropic and a Gemini provider, which take turns in
each round. CPU time is that of Signalbox, divided by the events of the upstream.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import yaml

from tests.bench.__main__ import pinned, process, wait_for
from tests.bench.client import STAMP, body_of
from tests.bench.meter import cpu_seconds
from tests.bench.targets import KEY, ROOT

PORT, UPSTREAM_PORT = 9331, 9330
DIALECTS = ("openai", "anthropic", "gemini")
EVENTS = 64
STREAMS = {"events without delay": ("bench-64-0", 16, 400), "events 5 ms apart": ("bench-64-5", 100, 200)}


def configuration(folder: Path) -> dict[str, Any]:
    """Three providers at the upstream, with prices."""
    url, names = f"http://127.0.0.1:{UPSTREAM_PORT}", [name for name, _, _ in STREAMS.values()]
    keys = [{"id": "main", "value": KEY}]
    providers = {dialect: {"dialect": dialect, "base_url": f"{url}/v1", "keys": keys} for dialect in DIALECTS}
    price = {"input": 0.15, "output": 0.6}
    models = [{"id": f"{dialect}/{name}", "price": price} for dialect in DIALECTS for name in names]
    return {"data_dir": str(folder / "data"), "store": "none", "providers": providers, "models": models}


def stamps(model: str) -> int:
    """How many of the events that a client receives of one stream the load generator counts."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=20)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body_of("small", model, stream=True), headers)
    body = connection.getresponse().read()
    connection.close()
    if body.count(b" word") != EVENTS or b"[DONE]" not in body:
        raise RuntimeError(f"{model} gave another stream: {body[-500:].decode()}")
    return len(STAMP.findall(body))


def cost(pid: int, model: str, connections: int, requests: int) -> float:
    """CPU time of an event, in microseconds."""
    command = [*pinned(0), sys.executable, "-m", "tests.bench.client", f"http://127.0.0.1:{PORT}", model]
    command += ["--connections", str(connections), "--requests", str(requests), "--stream", str(stamps(model))]
    before = cpu_seconds(pid)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    used = cpu_seconds(pid) - before
    found: dict[str, int] = json.loads(done.stdout)
    if found["bad"]:
        raise RuntimeError(f"{found['bad']} streams of {model} failed")
    return used / found["ok"] / EVENTS * 1e6


def measured(rounds: int) -> dict[str, dict[str, list[float]]]:
    """The cost of an event in each round, by kind of stream and dialect."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [*pinned(0), sys.executable, "-m", "tests.bench.upstream", str(UPSTREAM_PORT)]
        wait_for(UPSTREAM_PORT, "/ready", stack.enter_context(process(command, {}, folder / "upstream.log")), 20)
        config = folder / "signalbox.yaml"
        config.write_text(yaml.safe_dump(configuration(folder)))
        command = [sys.executable, "-m", "proxy", "serve", "--port", str(PORT), "--config", str(config)]
        signalbox = stack.enter_context(process([*pinned(1), *command], {}, folder / "log"))
        wait_for(PORT, "/readyz", signalbox, 60)
        found: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in DIALECTS} for kind in STREAMS}
        for number in range(rounds):
            for kind, (model, connections, requests) in STREAMS.items():
                for dialect in DIALECTS if number % 2 == 0 else reversed(DIALECTS):
                    found[kind][dialect].append(cost(signalbox.pid, f"{dialect}/{model}", connections, requests))
        return found


def main() -> None:
    """Measure and print the medians, and the medians of the ratios of each round."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    lines = ["| CPU time of an event | us | to pass-through |", "| --- | --- | --- |"]
    for kind, by_dialect in measured(parser.parse_args().rounds).items():
        for dialect, costs in by_dialect.items():
            ratio = statistics.median(map(lambda one, base: one / base, costs, by_dialect["openai"]))
            lines.append(f"| {dialect}, {kind} | {statistics.median(costs):.1f} | {ratio:.1f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
