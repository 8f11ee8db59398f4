"""What every check needs: Signalbox and the upstreams as real processes, and what both report.

    async with upstreams("good", "bad") as up, gateway(config(up, ...)) as box:
        await up.behave("bad", Behaviour(status=500))
        client = box.client()
        answer = await client.chat("scenario/pair", "call 1", stream=True)
        await box.settled(1)     # box.calls: the access lines;  await up.log(): what really arrived
        await box.resources()    # descriptors, tasks, calls in flight and queued, memory

Nothing here judges a figure.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import yaml

from proxy.core.clock import SystemClock
from tests.load.client import Answer, Client
from tests.load.scripted import Behaviour, Seen, to_json
from tests.support.databases import Postgres, binaries

ROOT = Path(__file__).resolve().parents[2]
ADMIN = {"authorization": "Bearer load-admin"}
PATIENCE = 20.0  # seconds to wait for what must happen; only a fault takes as long
LISTENING = "0A"  # the state in `/proc/net/tcp`
_LARGEST = 1 << 30
_CLOCK = SystemClock()


@dataclass(frozen=True)
class Options:
    """The arguments of the command line; `None` is the check's own default."""

    calls: int | None = None
    seconds: float | None = None
    seed: int = 1


@dataclass(frozen=True)
class Resources:
    """The resources that a process holds."""

    descriptors: int
    tasks: int
    in_flight: int
    queued: int
    memory: int  # resident bytes


class Upstreams:
    """Controls the process of the scripted upstream."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Mapping[str, int]) -> None:
        self.names = list(ports)
        self._process = process
        self._ports = ports
        self._turn = asyncio.Lock()

    def url(self, name: str) -> str:
        """Return the base URL of a provider."""
        return f"http://127.0.0.1:{self._ports[name]}/v1"

    async def behave(self, name: str, *mix: Behaviour, model: str | None = None) -> None:
        """Answer calls to `name` (to this model) from now on in one of these ways, chosen by weight."""
        await self._command(do="behave", name=name, model=model, mix=[to_json(each) for each in mix or (Behaviour(),)])

    async def revoke(self, name: str, *keys: str) -> None:
        """Reject exactly these keys at `name` from now on."""
        await self._command(do="revoke", name=name, keys=keys)

    async def close_idle(self, name: str, seconds: float | None) -> None:
        """Close connections of `name` that are idle for so long from now on."""
        await self._command(do="idle", name=name, seconds=seconds)

    async def seed(self, seed: int) -> None:
        """Seed the random choices of all providers."""
        for name in self.names:
            await self._command(do="seed", name=name, seed=f"{name} {seed}")

    async def log(self, name: str | None = None, since: int = 0) -> list[Seen]:
        """Return the requests after the first `since` in the order of arrival, without background probes."""
        rows = [Seen(**row) for row in await self._command(do="log", since=since)]
        rows = [row for row in rows if row.model != "None"]
        return rows if name is None else [row for row in rows if row.provider == name]

    async def arrived(self, call: str) -> bool:
        """Return whether a request with this last message has arrived."""
        return bool(await self._command(do="arrived", call=call))

    async def clear(self) -> None:
        """Clear the log."""
        await self._command(do="clear")

    async def _command(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def upstreams(*names: str) -> AsyncIterator[Upstreams]:
    """Run one process that serves all these providers."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.load.upstream", *names, cwd=ROOT, stdin=pipe, stdout=pipe, limit=_LARGEST
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Upstreams(process, json.loads(await process.stdout.readline()))
    finally:
        process.stdin.close()
        with anyio.CancelScope(shield=True):
            await end(process)


@asynccontextmanager
async def lean_upstream() -> AsyncIterator[str]:
    """Run `lean_upstream.py`; yields its base URL."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.load.lean_upstream", cwd=ROOT, stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{json.loads(await process.stdout.readline())['lean']}/v1"
    finally:
        process.stdin.close()
        with anyio.CancelScope(shield=True):
            await end(process)


def lean_config(url: str, **more: Any) -> dict[str, Any]:
    """Return a configuration with the models `lean/SCRIPT` of `lean_upstream.py`; `more` replaces sections."""
    return {"providers": {"lean": {"base_url": url, "any_model": True}}, "models": [], **more}


@dataclass
class Gateway:
    """A running Signalbox process."""

    url: str
    config: Path
    process: asyncio.subprocess.Process
    output: Path
    calls: list[dict[str, Any]] = field(default_factory=list)  # the access lines as far as `read` has come
    events: list[dict[str, Any]] = field(default_factory=list)  # all other lines
    _offset: int = 0

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def client(self, timeout: float = 60.0) -> Client:
        """Return a new client."""
        return Client(self.url, timeout)

    def read(self) -> None:
        """Read the lines that the log has gained."""
        with self.output.open("rb") as lines:
            lines.seek(self._offset)
            data = lines.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            value = json.loads(line)
            (self.calls if value["event"] == "call" else self.events).append(value)

    async def settled(self, count: int, within: float = PATIENCE) -> bool:
        """Wait until `calls` has so many lines; return whether it has."""

        async def enough() -> bool:
            self.read()
            return len(self.calls) >= count

        return await until(enough, within)

    def attempts(self) -> Counter[str]:
        """Return the number of attempts by provider according to the access lines."""
        return Counter(attempt["provider"] for call in self.calls for attempt in call["attempts"])

    async def metrics(self) -> dict[str, float]:
        """Return every sample by its name and labels."""
        lines = (await self._get("/metrics")).body.decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    async def metric(self, pattern: str) -> float:
        """Return the sum of the samples whose name and labels match."""
        return sum(value for name, value in (await self.metrics()).items() if re.match(pattern, name))

    async def breakers(self) -> list[dict[str, Any]]:
        """Return the rows of `/admin/breakers`."""
        return await self.rows("breakers")

    async def rows(self, name: str, query: str = "") -> list[dict[str, Any]]:
        """Return the rows of a list below `/admin`."""
        found: list[dict[str, Any]] = json.loads((await self._get(f"/admin/{name}?limit=1000{query}")).body)["data"]
        return found

    async def tasks(self) -> int:
        """Return the number of tasks in its event loop."""
        known = len(self.events)
        self.process.send_signal(signal.SIGUSR1)

        async def logged() -> bool:
            self.read()
            return any(event["event"] == "tasks" for event in self.events[known:])

        if not await until(logged):
            raise RuntimeError("Signalbox did not log its number of tasks")
        return int(next(event["count"] for event in self.events[known:] if event["event"] == "tasks"))

    async def resources(self) -> Resources:
        """Return what it holds now, without the resources that this request takes."""
        metrics = await self.metrics()
        await asyncio.sleep(0.02)  # until the connection of this request is closed
        return Resources(
            len(os.listdir(f"/proc/{self.pid}/fd")),
            await self.tasks(),
            round(metrics.get("signalbox_inflight_requests", 0)),
            round(metrics.get("signalbox_queue_depth", 0)),
            self.memory(),
        )

    def connections(self) -> int:
        """Return the number of client connections whose descriptors it holds (proc(5), `net/tcp`)."""
        port, rows = f":{urlsplit(self.url).port:04X}", Path("/proc/net/tcp").read_text().splitlines()[1:]
        fields = (row.split() for row in rows)
        return sum(row[1].endswith(port) and row[3] != LISTENING and row[9] != "0" for row in fields)

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def peak_memory(self) -> int:
        """Return the peak of the resident memory in bytes since the start or `reset_peak_memory`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def reset_peak_memory(self) -> None:
        """Reset the peak of the resident memory (proc(5), `clear_refs`)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def processor_seconds(self) -> float:
        """Return the seconds that all its threads have used (nanoseconds in `/proc/PID/task/TID/schedstat`)."""
        files = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def reconfigure(self, config: Mapping[str, Any] | str) -> None:
        """Replace the configuration file by a configuration or any text, atomically."""
        new = self.config.with_suffix(".new")
        new.write_text(config if isinstance(config, str) else _text(config, self.config))
        new.replace(self.config)

    async def _get(self, path: str) -> Answer:
        client = self.client()
        try:
            return await client.get(path, ADMIN)
        finally:
            client.close()


@asynccontextmanager
async def gateway(config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> AsyncIterator[Gateway]:
    """Run `signalbox serve` with this configuration on a free port; yields once it is ready."""
    with tempfile.TemporaryDirectory(prefix="signalbox-load-") as folder:
        path, output, errors = (Path(folder, name) for name in ("signalbox.yaml", "output", "errors"))
        path.write_text(_text(config, path))
        with output.open("wb") as out, errors.open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.load.served", "serve", "--port", "0", "--config", str(path)),
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **(environ or {})},
                stdout=out,
                stderr=err,
            )
        try:
            box = Gateway(await _url(process, errors, output), path, process, output)
            client = box.client()

            async def ready() -> bool:
                return (await client.get("/readyz")).status == 200

            if not await until(ready):
                raise RuntimeError("Signalbox is not ready")
            client.close()
            yield box
        finally:
            with anyio.CancelScope(shield=True):
                await end(process)


def accepts(config: Mapping[str, Any]) -> bool:
    """Return whether `signalbox check` accepts this configuration."""
    with tempfile.TemporaryDirectory(prefix="signalbox-load-") as folder:
        path = Path(folder, "signalbox.yaml")
        path.write_text(_text(config, path))
        command = [sys.executable, "-m", "proxy", "check", str(path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def scenario(up: Upstreams, keys: Mapping[str, Sequence[str]] | None = None, **more: Any) -> dict[str, Any]:
    """Return a configuration in which `scenario/all` has every provider's `model`; `more` replaces sections.

    Providers have the keys that are listed for them, under ids that are the keys themselves.
    """
    listed = {name: (keys or {}).get(name, ()) for name in up.names}
    return {
        "providers": {
            name: {"base_url": up.url(name), "keys": [{"id": key, "value": key} for key in listed[name]]}
            for name in up.names
        },
        "models": [{"id": f"{name}/model"} for name in up.names],
        "routing": {"scenarios": {"all": [f"{name}/model" for name in up.names]}},
        **more,
    }


async def until(true: Callable[[], Awaitable[bool]], within: float = PATIENCE, every: float = 0.01) -> bool:
    """Wait until a condition holds; return whether it does."""
    end = _CLOCK.monotonic() + within
    while not await true():
        if _CLOCK.monotonic() > end:
            return False
        await asyncio.sleep(every)
    return True


def now() -> float:
    """Return the time of the monotonic clock, which all processes of a machine share."""
    return _CLOCK.monotonic()


def _text(config: Mapping[str, Any], path: Path) -> str:
    """Return the text of the configuration file `path`; the state of the process is stored beside it."""
    ours = {"store": "none", "data_dir": str(path.parent / "data")}
    auth = {"admin_token": ADMIN["authorization"].removeprefix("Bearer "), **config.get("auth", {})}
    return yaml.safe_dump({**ours, **json.loads(json.dumps(config)), "auth": auth})


async def _url(process: asyncio.subprocess.Process, errors: Path, output: Path) -> str:
    """Return the URL that the process prints."""

    def address() -> str | None:
        match = re.search(r"(http://\S+)/v1\s", errors.read_text())
        return match and match[1]

    async def logged() -> bool:
        return process.returncode is not None or address() is not None

    await until(logged)
    if found := address():
        return found
    raise RuntimeError(f"Signalbox did not start: {_tail(errors)}{_tail(output)}")


def _tail(path: Path) -> str:
    return path.read_text()[-4000:]


async def end(process: asyncio.subprocess.Process) -> None:
    """Stop a process by SIGTERM, after some time by SIGKILL."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def postgresql() -> AsyncIterator[tuple[Postgres, str] | None]:
    """A server, and its database without tables; `None` if it is not installed."""
    programs = binaries()
    if programs is None:
        yield None
        return
    server = Postgres(programs)
    try:
        await asyncio.to_thread(server.start)
        yield server, await asyncio.to_thread(server.create)
    finally:
        await asyncio.to_thread(server.remove)
