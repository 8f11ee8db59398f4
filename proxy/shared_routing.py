"""What `auto` knows besides its configuration, shared by replicas through Redis.

That is which model has answered a conversation, and the scores and costs of decisions, from which `routing.cost` takes
its threshold. Each replica appends its own news to a log in Redis, and reads that of the others, once a second and in
the background: no call waits for it. Without Redis each replica goes on with its own, and what it could not append is
lost. A new replica reads the log from its start.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from secrets import token_hex
from typing import NamedTuple

from msgspec import DecodeError, Struct, msgpack

from proxy.capacity.redis.client import Script, StateClient, state_key
from proxy.core.clock import Clock
from proxy.core.errors import StateUnavailable
from proxy.core.plan import CostSample, Warm
from proxy.core.policies import CostTarget
from proxy.routing.calibrate import Calibrator
from proxy.upstream.warm import KEPT_SECONDS, WarmPrompts

EVERY = 1.0  # seconds between two looks into the log
MOST = 300  # conversations, and decisions, of one entry; the oldest are left out
BATCH = 20  # entries that are read at once
MILLISECONDS = 1_000

_KEYS = [state_key("routing")]

# ARGV: the last id read, the most entries to read, and an entry or nothing. Returns Redis's time, and newer entries.
_EXCHANGE = Script("""
if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', 200, '*', 'news', ARGV[3])
  redis.call('EXPIRE', KEYS[1], 86400)
end
local t = redis.call('TIME')
local read = redis.call('XREAD', 'COUNT', ARGV[2], 'STREAMS', KEYS[1], ARGV[1])
return {t[1] * 1000 + math.floor(t[2] / 1000), read and read[1][2] or {}}
""")


class Answered(NamedTuple):
    """A conversation, and the model that has answered it."""

    conversation: bytes
    model: str
    tokens: int
    seconds: float  # before the entry was appended


class Decision(NamedTuple):
    """A decision under a target of `routing.cost`."""

    target: CostTarget
    classifier: str
    sample: CostSample


class News(Struct):
    """One entry of the log."""

    process: str
    answered: list[Answered] = []
    decisions: list[Decision] = []


_read = msgpack.Decoder(News).decode


class SharedRouting:
    """Exchanges the news of `warm` and `calibrator` with other replicas, until cancelled."""

    def __init__(self, client: StateClient, warm: WarmPrompts, calibrator: Calibrator, clock: Clock) -> None:
        self._client = client
        self._warm = warm
        self._calibrator = calibrator
        self._clock = clock
        self._process = token_hex(8)
        self._last = b"0"  # the id of the newest entry that was read
        self._answered: deque[tuple[float, bytes, Warm]] = deque(maxlen=MOST)  # with their times
        self._decisions: deque[Decision] = deque(maxlen=MOST)
        warm.on_note, calibrator.on_note = self._take_answer, self._take_decision

    async def run(self) -> None:
        """Exchange until cancelled."""
        while True:
            with suppress(StateUnavailable):
                await self.exchange()
            await self._clock.sleep(EVERY)

    async def exchange(self) -> None:
        """Append the own news, and apply that of others. Raises `StateUnavailable`."""
        entry = self._entry()
        while True:
            now, entries = await self._client.call(_EXCHANGE, _KEYS, [self._last, BATCH, entry])
            for id, fields in entries:
                self._last = id
                with suppress(DecodeError, UnicodeDecodeError):  # of another version
                    self._apply(_read(fields[1]), (now - int(id.partition(b"-")[0])) / MILLISECONDS)
            if len(entries) < BATCH:
                return
            entry = b""

    def _take_answer(self, conversation: bytes, warm: Warm) -> None:
        self._answered.append((self._clock.monotonic(), conversation, warm))

    def _take_decision(self, target: CostTarget, classifier: str, sample: CostSample) -> None:
        self._decisions.append(Decision(target, classifier, sample))

    def _entry(self) -> bytes:
        """Return the news since the last exchange; empty if there is none."""
        if not self._answered and not self._decisions:
            return b""
        now = self._clock.monotonic()
        answered = [Answered(conversation, *warm, now - at) for at, conversation, warm in self._answered]
        news = News(self._process, answered, list(self._decisions))
        self._answered.clear()
        self._decisions.clear()
        return msgpack.encode(news)

    def _apply(self, news: News, age: float) -> None:
        """Apply an entry of another process; `age` is in seconds."""
        if news.process == self._process:
            return
        for conversation, model, tokens, seconds in news.answered:
            left = KEPT_SECONDS - max(0.0, age) - max(0.0, seconds)
            self._warm.follow(conversation, Warm(model, tokens), left)
        self._calibrator.follow(each for each in news.decisions if _has_meaning(each.sample))


def _has_meaning(sample: CostSample) -> bool:
    """Return whether a decision can be counted; a log that others can write to may hold any number."""
    costs = (sample.weak_nusd, sample.strong_nusd, sample.nusd)
    return math.isfinite(sample.score) and all(cost is None or cost >= 0 for cost in costs)
