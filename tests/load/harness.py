"""What every check needs: Signalbox and the scripted upstream as real processes, and what both say of themselves.

    async with upstreams("good", "bad") as up, gateway(config(up, ...)) as box:
        await up.behave("bad", Behaviour(status=500))
        client = box.client()
        answer = await client.chat("scenario/pair", "call 1", stream=True)
        await box.settled(1)     # box.calls: the access lines;  await up.log(): what really arrived
        await box.resources()    # descriptors, tasks, calls in flight and queued, memory

Nothing here decides whether a figure is good.
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

ROOT = Path(__file__).resolve().parents[2]
ADMIN = {"authorization": "Bearer load-admin"}
PATIENCE = 20.0  # seconds for what must happen; only what is broken waits that long
LISTENING = "0A"  # the state in `/proc/net/tcp`
_LARGEST = 1 << 30
_CLOCK = SystemClock()


@dataclass(frozen=True)
class Options:
    """The arguments of the command line; None is the check's own default."""

    calls: int | None = None
    seconds: float | None = None
    seed: int = 1


@dataclass(frozen=True)
class Resources:
    """What a process holds."""

    descriptors: int
    tasks: int
    in_flight: int
    queued: int
    memory: int  # resident bytes


class Upstreams:
    """The scripted upstream's process, from the outside."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Mapping[str, int]) -> None:
        self.names = list(ports)
        self._process = process
        self._ports = ports
        self._turn = asyncio.Lock()

    def url(self, name: str) -> str:
        """The base URL of a provider."""
        return f"http://127.0.0.1:{self._ports[name]}/v1"

    async def behave(self, name: str, *mix: Behaviour, model: str | None = None) -> None:
        """From now on `name` answers (this model) in one of these ways, by their weights."""
        await self._tell(do="behave", name=name, model=model, mix=[to_json(each) for each in mix or (Behaviour(),)])

    async def revoke(self, name: str, *keys: str) -> None:
        """From now on `name` refuses these keys, and no others."""
        await self._tell(do="revoke", name=name, keys=keys)

    async def close_idle(self, name: str, seconds: float | None) -> None:
        """From now on `name` closes a connection that was idle for so long."""
        await self._tell(do="idle", name=name, seconds=seconds)

    async def seed(self, seed: int) -> None:
        """Roll the dice of all mixes anew."""
        for name in self.names:
            await self._tell(do="seed", name=name, seed=f"{name} {seed}")

    async def log(self, name: str | None = None, since: int = 0) -> list[Seen]:
        """What arrived, in the order of arrival, but for the first `since`; background probes ask for no model."""
        rows = [Seen(**row) for row in await self._tell(do="log", since=since)]
        rows = [row for row in rows if row.model != "None"]
        return rows if name is None else [row for row in rows if row.provider == name]

    async def arrived(self, call: str) -> bool:
        """Whether a request whose last message says this has arrived."""
        return bool(await self._tell(do="arrived", call=call))

    async def clear(self) -> None:
        """Forget the log."""
        await self._tell(do="clear")

    async def _tell(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def upstreams(*names: str) -> AsyncIterator[Upstreams]:
    """One process that is all these providers."""
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
    """A process with `lean_upstream.py`; yields the base URL."""
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
    """A configuration in which `lean/SCRIPT` is a model of `lean_upstream.py`; `more` is put on top."""
    return {"providers": {"lean": {"base_url": url, "any_model": True}}, "models": [], **more}


@dataclass
class Gateway:
    """A running Signalbox, from the outside."""

    url: str
    config: Path
    process: asyncio.subprocess.Process
    output: Path
    calls: list[dict[str, Any]] = field(default_factory=list)  # the access lines as far as `read` has come
    events: list[dict[str, Any]] = field(default_factory=list)  # all other lines
    _offset: int = 0

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def client(self, timeout: float = 60.0) -> Client:
        """A client of its own."""
        return Client(self.url, timeout)

    def read(self) -> None:
        """Take in what the log has since the last time."""
        with self.output.open("rb") as lines:
            lines.seek(self._offset)
            data = lines.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            value = json.loads(line)
            (self.calls if value["event"] == "call" else self.events).append(value)

    async def settled(self, count: int, within: float = PATIENCE) -> bool:
        """Wait until so many calls have their line in `calls`."""

        async def enough() -> bool:
            self.read()
            return len(self.calls) >= count

        return await until(enough, within)

    def attempts(self) -> Counter[str]:
        """Attempts by provider, as the access lines have them."""
        return Counter(attempt["provider"] for call in self.calls for attempt in call["attempts"])

    async def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels."""
        lines = (await self._get("/metrics")).body.decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    async def metric(self, pattern: str) -> float:
        """The sum of the samples whose name and labels match."""
        return sum(value for name, value in (await self.metrics()).items() if re.match(pattern, name))

    async def breakers(self) -> list[dict[str, Any]]:
        """The rows of `/admin/breakers`."""
        return await self.rows("breakers")

    async def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of one of the lists below `/admin`."""
        found: list[dict[str, Any]] = json.loads((await self._get(f"/admin/{name}?limit=1000")).body)["data"]
        return found

    async def tasks(self) -> int:
        """The tasks of its event loop."""
        known = len(self.events)
        self.process.send_signal(signal.SIGUSR1)

        async def told() -> bool:
            self.read()
            return any(event["event"] == "tasks" for event in self.events[known:])

        if not await until(told):
            raise RuntimeError("Signalbox does not say how many tasks it has")
        return int(next(event["count"] for event in self.events[known:] if event["event"] == "tasks"))

    async def resources(self) -> Resources:
        """What it holds now, without what asking takes."""
        metrics = await self.metrics()
        await asyncio.sleep(0.02)  # the connection that has asked is closed by then
        return Resources(
            len(os.listdir(f"/proc/{self.pid}/fd")),
            await self.tasks(),
            round(metrics.get("signalbox_inflight_requests", 0)),
            round(metrics.get("signalbox_queue_depth", 0)),
            self.memory(),
        )

    def connections(self) -> int:
        """The connections of clients whose descriptors it still holds (proc(5), `net/tcp`)."""
        port, rows = f":{urlsplit(self.url).port:04X}", Path("/proc/net/tcp").read_text().splitlines()[1:]
        fields = (row.split() for row in rows)
        return sum(row[1].endswith(port) and row[3] != LISTENING and row[9] != "0" for row in fields)

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def peak_memory(self) -> int:
        """The largest number of resident bytes since the start, or since `reset_peak_memory`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def reset_peak_memory(self) -> None:
        """Start to measure the peak anew (proc(5), `clear_refs`)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def processor_seconds(self) -> float:
        """The time that all threads of the process have used (nanoseconds in `/proc/PID/task/TID/schedstat`)."""
        files = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def reconfigure(self, config: Mapping[str, Any] | str) -> None:
        """Put another configuration, or just any text, into the file, whole at once."""
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
    """`signalbox serve` with this configuration on a free port, once it is ready."""
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
    """Whether `signalbox check` takes this configuration: some checks need features that not every version has."""
    with tempfile.TemporaryDirectory(prefix="signalbox-load-") as folder:
        path = Path(folder, "signalbox.yaml")
        path.write_text(_text(config, path))
        command = [sys.executable, "-m", "proxy", "check", str(path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def scenario(up: Upstreams, keys: Mapping[str, Sequence[str]] | None = None, **more: Any) -> dict[str, Any]:
    """A configuration in which `scenario/all` is every provider's `model`, in order; `more` is put on top.

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
    """Wait until something is true, and say whether it became so."""
    end = _CLOCK.monotonic() + within
    while not await true():
        if _CLOCK.monotonic() > end:
            return False
        await asyncio.sleep(every)
    return True


def now() -> float:
    """The machine's monotonic clock, which all processes share."""
    return _CLOCK.monotonic()


def _text(config: Mapping[str, Any], path: Path) -> str:
    """A file for `path`; what the process learns stays beside it, and so ends with it."""
    ours = {"store": "none", "data_dir": str(path.parent / "data")}
    auth = {"admin_token": ADMIN["authorization"].removeprefix("Bearer "), **config.get("auth", {})}
    return yaml.safe_dump({**ours, **json.loads(json.dumps(config)), "auth": auth})


async def _url(process: asyncio.subprocess.Process, errors: Path, output: Path) -> str:
    """The address that it says it listens on."""

    def address() -> str | None:
        match = re.search(r"(http://\S+)/v1\s", errors.read_text())
        return match and match[1]

    async def told() -> bool:
        return process.returncode is not None or address() is not None

    await until(told)
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
