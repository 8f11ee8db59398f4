"""Responses in the background: how their calls run and end. The store is a fake, and time is virtual."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.arrival import Arrival
from proxy.background.recorder import Recorder
from proxy.background.service import RENEW_SECONDS, RETRY_SECONDS, BackgroundCalls
from proxy.core.errors import InvalidRequest, ProxyError, RateLimited, Unavailable, UpstreamError
from proxy.store.background import RUNNING, Batch, NewResponse, View
from proxy.store.errors import Missing, StoreUnavailable
from tests.support.background import arrival_of, begun_call, events
from tests.support.clocks import VirtualClock, idle

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

Run = Callable[[Arrival], Awaitable[None]]


class Store:
    """Keeps responses, and stands for both stores. While it is `broken`, it does not answer."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.events: list[bytes] = []
        self.broken = False

    def check(self) -> None:
        if self.broken:
            raise StoreUnavailable("the store is unavailable: gone")

    async def create(self, new: NewResponse) -> None:
        self.check()
        self.rows[new.id] = {"status": "queued", "document": new.document, "owner": new.owner, "request": new.request}

    async def append(self, batches: Sequence[Batch]) -> Sequence[str]:
        self.check()
        for batch in batches:
            self.events += batch.events
            if batch.document is not None and self.runs(batch.id):
                self.rows[batch.id] |= {"status": "in_progress", "document": batch.document}
        return [batch.id for batch in batches if not self.runs(batch.id)]

    async def renew(self, owners: Sequence[str]) -> Sequence[str]:
        self.check()
        return [id for id, row in self.rows.items() if row["owner"] in owners and self.runs(id)]

    async def end(self, tenant: str, id: str, status: str, document: bytes) -> bool:
        self.check()
        ran = self.runs(id)
        if ran:
            self.rows[id] |= {"status": status, "document": document}
        return ran

    async def view(self, tenant: str, id: str, after: int | None) -> View:
        self.check()
        if id not in self.rows:
            raise Missing(f"there is no response `{id}`")
        row = self.rows[id]
        return View(row["status"], row["document"], row["owner"], False, False, [], False)

    async def delete(self, tenant: str, id: str) -> None:
        self.check()
        del self.rows[id]

    def runs(self, id: str) -> bool:
        return id in self.rows and self.rows[id]["status"] in RUNNING


class Service:
    """The service with its fakes."""

    def __init__(self) -> None:
        self.store: Any = Store()
        self.calls = BackgroundCalls(self.store, self.store, VirtualClock())

    async def begin(self, run: Run, number: int = 1, **body: Any) -> Any:
        call = begun_call(number, **body)
        return await self.calls.begin(arrival_of(call), call.raw, call, run)

    def status(self, number: int = 1) -> str:
        status: str = self.store.rows[f"resp_{number}"]["status"]
        return status

    def error(self, number: int = 1) -> Any:
        return json.loads(self.store.rows[f"resp_{number}"]["document"])["error"]


@asynccontextmanager
async def running() -> AsyncIterator[Service]:
    """A service that runs."""
    service = Service()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(service.calls.run())
        await idle()
        try:
            yield service
        finally:
            task.cancel()


def answers(gate: asyncio.Event | None = None, error: Exception | None = None, *, admits: bool = True) -> Run:
    """A call that is admitted, waits at the gate, and ends with `error`, or with its turn written."""

    async def run(arrival: Arrival) -> None:
        assert isinstance(arrival, Recorder)
        if admits:
            arrival.expect_stream(bytes)
            await arrival.begin_stream(200, b"", events=True)
        if gate is not None:
            await gate.wait()
        if error is not None:
            raise error
        arrival.write(events("completed"))

    return run


async def test_call_goes_on_without_its_client() -> None:
    gate = asyncio.Event()
    async with running() as service:
        begun = await service.begin(answers(gate), input="Hello")
        async with asyncio.TaskGroup() as group:
            client = group.create_task(begun.answer(arrival_of(begun_call(1)), []))
            client.cancel()
        await asyncio.sleep(RENEW_SECONDS)
        in_between = service.status()
        gate.set()
        await idle()

    assert in_between == "in_progress"
    assert client.cancelled()
    assert service.calls.recorder("-", "resp_1") is None
    request = json.loads(service.store.rows["resp_1"]["request"])
    assert [item["content"][0]["text"] for item in request["input"]] == ["Hello"]


async def test_call_that_is_not_admitted_leaves_nothing() -> None:
    async with running() as service:
        begun = await service.begin(answers(error=RateLimited("No."), admits=False))
        with pytest.raises(RateLimited):
            await begun.answer(arrival_of(begun_call(1)), [])

    assert service.store.rows == {}


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidRequest("No."), "server_error"), (RateLimited("No."), "rate_limit_exceeded")]
)
async def test_admitted_call_that_fails_is_a_failed_response(error: ProxyError, code: str) -> None:
    async with running() as service:
        await service.begin(answers(error=error))
        await idle()

    assert (service.status(), service.error()["code"]) == ("failed", code)


async def test_bug_in_one_call_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()
    async with running() as service:
        await service.begin(answers(gate), 1)
        await service.begin(answers(error=ZeroDivisionError()), 2)
        await asyncio.sleep(RENEW_SECONDS)
        other = service.calls.recorder("-", "resp_1")

    assert (service.status(2), service.error(2)["code"]) == ("failed", "server_error")
    assert other is not None
    assert [record.message for record in caplog.records] == ["internal error of a response in the background"]


async def test_answer_without_an_end_is_a_failed_response() -> None:
    async def run(arrival: Arrival) -> None:
        arrival.expect_stream(bytes)

    async with running() as service:
        await service.begin(run)
        await idle()

    assert service.status() == "failed"
    assert service.error()["message"] == "The answer has no end."


async def test_end_is_written_when_the_store_is_back() -> None:
    async with running() as service:
        await service.begin(answers(error=UpstreamError("gone")))
        service.store.broken = True
        await asyncio.sleep(10 * RETRY_SECONDS)
        before = service.status()
        service.store.broken = False
        await asyncio.sleep(RETRY_SECONDS)

    assert (before, service.status()) == ("queued", "failed")


async def test_response_that_was_cancelled_elsewhere_ends_here() -> None:
    async with running() as service:
        await service.begin(answers(asyncio.Event()))
        service.store.rows["resp_1"]["status"] = "cancelled"
        await asyncio.sleep(2 * RENEW_SECONDS)
        recorder = service.calls.recorder("-", "resp_1")

    assert (service.status(), recorder) == ("cancelled", None)


async def test_response_is_cancelled_for_its_tenant_alone() -> None:
    async with running() as service:
        await service.begin(answers(asyncio.Event()))
        assert service.calls.recorder("team:red", "resp_1") is None
        view = await service.calls.cancel("-", "resp_1")
        await idle()
        again = await service.calls.cancel("-", "resp_1")

    assert (view.status, again.status) == ("cancelled", "cancelled")
    assert service.calls.recorder("-", "resp_1") is None


async def test_call_whose_turn_is_being_written_is_not_ended() -> None:
    ended: list[str] = []

    async def run(arrival: Arrival) -> None:
        assert isinstance(arrival, Recorder)
        arrival.expect_stream(bytes)
        await arrival.begin_stream(200, b"", events=True)
        turn = begun_call(1).turn
        assert turn is not None
        await arrival.complete(turn)
        service.store.rows["resp_1"]["status"] = "completed"  # the store has it, its answer is on the way
        await asyncio.sleep(3 * RENEW_SECONDS)
        arrival.write(events("completed"))
        ended.append("whole")

    async with running() as service:
        await service.begin(run)
        await asyncio.sleep(5 * RENEW_SECONDS)

    assert (ended, service.status()) == (["whole"], "completed")


async def test_shutdown_ends_what_runs() -> None:
    async with running() as service:
        await service.begin(answers(asyncio.Event()))
        await asyncio.sleep(RENEW_SECONDS)

    assert (service.status(), service.error()["code"]) == ("failed", "server_error")
    assert service.error()["message"] == "The server is shutting down."


async def test_nothing_begins_behind_the_end() -> None:
    async with running() as service:
        pass

    with pytest.raises(Unavailable):
        await service.begin(answers())
    assert service.store.rows == {}


async def test_nothing_begins_without_the_store() -> None:
    async with running() as service:
        service.store.broken = True
        with pytest.raises(Unavailable) as caught:
            await service.begin(answers())

    assert caught.value.error_code == "store_unavailable"
