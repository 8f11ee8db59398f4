"""State that survives a restart, and files that must not keep us from starting."""

# ruff: noqa: ASYNC240 (nobody waits for a test's small files)

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Reservation, Wait
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import LimitValues, ProviderKey
from proxy.core.policies import BreakerPolicy
from proxy.core.snapshot import Live, Snapshot
from proxy.core.window import PARTS
from proxy.upstream import persist as module
from proxy.upstream.health import Health
from proxy.upstream.identity import identities
from proxy.upstream.persist import StateFile
from tests.support.calls import deployment, provider, snapshot
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

POLICY = BreakerPolicy(consecutive=2, window=600, window_failures=5, open=60, max_open=600, half_open=1)
BROKEN = deployment("broken")
LIMITED = deployment("limited", limits=LimitValues(rpm=100))
OTHER = deployment("other")
CONFIGURED = snapshot(BROKEN, LIMITED, OTHER)
MARKS = {f"{name}/{key}": who[: module.DIGEST_LENGTH] for (name, key), who in identities(CONFIGURED).items()}


class Process:
    """What one process has, with its own monotonic clock."""

    def __init__(
        self, path: Path, started: float = 1000.0, since: float = 0.0, configured: Snapshot = CONFIGURED
    ) -> None:
        self.configured = configured
        self.clock = RestartedClock(started, since)
        live = Live(replace(configured, breaker=POLICY))
        self.health = Health(self.clock, live)
        counters = MemoryCounters(self.clock)
        unlisted = Live(replace(configured, deployments={}))  # limits are those of the given deployment
        self.limits = Limits(counters, self.clock, unlisted)
        self.file = StateFile(path, self.clock, live, health=self.health, limits=self.limits, counters=counters)

    async def load(self) -> bool:
        return await self.file.load()

    async def save(self) -> bool:
        return await self.file.save()

    def end(self) -> None:
        """As a process ends that was told to."""
        self.file.flush()

    def fail(self, of: Any, kind: FailureKind, **fields: Any) -> None:
        lease = self.health.lease(of)
        assert lease
        lease.fail(UpstreamFailure(kind, "x", **fields))


class RestartedClock(FakeClock):
    """A monotonic clock that began anew, beside a wall's clock that went on."""

    def __init__(self, started: float, since: float) -> None:
        super().__init__(started)
        self._wall = 1_800_000_000.0 + since - started

    def time(self) -> float:
        return self._wall + self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state.json"


async def troubled(path: Path) -> Process:
    """A process with an open breaker, a rejected key's rest of another, and a learned limit; saved."""
    process = Process(path)
    for _ in range(2):
        process.fail(BROKEN, FailureKind.SERVER_ERROR)
    process.fail(OTHER, FailureKind.RATE_LIMITED, retry_after=300.0)
    headers = {"x-ratelimit-limit-requests": "7", "x-ratelimit-remaining-requests": "3"}
    headers |= {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "40s"}
    process.limits.learn(LIMITED, "main", headers, process.clock.time())
    assert await process.save()
    return process


async def test_breakers_rests_and_learned_limits_survive_a_restart(path: Path) -> None:
    before = await troubled(path)

    after = Process(path, started=5.0, since=20.0)
    assert await after.load()

    [row] = after.health.breaker_rows()
    assert (row["state"], row["open_seconds_left"], row["openings"]) == ("open", 40.0, 1)
    assert [(row["model"], row["seconds_left"]) for row in after.health.cooldown_rows()] == [("other", 280.0)]
    wait = await after.limits.reserve(LIMITED, "main", 1)
    assert isinstance(wait, Wait)
    assert wait.seconds == pytest.approx(20.0 + module.DRIFT)
    after.clock.pass_(21.0)
    assert after.limits.charges(LIMITED, "main", 1)[0].limit == 7
    assert before.health.breaker_rows()[0]["open_seconds_left"] == 60.0


async def test_what_was_over_meanwhile_is_over(path: Path) -> None:
    await troubled(path)

    after = Process(path, started=5.0, since=1000.0)
    assert await after.load()

    lease = after.health.lease(BROKEN)
    assert lease
    assert lease.admission.probe
    assert after.health.cooldown_rows() == []
    assert after.limits.charges(LIMITED, "main", 1)[0].limit == 100


async def test_a_breaker_s_row_of_openings_goes_on(path: Path) -> None:
    await troubled(path)
    after = Process(path, started=5.0, since=60.0)
    await after.load()

    after.fail(BROKEN, FailureKind.SERVER_ERROR)

    assert after.health.breaker_rows()[0]["open_seconds_left"] == 120.0


async def test_nothing_is_written_where_nothing_changed(path: Path) -> None:
    process = await troubled(path)
    written = path.stat().st_mtime_ns

    process.clock.pass_(30.0)

    assert not await process.save()
    process.file.flush()
    assert path.stat().st_mtime_ns == written


async def test_it_is_saved_now_and_then_and_in_the_end(path: Path) -> None:
    process = Process(path)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(process.file.run())
        while not path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(2):
            process.fail(BROKEN, FailureKind.SERVER_ERROR)
        task.cancel()

    assert len(json.loads(path.read_bytes())["health"]["breakers"]) == 1
    assert set(process.clock.slept) == {module.SAVE_INTERVAL_SECONDS}


async def test_the_file_is_for_us_alone_and_holds_no_secret(path: Path) -> None:
    await troubled(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert b"secret" not in path.read_bytes()


async def test_killed_in_the_middle_of_writing_the_old_file_counts(path: Path) -> None:
    await troubled(path)
    whole = path.read_bytes()
    path.with_name(path.name + ".tmp").write_bytes(whole[: len(whole) // 2])

    after = Process(path)

    assert await after.load()
    assert len(after.health.breaker_rows()) == 1
    after.health.reset()
    assert await after.save()
    assert sorted(os.listdir(path.parent)) == [path.name, path.name + ".lock"]


async def test_a_write_that_breaks_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = await troubled(path)
    whole = path.read_bytes()
    process.health.reset()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        assert not await process.save()
        assert not await process.save()
        assert path.read_bytes() == whole
    assert [record.message for record in caplog.records].count("state cannot be saved") == 1

    assert await process.save()
    assert path.read_bytes() != whole


async def test_what_another_process_has_half_written_never_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = await troubled(path)
    whole = path.read_bytes()
    process.health.reset()

    def beside(_: int) -> None:
        path.with_name(path.name + ".tmp").unlink()
        path.with_name(path.name + ".tmp").write_bytes(b"half")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", beside)
        assert not await process.save()

    assert path.read_bytes() == whole
    assert [record.message for record in caplog.records].count("state cannot be saved") == 1


async def test_a_first_start_says_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not await Process(path).load()
    assert caplog.records == []


def row(**fields: Any) -> dict[str, Any]:
    """A breaker as it is saved, with one thing changed."""
    values = {"provider": "acme", "model": "small", "key": "main", "state": "open", "open_until": 1_800_001_010.0}
    return values | {"openings": 1, "reason": "", "consecutive": 0, "failures": [], "closed_at": None} | fields


def saved(
    breakers: Any = (),
    rests: Any = (),
    learned: Any = (),
    paused: Any = (),
    version: Any = 1,
    keys: Any = None,
    **counts: Any,
) -> bytes:
    health = {"breakers": breakers, "rests": rests}
    limits = {"learned": learned, "rests": paused, **counts}  # files of before have no `counts`
    values = {
        "version": version,
        "health": health,
        "limits": limits,
        "keys": MARKS if keys is None else keys,
    }
    return json.dumps(values, default=list).encode()


REST = {"provider": "a", "key": "b", "model": None, "until": 1.0, "reason": "key_rejected", "times": 1, "seconds": 9.0}
LEARNED = {"name": "upstream:acme/small:main", "kind": "rpm", "limit": 5, "until": 1.8e9}
COUNT = {"name": "upstream:acme/small:main:rpd", "seconds": 86_400.0, "limit": 3, "origin": 1.8e9}
COUNT |= {"parts": [0], "amounts": [3]}
HOSTILE = {
    "empty": b"",
    "truncated": saved([row()])[:-20],
    "no JSON": b"\x80\x81",
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "nested": b"[" * 200_000,
    "older version": saved(version=0),
    "no version": b'{"health":{},"limits":{}}',
    "version of another type": saved(version=["1"]),
    "parts missing": b'{"version":1}',
    "breakers a text": saved("abc"),
    "breakers an object": saved({"a": 1}),
    "breakers of numbers": saved([1]),
    "a breaker in an unknown state": saved([row(state="ajar")]),
    "a state that cannot be compared": saved([row(state={})]),
    "a breaker with NaN": saved([row(open_until=float("nan"))]),
    "a breaker with infinity": saved([row(open_until=float("inf"))]),
    "a breaker with a huge number": saved([row(open_until=10**400)]),
    "a breaker with too many digits": saved([row()]).replace(b"1800001010.0", b"9" * 5000),
    "a breaker with a text as time": saved([row(open_until="soon")]),
    "openings below zero": saved([row(openings=-1)]),
    "openings without end": saved([row(openings=10**9)]),
    "openings that are true": saved([row(openings=True)]),
    "failures a number": saved([row(failures=3)]),
    "a name that is none": saved([row(provider=None)]),
    "a name without end": saved([row(model="m" * 10_000)]),
    "a rest for another reason": saved(rests=[REST | {"reason": "boredom"}]),
    "a rest of an unsound number": saved(rests=[REST | {"times": 1.5}]),
    "a learned limit of nothing": saved(learned=[LEARNED | {"limit": 0}]),
    "a learned limit of a foreign name": saved(learned=[LEARNED | {"name": "client:somebody"}]),
    "a learned limit of half a name": saved(learned=[LEARNED | {"name": "upstream:small"}]),
    "a pause of half a name": saved(paused=[{"name": "upstream:small", "until": 1.9e9}]),
    "a learned limit of an unknown kind": saved(learned=[LEARNED | {"kind": "rps"}]),
    "a pause without a name": saved(paused=[{"until": 1.0}]),
    "counts a number": saved(counts=7),
    "counts a text": saved(counts="abc"),
    "counts an object": saved(counts={"a": 1}),
    "counts nothing": saved(counts=None),
    "a count a number": saved(counts=[1]),
    "a count of a foreign name": saved(counts=[COUNT | {"name": "client:acme/small:main:rpd"}]),
    "a count of half a name": saved(counts=[COUNT | {"name": "upstream:small:rpd"}]),
    "a count of a name that is none": saved(counts=[COUNT | {"name": None}]),
    "a count of a name without end": saved(counts=[COUNT | {"name": "upstream:a/" + "b" * 10_000 + ":c:rpd"}]),
    "a count of an unknown kind": saved(counts=[COUNT | {"name": "upstream:acme/small:main:rps"}]),
    "a count of an unknown kind without a length": saved(
        counts=[COUNT | {"name": "upstream:a/b:c:d", "seconds": None}]
    ),
    "a count of places": saved(counts=[COUNT | {"name": "upstream:acme/small:main:concurrency", "seconds": 0.0}]),
    "a count over another time": saved(counts=[COUNT | {"seconds": 60.0}]),
    "a count since never": saved(counts=[COUNT | {"origin": float("nan")}]),
    "a count of less than nothing": saved(counts=[COUNT | {"amounts": [-3]}]),
    "a count of half a request": saved(counts=[COUNT | {"amounts": [0.5]}]),
    "a count without end": saved(counts=[COUNT | {"amounts": [10**400]}]),
    "a count with parts without amounts": saved(counts=[COUNT | {"parts": [0, 1]}]),
    "a count without parts": saved(counts=[COUNT | {"parts": None}]),
    "keys missing": saved([row()]).replace(b'"keys"', b'"locks"'),
    "keys a text": saved([row()], keys="abc"),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
async def test_a_file_that_cannot_be_used_is_a_warning(
    path: Path, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(raw)
    process = Process(path)

    assert not await process.load()

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert process.health.breaker_rows() == process.health.cooldown_rows() == []
    lease = process.health.lease(BROKEN)
    assert lease
    lease.succeed()
    assert await process.save()


@pytest.mark.parametrize(
    "broken",
    [
        {"keys": [7]},
        {"breakers": [row(), row(state="ajar")]},
        {"paused": [{"name": "upstream:acme/small:main", "until": 9e10}, 7]},
        {"counts": [COUNT, COUNT | {"amounts": 7}]},
    ],
    ids=lambda broken: next(iter(broken)),
)
async def test_a_file_is_taken_over_in_whole_or_not_at_all(path: Path, broken: dict[str, Any]) -> None:
    path.parent.mkdir()
    well = {"breakers": [row()], "paused": [{"name": "upstream:acme/small:main", "until": 9e10}], "counts": [COUNT]}
    path.write_bytes(saved(**well | broken))
    process = Process(path)

    assert not await process.load()

    assert process.health.breaker_rows() == []
    assert await process.limits.rows() == []
    assert await process.limits.wait(deployment(), "main", 1) == 0.0


# keys that were replaced meanwhile


def keys(**values: str) -> Snapshot:
    """A configuration whose provider has these keys."""
    of = provider("acme", keys=tuple(ProviderKey(id, value) for id, value in values.items()))
    return snapshot(deployment("small", of), deployment("large", of))


BEFORE = keys(one="sk-first", two="sk-second")
SMALL = BEFORE.deployments["acme/small"]


async def with_troubles_of_both_keys(path: Path) -> None:
    process = Process(path, configured=BEFORE)
    spent = {"x-ratelimit-limit-requests": "9", "x-ratelimit-remaining-requests": "0"}
    spent["x-ratelimit-reset-requests"] = "50s"
    for key in ("one", "two"):
        for _ in range(POLICY.consecutive):
            lease = process.health.lease(SMALL, key_id=key)
            assert lease
            lease.fail(UpstreamFailure(FailureKind.SERVER_ERROR, "x"))
        lease = process.health.lease(BEFORE.deployments["acme/large"], key_id=key)
        assert lease
        lease.fail(UpstreamFailure(FailureKind.KEY_REJECTED, "x", status=401))
        process.limits.learn(SMALL, key, spent, process.clock.time())
    assert await process.save()


async def troubled_keys(path: Path, configured: Snapshot) -> dict[str, set[str]]:
    """What another process believes of which keys."""
    after = Process(path, configured=configured)
    assert await after.load()
    of = configured.deployments["acme/small"]
    return {
        "breakers": {row["key"] for row in after.health.breaker_rows()},
        "rests": {row["key"] for row in after.health.cooldown_rows()},
        "limits": {key.id for key in of.provider.keys if await after.limits.wait(of, key.id, 1)},
    }


@pytest.mark.parametrize(
    ("configured", "troubled"),
    [
        (BEFORE, {"one", "two"}),
        (keys(one="sk-another", two="sk-second"), {"two"}),
        (keys(one="sk-second", two="sk-first"), set()),
        (keys(one="sk-first", two="sk-second", three="sk-third"), {"one", "two"}),
    ],
)
async def test_a_replaced_key_does_not_inherit_what_the_old_one_did(
    path: Path, configured: Snapshot, troubled: set[str]
) -> None:
    await with_troubles_of_both_keys(path)

    assert await troubled_keys(path, configured) == dict.fromkeys(("breakers", "rests", "limits"), troubled)


@pytest.mark.parametrize(
    "changed",
    [
        {"base_url": "https://right.test/v1"},
        {"headers": {"openai-organization": "org-right"}},
        {"auth_header": "api-key"},
        {"proxy": "http://right.test:3128"},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_a_new_address_starts_with_clean_health(path: Path, changed: dict[str, Any]) -> None:
    await with_troubles_of_both_keys(path)
    of = replace(BEFORE.providers["acme"], **changed)

    troubled = await troubled_keys(path, snapshot(deployment("small", of), deployment("large", of)))

    assert troubled == {"breakers": set(), "rests": set(), "limits": set()}


async def test_a_provider_without_keys_is_known_by_its_address(path: Path) -> None:
    wrong, right = (deployment(of=provider(keyless=True, base_url=f"https://{name}.test")) for name in "ab")
    before = Process(path, configured=snapshot(wrong))
    before.fail(wrong, FailureKind.RATE_LIMITED, retry_after=90.0)
    await before.save()

    rests = []
    for of in (wrong, right):
        after = Process(path, since=1.0, configured=snapshot(of))
        assert await after.load()
        rests.append(len(after.health.cooldown_rows()))

    assert rests == [1, 0]


async def test_a_key_that_is_gone_is_in_nobody_s_way(path: Path) -> None:
    await with_troubles_of_both_keys(path)
    after = Process(path, configured=keys(three="sk-third"))

    assert await after.load()

    assert after.health.lease(after.configured.deployments["acme/small"])


async def test_only_a_short_unique_mark_of_a_key_is_saved(path: Path) -> None:
    same = provider("other", keys=(ProviderKey("one", "sk-same"), ProviderKey("two", "sk-same")))
    local = provider("local", keyless=True, proxy="http://user:sk-same@way.test", headers={"x-token": "sk-same"})
    configured = snapshot(deployment(of=same), deployment(of=local), *keys(one="sk-same").deployments.values())
    process = Process(path, configured=configured)
    process.fail(BROKEN, FailureKind.RATE_LIMITED)
    await process.save()

    marks = json.loads(path.read_bytes())["keys"]

    assert set(marks) == {"other/one", "other/two", "acme/one", "local/-"}
    assert len(set(marks.values())) == 4
    assert all(len(mark) == module.DIGEST_LENGTH for mark in marks.values())
    assert b"sk-same" not in path.read_bytes()


async def test_a_time_too_far_ahead_is_cut_to_the_longest_there_is(path: Path) -> None:
    path.parent.mkdir()
    far = 9e10
    path.write_bytes(
        saved(
            [row(open_until=far, openings=40)],
            [REST | {"until": far, "seconds": far}],
            [LEARNED | {"until": far}],
            [{"name": "upstream:acme/small:main", "until": far}],
        )
    )
    process = Process(path)

    assert await process.load()

    assert process.health.breaker_rows()[0]["open_seconds_left"] == POLICY.max_open
    assert process.health.cooldown_rows()[0]["seconds_left"] == 24 * 3600
    assert await process.limits.wait(deployment(), "main", 1) == 24 * 3600


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
async def test_a_path_that_is_no_file_is_a_warning(path: Path, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    make(path)

    assert not await Process(path).load()
    assert len(caplog.records) == 1


async def test_a_file_that_is_too_large_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    path.parent.mkdir()
    path.write_bytes(saved())

    assert not await Process(path).load()
    assert len(caplog.records) == 1


async def test_what_is_known_here_already_stands(path: Path) -> None:
    await troubled(path)
    after = Process(path, since=20.0)
    for _ in range(2):
        after.fail(BROKEN, FailureKind.SERVER_ERROR)

    await after.load()

    assert [row["open_seconds_left"] for row in after.health.breaker_rows()] == [60.0]


# what limits have counted

DAY = 86_400.0
DAILY = deployment("daily", limits=LimitValues(rpd=3))


async def used_up(path: Path) -> Process:
    """A process that has made as many requests as a day may have; saved."""
    process = Process(path)
    for _ in range(3):
        reservation = await process.limits.reserve(DAILY, "main", 1)
        assert isinstance(reservation, Reservation)
        process.limits.settle(reservation, 1)
    assert await process.save()
    return process


async def test_a_limit_of_a_day_is_one_of_a_day_over_restarts(path: Path) -> None:
    await used_up(path)
    for hours in (1, 2, 3):
        after = Process(path, started=5.0 * hours, since=hours * 3600.0)
        assert await after.load()
        await after.save()

    wait = await after.limits.reserve(DAILY, "main", 1)

    assert isinstance(wait, Wait)
    assert DAY - 3 * 3600 <= wait.seconds <= DAY - 3 * 3600 + DAY / PARTS + 3 * module.DRIFT
    assert [(row["model"], row["used"], row["limit"]) for row in await after.limits.rows()] == [("daily", 3, 3)]
    after.clock.pass_(wait.seconds)
    assert isinstance(await after.limits.reserve(DAILY, "main", 1), Reservation)


async def test_kill_9_loses_only_usage_after_the_last_save(path: Path) -> None:
    process = Process(path)
    await process.limits.reserve(DAILY, "main", 1)
    await process.save()
    await process.limits.reserve(DAILY, "main", 1)

    after = Process(path, since=1.0)
    await after.load()

    assert [row["used"] for row in await after.limits.rows()] == [1]


async def test_usage_of_minute_windows_is_saved_only_at_shutdown(path: Path) -> None:
    of = deployment("small", limits=LimitValues(rpm=1, tpd=9))
    process = Process(path)
    await process.limits.reserve(of, "main", 5)

    waits = []
    for write in (process.save, process.end):
        if found := write():
            assert await found
        after = Process(path, since=1.0)
        assert await after.load()
        waits.append([await after.limits.wait(of, "main", tokens) for tokens in (1, 5)])

    assert [[wait > 0 for wait in row] for row in waits] == [[False, True], [True, True]]
    assert waits[1][0] < 61.0 < waits[0][1]


async def test_a_minute_s_traffic_alone_is_no_reason_to_write(path: Path) -> None:
    process = await used_up(path)

    await process.limits.reserve(deployment("small", limits=LimitValues(rpm=9)), "main", 1)

    assert not await process.save()


async def test_the_state_is_encoded_row_by_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, pieces = Process(path), list[bytes]()  # the event loop can run between two pieces
    for number in range(20):
        await process.limits.reserve(deployment(f"m{number}", limits=LimitValues(rpd=9)), "main", 1)
    encode = msgspec.json.encode

    def encoded(value: Any) -> bytes:
        pieces.append(encode(value))
        return pieces[-1]

    with monkeypatch.context() as patch:
        patch.setattr(msgspec.json, "encode", encoded)
        assert await process.save()

    assert len(json.loads(path.read_bytes())["limits"]["counts"]) == 20
    assert max(piece.count(b"parts") for piece in pieces) == 1


async def test_a_model_name_that_is_no_unicode_is_left_out(path: Path) -> None:
    process = Process(path)
    for name in ("broken", "\ud800"):
        for _ in range(2):
            process.fail(deployment(name), FailureKind.SERVER_ERROR)

    assert await process.save()

    after = Process(path)
    assert await after.load()
    assert [row["model"] for row in after.health.breaker_rows()] == ["broken"]


async def test_places_are_free_again_after_a_restart(path: Path) -> None:
    process = Process(path)
    one = deployment("one", limits=LimitValues(rpm=9, concurrency=1))
    await process.limits.reserve(one, "main", 1)
    await process.save()

    after = Process(path, since=1.0)
    await after.load()

    assert isinstance(await after.limits.reserve(one, "main", 1), Reservation)


async def test_an_idle_process_writes_once_when_its_windows_are_empty(path: Path) -> None:
    process = await used_up(path)

    written = []
    for _ in range(26):
        process.clock.pass_(3600.0)
        written.append(await process.save())

    assert written == [False] * 24 + [True, False]
    assert json.loads(path.read_bytes())["limits"]["counts"] == []


async def test_a_replacing_key_inherits_the_usage(path: Path) -> None:
    of = deployment("small", BEFORE.providers["acme"], limits=LimitValues(rpd=1))
    process = Process(path, configured=BEFORE)
    await process.limits.reserve(of, "one", 1)
    await process.save()

    after = Process(path, since=60.0, configured=keys(one="sk-another", two="sk-second"))
    assert await after.load()

    assert isinstance(await after.limits.reserve(of, "one", 1), Wait)
    assert isinstance(await after.limits.reserve(of, "two", 1), Reservation)


async def test_what_was_taken_in_the_future_was_taken_now(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(saved(counts=[COUNT | {"origin": 9e10}]))
    process = Process(path)

    assert await process.load()

    assert DAY <= await process.limits.wait(deployment(limits=LimitValues(rpd=3)), "main", 1) <= DAY + DAY / PARTS


@pytest.mark.parametrize("tokens", [10**18, 10**4299])
async def test_huge_token_counts_do_not_corrupt_the_state(path: Path, tokens: int) -> None:
    process = Process(path)
    of = deployment("small", limits=LimitValues(tpm=100))
    reservation = await process.limits.reserve(of, "main", 1)
    assert isinstance(reservation, Reservation)
    process.limits.settle(reservation, tokens)

    process.end()

    after = Process(path, since=1.0)
    assert await after.load()
    assert isinstance(await after.limits.reserve(of, "main", 1), Wait)


async def test_an_unnoticed_clock_step_admits_no_call(path: Path) -> None:
    part, step = 60.0 / PARTS, 0.2
    of = deployment("small", limits=LimitValues(rpm=1))
    process = Process(path, started=1000 * part)
    process.clock.pass_(part * 0.99)
    await process.limits.reserve(of, "main", 1)
    process.end()

    after = Process(path, since=part * 0.99 + step + 60.0)
    await after.load()

    assert step < module.DRIFT < part
    assert isinstance(await after.limits.reserve(of, "main", 1), Wait)


async def test_a_newer_file_is_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(saved([row()], version=2))
    process = Process(path)

    assert not await process.load()
    process.fail(OTHER, FailureKind.RATE_LIMITED)
    assert not await process.save()
    process.end()

    assert path.read_bytes() == saved([row()], version=2)
    [record] = caplog.records
    assert "it is kept" in record.fields["why"]  # type: ignore[attr-defined]


async def test_a_clock_that_was_set_back_makes_no_rest_longer(path: Path) -> None:
    before = Process(path, since=3600.0)  # an hour too early
    before.fail(OTHER, FailureKind.RATE_LIMITED, retry_after=5.0)
    for _ in range(2):
        before.fail(BROKEN, FailureKind.SERVER_ERROR)
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7s", "x-ratelimit-limit-tokens": "1"}
    before.limits.learn(LIMITED, "main", headers, before.clock.time())
    assert await before.save()

    after = Process(path)
    assert await after.load()

    assert [row["seconds_left"] for row in after.health.cooldown_rows()] == [5.0]
    assert [row["open_seconds_left"] for row in after.health.breaker_rows()] == [60.0]
    assert await after.limits.wait(LIMITED, "main", 0) == pytest.approx(7.0 + module.DRIFT)


async def test_a_rest_is_never_longer_than_it_was_when_it_began(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(saved([row(open_until=9e10)], [REST | {"until": 9e10, "seconds": 5.0}]))
    process = Process(path)

    assert await process.load()

    assert process.health.cooldown_rows()[0]["seconds_left"] == 5.0
    assert process.health.breaker_rows()[0]["open_seconds_left"] == POLICY.open


OTHER_PROCESS = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
fcntl.lockf(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


async def test_a_second_process_saves_nothing_until_the_first_has_left(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await troubled(path)
    whole = path.read_bytes()
    arguments = [sys.executable, "-c", OTHER_PROCESS, f"{path}.lock"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # noqa: ASYNC220
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        second = Process(path, since=1.0)
        assert await second.load()
        second.health.reset()

        assert not await second.save()
        assert not await second.save()
        second.end()

        assert path.read_bytes() == whole
        assert len([record for record in caplog.records if "another process" in record.message]) == 1
        other.communicate()

    assert await second.save()
    assert path.read_bytes() != whole
