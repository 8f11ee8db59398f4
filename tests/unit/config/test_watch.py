"""Reload of real files, with a scripted clock."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from proxy.config.errors import ConfigError, Problem
from proxy.config.load import load
from proxy.config.loaded import Loaded
from proxy.config.watch import Watcher


class Ticks:
    """A clock whose sleeps do what the test wants next, and end the watching when there is nothing left."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)
        self.slept: list[float] = []
        self.done = anyio.Event()
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self.steps:
            self.done.set()
            await anyio.sleep_forever()
        self.steps.pop(0)()


class Desk:
    """A file, its watcher, and its reports."""

    def __init__(self, folder: Path, text: str = "server: {port: 1}\n", clock: Ticks | None = None) -> None:
        self.path = folder / "signalbox.yaml"
        self.reported: list[int | str] = []
        self._writes = 0
        self.write(text)
        self.clock = clock or Ticks()
        self.watcher = self.watch()

    def watch(self, loaded: Loaded | None = None) -> Watcher:
        return Watcher(
            self.path, {}, clock=self.clock, on_load=self.on_load, on_error=self.on_error, interval=0.5, loaded=loaded
        )

    def on_load(self, loaded: Loaded) -> None:
        self.reported.append(loaded.settings.server.port)

    def on_error(self, error: ConfigError) -> None:
        self.reported.append(error.problems[0].message)

    def write(self, text: str, path: Path | None = None) -> None:
        """Write with a time of change of its own, whatever the file system's tick is."""
        target = path or self.path
        target.write_text(text)
        self._writes += 1
        os.utime(target, ns=(self._writes * 10**9, 10**18 + self._writes * 10**9))


GONE = "the configuration file is missing; keeping the previous configuration"


def test_nothing_is_reported_without_a_change(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.watcher.check()
    desk.watcher.check()

    assert desk.reported == []


def test_a_change_is_reported_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.write("server: {port: 2}\n")
    desk.watcher.check()
    desk.watcher.check()

    assert desk.reported == [2]


def test_a_touch_without_a_change_is_not_reported(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.write("server: {port: 1}\n")
    desk.watcher.check()

    assert desk.reported == []


async def test_a_configuration_is_prepared_in_a_thread_before_it_is_reported(tmp_path: Path) -> None:
    desk, seen = Desk(tmp_path), list[tuple[str, bool]]()
    clock = Ticks(lambda: desk.write("server: {port: 2}\n"))

    def note(what: str) -> None:
        seen.append((what, threading.current_thread() is threading.main_thread()))

    watcher = Watcher(
        desk.path,
        {},
        clock=clock,
        on_load=lambda _: note("load"),
        on_error=desk.on_error,
        prepare=lambda _: note("prepare"),
    )

    async with anyio.create_task_group() as group:
        group.start_soon(watcher.run)
        await clock.done.wait()
        group.cancel_scope.cancel()

    assert seen == [("prepare", False), ("load", True)]
    assert desk.reported == []


@pytest.mark.parametrize("gone", [True, False])
def test_a_refresh_loads_the_last_configuration_and_what_came_after_it(tmp_path: Path, gone: bool) -> None:
    desk = Desk(tmp_path)
    first = load(desk.path, {})
    desk.write("server: {port: 2}\n")
    last = load(desk.path, {})
    watcher = desk.watch(first)
    if gone:
        desk.path.unlink()
    else:
        desk.write("server: {port: 3}\n")

    watcher.refresh(last)
    watcher.check()

    assert desk.reported == ([2, GONE] if gone else [2, 3])


def test_a_refresh_without_a_last_configuration_is_a_check(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    watcher = desk.watch(load(desk.path, {}))
    desk.write("server: {port: 2}\n")

    watcher.refresh(None)

    assert desk.reported == [2]


def test_a_forced_check_loads_what_has_not_changed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.watcher.check(force=True)
    desk.watcher.reload()
    desk.watcher.check()
    desk.watcher.check()

    assert desk.reported == [1, 1]


def test_an_invalid_file_is_reported_once_before_a_valid_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.write("server: {port: x}\n")
    desk.watcher.check()
    desk.watcher.check()
    desk.write("server: {port: 1}\n")
    desk.watcher.check()

    assert desk.reported == ["must be a whole number", 1]


def test_a_replaced_file_is_loaded(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.write("server: {port: 2}\n", tmp_path / "new")
    (tmp_path / "new").replace(desk.path)
    desk.watcher.check()

    assert desk.reported == [2]


def test_a_switched_link_is_followed(tmp_path: Path) -> None:
    # as a mounted config map changes: signalbox.yaml -> ..data/signalbox.yaml, ..data -> a folder that is replaced
    for version in (1, 2):
        (tmp_path / f"v{version}").mkdir()
        (tmp_path / f"v{version}" / "signalbox.yaml").write_text(f"server: {{port: {version}}}\n")
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "..data").symlink_to(tmp_path / "v1")
    path = tmp_path / "mount" / "signalbox.yaml"
    path.symlink_to("..data/signalbox.yaml")
    reported: list[int] = []
    watcher = Watcher(
        path, {}, clock=Ticks(), on_load=lambda found: reported.append(found.settings.server.port), on_error=pytest.fail
    )

    (tmp_path / "mount" / "..tmp").symlink_to(tmp_path / "v2")
    (tmp_path / "mount" / "..tmp").replace(tmp_path / "mount" / "..data")
    watcher.check()

    assert reported == [2]


def test_a_file_missing_at_one_poll_is_not_an_error(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.path.unlink()
    desk.watcher.check()
    desk.write("server: {port: 2}\n")
    desk.watcher.check()

    assert desk.reported == [2]


def test_a_missing_file_is_one_error_and_loads_on_return(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.path.unlink()
    for _ in range(4):
        desk.watcher.check()
    desk.write("server: {port: 1}\n")
    desk.watcher.check()

    assert desk.reported == [GONE, 1]


def test_a_forced_check_of_a_missing_file_fails_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.path.unlink()
    desk.watcher.check(force=True)

    assert desk.reported == [GONE]


def test_a_file_that_cannot_be_read_is_an_error_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.path.unlink()
    desk.path.mkdir()
    desk.watcher.check()
    desk.watcher.check()

    assert desk.reported == ["the configuration must be a file, not a directory"]


def test_the_env_file_is_watched_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "server: {port: '${PORT:-1}'}\n")
    env = tmp_path / ".env"

    desk.write("PORT=5\n", env)
    desk.watcher.check()
    desk.write("PORT=6\n", env)
    desk.watcher.check()
    env.unlink()
    desk.watcher.check()

    assert desk.reported == [5, 6, 1]


def test_a_change_between_loading_and_watching_is_not_missed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    loaded = load(desk.path, {})

    desk.write("server: {port: 2}\n")
    watcher = desk.watch(loaded)
    watcher.check()
    watcher.check()

    assert desk.reported == [2]


def test_what_is_in_use_already_is_not_loaded_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    desk.watch(load(desk.path, {})).check()

    assert desk.reported == []


def test_two_changes_within_a_file_system_tick_are_both_seen(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    stamp = (10**9, 500 * 10**9)
    desk.clock.now = 500.5

    for port in (2, 3):
        desk.path.write_text(f"server: {{port: {port}}}\n")
        os.utime(desk.path, ns=stamp)
        desk.watcher.check()

    assert desk.reported == [2, 3]


def test_a_config_error_of_the_callback_is_reported(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    refused = ConfigError([Problem("signalbox.yaml", None, "", "refused")])

    def refuse(_: Loaded) -> None:
        raise refused

    reported: list[ConfigError] = []
    watcher = Watcher(desk.path, {}, clock=Ticks(), on_load=refuse, on_error=reported.append)
    watcher.check(force=True)

    assert reported == [refused]


@pytest.mark.anyio
async def test_the_watcher_polls_at_its_interval(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    clock = Ticks(
        lambda: None,
        lambda: desk.write("server: {port: 2}\n"),
        lambda: desk.write("server: {prot: 2}\n"),
        lambda: desk.write("server: {port: 3}\n"),
        lambda: watcher.reload(),
    )
    watcher = Watcher(desk.path, {}, clock=clock, interval=0.25, on_load=desk.on_load, on_error=desk.on_error)

    async with anyio.create_task_group() as group:
        group.start_soon(watcher.run)
        await clock.done.wait()
        group.cancel_scope.cancel()

    assert desk.reported == [2, "unknown setting `prot`; did you mean `port`?", 3, 3]
    assert clock.slept == [0.25] * 6


@pytest.mark.anyio
async def test_the_watcher_survives_errors_of_callbacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(tmp_path)
    clock = Ticks(lambda: desk.write("server: {port: 2}\n"), lambda: desk.write("server: {port: 3}\n"))
    reported: list[int] = []

    def fail_first(loaded: Loaded) -> None:
        reported.append(loaded.settings.server.port)
        if len(reported) == 1:
            raise RuntimeError("sk-canary")

    watcher = Watcher(desk.path, {}, clock=clock, on_load=fail_first, on_error=desk.on_error)

    async with anyio.create_task_group() as group:
        group.start_soon(watcher.run)
        await clock.done.wait()
        group.cancel_scope.cancel()

    assert reported == [2, 3]
    assert [record.fields for record in caplog.records] == [{"error": "RuntimeError"}]  # type: ignore[attr-defined]
    assert "sk-canary" not in caplog.text


def test_a_pipe_is_one_error_and_is_not_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.path.unlink()
    os.mkfifo(desk.path)

    desk.watcher.check()
    desk.watcher.check()
    desk.path.unlink()
    desk.write("server: {port: 2}\n")
    desk.watcher.check()

    assert desk.reported == ["the configuration must be a file, not a pipe or a device", 2]


def test_a_configuration_from_a_pipe_stays(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    reading, writing = os.pipe()
    os.write(writing, b"server: {port: 7}\n")
    os.close(writing)
    desk.path = Path(f"/dev/fd/{reading}")
    loaded = load(desk.path, {})
    watcher = desk.watch(loaded)

    watcher.check()
    os.close(reading)
    watcher.check()
    assert desk.reported == []

    watcher.check(force=True)
    assert loaded.settings.server.port == 7
    assert [str(reported)[:35] for reported in desk.reported] == ["the configuration came from a pipe,"]


def test_a_pipe_as_env_file_is_not_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    os.mkfifo(tmp_path / ".env")

    desk.watcher.check(force=True)

    assert desk.reported == [1]
