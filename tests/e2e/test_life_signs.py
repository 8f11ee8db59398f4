"""How long a target may be silent before its first content: who reasons may take its time as long as it shows life.

Time goes by only as the tests say, for the clock and for the timers of the server: a model "pings for an hour" at once.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.boxes import Box, boxed
from tests.support.clocks import ServerClock
from tests.support.natives import WIRE_FORMATS, NativeUpstream, named
from tests.support.upstreams import Wire, running
from tests.support.waiting import PATIENCE

DIALECTS = ["openai", "anthropic", "gemini"]
SIGNS = {"openai": b": still thinking\n\n", "anthropic": named("ping"), "gemini": b": still thinking\r\n\r\n"}
STEP = 100.0  # seconds between two signs of life
FIRST_TOKEN = 110.0


class ScriptedAnswer:
    """A script that sends what the test says, when it says so."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._arrived: queue.Queue[bool] = queue.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, wire: Wire) -> None:
        self._loop = asyncio.get_running_loop()
        await wire.head()
        await wire.arrived()
        self._arrived.put(True)
        while piece := await self._pieces.get():
            await wire.send(piece)
            await wire.arrived()
            self._arrived.put(True)
        await wire.end()

    def begun(self) -> None:
        """Wait until the head of the answer has arrived."""
        self._arrived.get(timeout=PATIENCE)

    def send(self, piece: bytes) -> None:
        """Send this, and wait until it has arrived."""
        self._put(piece)
        self._arrived.get(timeout=PATIENCE)

    def end(self) -> None:
        """End the answer."""
        self._put(b"")

    def _put(self, piece: bytes) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


class Thinking:
    """A streamed call whose target has sent the head of its answer, and no content."""

    def __init__(
        self, box: Box, clock: ServerClock, answer: Future[httpx.Response], script: ScriptedAnswer, dialect: str
    ) -> None:
        self.answer = answer
        self.wire_format = WIRE_FORMATS[dialect]
        self._box = box
        self._clock = clock
        self._script = script
        self._sign = SIGNS[dialect]
        script.begun()
        box.rounds()

    def silence(self, seconds: float) -> None:
        """Let time go by, and whoever has had enough of it act."""
        self._clock.pass_(seconds)
        self._box.rounds()

    def sends(self, piece: bytes | None = None) -> None:
        """The target sends something, by itself a sign of life."""
        self._script.send(piece or self._sign)
        self._box.rounds()

    def whole_answer(self) -> httpx.Response:
        """The target makes up its mind."""
        for piece in [*self.wire_format.opening, *self.wire_format.words("a"), *self.wire_format.closing]:
            self._script.send(piece)
        self._script.end()
        return self.answer.result(PATIENCE)


@pytest.fixture
def native() -> Iterator[NativeUpstream]:
    with running(NativeUpstream()) as found:
        yield found


def configuration(url: str, dialect: str, capabilities: list[str], **timeouts: str) -> dict[str, Any]:
    """A model that is asked first, and one that is there in case."""
    provider = {"base_url": f"{url}/v1" if dialect == "openai" else url, "dialect": dialect}
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {**provider, "timeouts": timeouts}, "spare": {"base_url": f"{url}/v1"}},
        "models": [{"id": "up/a", "capabilities": capabilities}, {"id": "spare/b"}],
        "routing": {"scenarios": {"all": ["up/a", "spare/b"]}},
        "resilience": {"deadline": {"hard": "1d"}, "probes": {"enabled": False}},
    }


@contextmanager
def thinking(folder: Path, native: NativeUpstream, dialect: str, config: dict[str, Any]) -> Iterator[Thinking]:
    script, clock = ScriptedAnswer(), ServerClock()
    native.script("a", script)
    with boxed(folder, config, clock) as box:
        yield Thinking(box, clock, box.begin("scenario/all", stream=True), script, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_that_reasons_may_take_as_long_as_it_shows_life(
    native: NativeUpstream, tmp_path: Path, access_log: Any, dialect: str
) -> None:
    config = configuration(native.url, dialect, ["reasoning"], first_token="110s", total="1d")

    with thinking(tmp_path, native, dialect, config) as call:
        for _ in range(20):
            call.silence(STEP)
            call.sends()
        waits = not call.answer.done()
        answer = call.whole_answer()
        line = access_log.next()

    assert waits
    assert native.models == ["a"]
    assert [f"a{number} " in answer.text for number in range(3)] == [True] * 3
    assert [row["outcome"] for row in line["attempts"]] == ["ok"]
    assert line["ttft_ms"] == pytest.approx(20 * STEP * 1000, abs=1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_signs_of_life_do_not_help_a_model_that_does_not_reason(
    native: NativeUpstream, tmp_path: Path, access_log: Any, dialect: str
) -> None:
    config = configuration(native.url, dialect, ["tools"], first_token="110s", total="1d")

    with thinking(tmp_path, native, dialect, config) as call:
        call.silence(STEP)
        call.sends()
        patient = len(native.requests)
        call.silence(FIRST_TOKEN - STEP + 1)
        answer = call.answer.result(PATIENCE)
        line = access_log.next()

    assert patient == 1
    assert native.models == ["a", "b"]
    assert "b2 " in answer.text
    assert [row["outcome"] for row in line["attempts"]] == ["first_token_timeout", "ok"]
    assert native.requests[0].left() > 0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_that_reasons_and_falls_silent_is_given_up(
    native: NativeUpstream, tmp_path: Path, access_log: Any, dialect: str
) -> None:
    config = configuration(native.url, dialect, ["reasoning"], first_token="110s", total="1d")

    with thinking(tmp_path, native, dialect, config) as call:
        for _ in range(5):
            call.silence(STEP)
            call.sends()
        call.silence(FIRST_TOKEN + 1)
        answer = call.answer.result(PATIENCE)
        line = access_log.next()

    assert "b2 " in answer.text
    assert [row["outcome"] for row in line["attempts"]] == ["first_token_timeout", "ok"]


@pytest.mark.parametrize(("capabilities", "seconds"), [(["reasoning"], 300.0), ([], 120.0)])
def test_a_silent_model_has_longer_if_it_reasons(
    native: NativeUpstream, tmp_path: Path, capabilities: list[str], seconds: float
) -> None:
    config = configuration(native.url, "openai", capabilities)

    with thinking(tmp_path, native, "openai", config) as call:
        before = len(native.requests)
        call.sends()
        call.silence(seconds - 5)
        at_the_end = len(native.requests)
        call.silence(6)
        call.answer.result(PATIENCE)

    assert (before, at_the_end, len(native.requests)) == (1, 1, 2)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_signs_of_life_do_not_lengthen_the_whole_attempt(
    native: NativeUpstream, tmp_path: Path, access_log: Any, dialect: str
) -> None:
    config = configuration(native.url, dialect, ["reasoning"], first_token="110s", total="590s")

    with thinking(tmp_path, native, dialect, config) as call:
        for _ in range(5):
            call.silence(STEP)
            call.sends()
        patient = len(native.requests)
        call.silence(STEP)
        answer = call.answer.result(PATIENCE)
        line = access_log.next()

    assert patient == 1
    assert "b2 " in answer.text
    assert [row["outcome"] for row in line["attempts"]] == ["first_token_timeout", "ok"]


def test_signs_of_life_do_not_lengthen_the_calls_deadline(native: NativeUpstream, tmp_path: Path) -> None:
    config = configuration(native.url, "openai", ["reasoning"], first_token="110s", total="1d")
    config["resilience"]["deadline"]["hard"] = "590s"

    with thinking(tmp_path, native, "openai", config) as call:
        for _ in range(5):
            call.silence(STEP)
            call.sends()
        waits = not call.answer.done()
        call.silence(STEP)
        answer = call.answer.result(PATIENCE)

    assert waits
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert native.models == ["a"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whatever_is_sent_before_the_content_is_a_sign_of_life(
    native: NativeUpstream, tmp_path: Path, dialect: str
) -> None:
    config = configuration(native.url, dialect, ["reasoning"], first_token="110s", total="1d")

    with thinking(tmp_path, native, dialect, config) as call:
        for piece in [call.wire_format.opening[0], SIGNS[dialect][:7], SIGNS[dialect][7:]]:
            call.silence(STEP)
            call.sends(piece)
        call.silence(STEP)
        waits = not call.answer.done()
        answer = call.whole_answer()

    assert waits
    assert "a2 " in answer.text
    assert native.models == ["a"]


def test_a_configured_first_token_timeout_applies_to_reasoning(native: NativeUpstream, tmp_path: Path) -> None:
    config = configuration(native.url, "openai", ["reasoning"], first_token="120s")

    with thinking(tmp_path, native, "openai", config) as call:
        call.silence(121)
        asked = list(native.models)
        call.silence(200)
        call.answer.result(PATIENCE)

    assert asked == ["a", "b"]
