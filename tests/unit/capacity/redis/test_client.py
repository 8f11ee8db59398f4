"""The connection to Redis: order, cancellation, and the circuit around failures."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.capacity.redis.client import LOGGED_AGAIN_SECONDS, Script, StateClient, state_key
from proxy.core.clock import SystemClock
from proxy.core.errors import StateUnavailable
from tests.support.certificates import Certificates
from tests.support.redis_server import Line, RedisServer, free_port, redis_server_at
from tests.support.redis_server import redis as redis
from tests.support.redis_server import shared_redis as shared_redis
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

APPEND = Script("return redis.call('APPEND', KEYS[1], ARGV[1])")
GET = Script("return redis.call('GET', KEYS[1])")
PUSH = Script("return redis.call('LPUSH', KEYS[1], ARGV[1])")
KEY = state_key("test")


class Later(SystemClock):
    """A clock that can be moved on."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@asynccontextmanager
async def connected(url: str, clock: SystemClock | None = None) -> AsyncIterator[StateClient]:
    client = StateClient(url, clock or SystemClock())
    await client.start()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        await asyncio.sleep(0)
        yield client
        task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110, another process changes it
            await asyncio.sleep(0.005)


async def test_scripts_run_in_the_order_in_which_they_are_sent(redis: RedisServer) -> None:
    async with connected(redis.url) as client:
        client.post(APPEND, [KEY], ["a"])
        lengths = [client.call(APPEND, [KEY], [letter]) for letter in "bc"]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(length) for length in lengths]
        client.post(APPEND, [KEY], ["d"])

        assert [task.result() for task in tasks] == [2, 3]
        assert await client.call(GET, [KEY]) == b"abcd"


async def test_a_flushed_script_is_loaded_again(redis: RedisServer) -> None:
    async with connected(redis.url) as client:
        await client.call(APPEND, [KEY], ["a"])
        redis.command("SCRIPT", "FLUSH")

        assert await client.call(APPEND, [KEY], ["b"]) == 2


async def test_the_result_for_a_cancelled_caller_is_reported(redis: RedisServer) -> None:
    abandoned: list[object] = []
    async with connected(redis.url) as client:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.call(APPEND, [KEY], ["ab"], abandoned.append))
            await asyncio.sleep(0)
            task.cancel()
        await client.call(GET, [KEY])

    assert abandoned == [2]


async def test_what_was_posted_last_is_sent_before_the_end(redis: RedisServer) -> None:
    async with connected(redis.url) as client:
        client.post(APPEND, [KEY], ["a"])

    assert "a" in redis.command("GET", KEY)


async def test_a_result_that_arrives_before_the_cancellation_is_reported(redis: RedisServer) -> None:
    abandoned: list[object] = []
    async with connected(redis.url) as client:
        call = client.call(APPEND, [KEY], ["ab"], abandoned.append)
        call.send(None)
        await client.call(GET, [KEY])
        with pytest.raises(asyncio.CancelledError):
            call.throw(asyncio.CancelledError())

    assert abandoned == [2]


async def test_database_and_password_of_the_url_are_used(tmp_path: Path) -> None:
    with redis_server_at(tmp_path, "--requirepass", "s3cret") as server:
        async with connected(f"redis://:s3cret@127.0.0.1:{server.port}/5") as client:
            assert await client.call(APPEND, [KEY], ["a"]) == 1
            assert not (await client.call(Script("return redis.call('EXISTS', KEYS[1])"), [KEY])) - 1


async def test_tls_and_users_of_redis_are_supported(tmp_path: Path, certificates: Certificates) -> None:
    folder = certificates.folder
    options = ("--tls-cert-file", "localhost.pem", "--tls-key-file", "localhost.key", "--tls-ca-cert-file", "ca.pem")
    files = [str(folder / word) if word.endswith((".pem", ".key")) else word for word in options]
    with redis_server_at(tmp_path, "--tls-auth-clients", "no", *files) as server:
        port = free_port()
        assert server.command("CONFIG", "SET", "tls-port", str(port)) == "+OK\r\n"
        server.command("ACL", "SETUSER", "box", "on", ">s3cret", "~{signalbox}*", "+@all")
        url = f"rediss://box:s3cret@127.0.0.1:{port}/0"

        async with connected(f"{url}?ssl_ca_certs={folder}/ca.pem") as client:
            assert await client.call(APPEND, [KEY], ["a"]) == 1
        async with connected(url) as client:  # of an unknown authority
            assert not client.available


async def test_a_password_is_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with redis_server_at(tmp_path, "--requirepass", "right") as server:
        async with connected(f"redis://:wr0ng-pass@127.0.0.1:{server.port}") as client:
            assert not client.available

    assert "the shared state is unavailable" in caplog.text
    assert "wr0ng-pass" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    "url", ["redis://h:port-s3cret/0", "redis://u:s3cret@[::1/0", "redis://u:s3cret@h/0?unknown=1"]
)
def test_an_invalid_url_is_rejected_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match="is not a valid URL") as caught:
        StateClient(url, SystemClock())

    assert "s3cret" not in str(caught.value)


async def test_a_refused_connection_fails_at_once_and_recovers(tmp_path: Path) -> None:
    with redis_server_at(tmp_path) as server:
        async with connected(server.url) as client:
            server.stop()
            await until(lambda: not client.available)
            with pytest.raises(StateUnavailable):
                await client.call(GET, [KEY])
            client.post(APPEND, [KEY], ["kept"])

            server.start()
            await until(lambda: client.available)

            assert await client.call(GET, [KEY]) == b"kept"


async def test_a_frozen_server_delays_only_the_first_calls(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with redis_server_at(tmp_path) as server:
        async with connected(server.impatient_url) as client:
            server.freeze()
            began = loop.time()
            with pytest.raises(StateUnavailable):
                await client.call(GET, [KEY])
            assert loop.time() - began >= client.answer_seconds
            for _ in range(100):
                with pytest.raises(StateUnavailable):  # without a wait: the circuit is open
                    client.call(GET, [KEY]).send(None)

            server.thaw()
            await until(lambda: client.available)
            assert await client.call(GET, [KEY]) is None


async def test_a_slow_server_is_unavailable_until_it_is_fast(redis: RedisServer) -> None:
    async with Line(redis.port) as line, connected(line.url) as client:
        await client.call(APPEND, [KEY], ["a"])
        line.delay = 2.0
        with pytest.raises(StateUnavailable):
            await client.call(APPEND, [KEY], ["b"])
        assert not client.available

        line.delay = 0.0
        await until(lambda: client.available)


async def test_a_server_that_is_always_a_little_slow_is_unavailable_too(redis: RedisServer) -> None:
    async with Line(redis.port) as line, connected(line.url) as client:
        line.delay = client.slow_seconds
        assert line.delay * 2 < client.answer_seconds
        while client.available:  # it answers each call, but no call is fast
            with contextlib.suppress(StateUnavailable):
                await client.call(APPEND, [KEY], ["a"])
        assert redis.command("GET", KEY) != "$-1\r\n"

        line.delay = 0.0
        await until(lambda: client.available)


async def test_a_cut_connection_is_replaced(redis: RedisServer) -> None:
    recoveries: list[bool] = []
    async with Line(redis.port) as line, connected(line.url) as client:
        client.on_recovery.append(lambda: recoveries.append(client.available))
        line.cut()
        await until(lambda: not client.available)
        await until(lambda: client.available)

        assert await client.call(APPEND, [KEY], ["a"]) == 1
    assert recoveries == [True]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("ACL", "SETUSER", "default", "-@scripting"), ("ACL", "SETUSER", "default", "+@all")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["scripts forbidden", "out of memory", "read-only replica"],
)
async def test_a_server_that_refuses_scripts_is_unavailable(
    tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    with redis_server_at(tmp_path) as server:
        async with connected(server.url) as client:
            assert server.command(*before) == "+OK\r\n"
            with pytest.raises(StateUnavailable):
                await client.call(APPEND, [KEY], ["a"])
            assert not client.available

            assert server.command(*after) == "+OK\r\n"
            await until(lambda: client.available)
            assert await client.call(APPEND, [KEY], ["a"]) == 1


async def test_many_refused_commands_are_one_outage(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    refused = Script("return redis.error_reply('READONLY in this test')")

    async def call() -> None:
        with pytest.raises(StateUnavailable):
            await client.call(refused, [KEY])

    async with connected(redis.url) as client:
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(call())
        await until(lambda: client.available)

    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("the shared state is unavailable") == 1


async def test_a_foreign_value_fails_one_call_only(redis: RedisServer) -> None:
    async with connected(redis.url) as client:
        await client.call(APPEND, [KEY], ["a"])
        with pytest.raises(StateUnavailable):
            await client.call(PUSH, [KEY], ["a"])

        assert client.available


async def test_a_failure_that_repeats_is_logged_once_a_minute(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock, other = Later(), state_key("other")
    async with connected(redis.url, clock) as client:
        for key in (KEY, other):
            await client.call(APPEND, [key], ["a"])
        for key, seconds in ((KEY, 0.0), (KEY, 2.0), (other, 2.0), (KEY, 2.0), (other, LOGGED_AGAIN_SECONDS)):
            clock.ahead += seconds
            with pytest.raises(StateUnavailable):
                await client.call(PUSH, [key], ["a"])

    failures = [record for record in caplog.records if record.getMessage() == "a script of the shared state failed"]
    assert [record.fields["keys"] for record in failures] == [[KEY], [other], [other]]  # type: ignore[attr-defined]


async def test_a_server_that_evicts_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with redis_server_at(tmp_path, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server:
        async with connected(server.url) as client:
            assert client.available

    assert "Redis may evict the shared state" in caplog.text


async def test_an_outage_writes_two_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with redis_server_at(tmp_path) as server:
        async with connected(server.url) as client:
            caplog.clear()
            server.stop()
            await until(lambda: not client.available)
            for _ in range(1000):
                with pytest.raises(StateUnavailable):
                    await client.call(GET, [KEY])
            server.start()
            await until(lambda: client.available)

    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("the shared state is available") == 1
    assert 1 <= lines.count("the shared state is unavailable") <= 2  # connection closed, then refused
    assert len(lines) <= 3
