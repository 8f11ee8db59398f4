"""Breakers and cooldowns that replicas share through Redis.

A replica publishes each change, and polls for the changes of others twice a second, in the background: an open breaker
is seen everywhere within a second, and no call waits for it. Without Redis each replica goes on with its own.

Redis has one hash of what is open or in cooldown, with the version of each entry; a poll without news is one short
answer. Half-open attempts are not shared: each replica makes its own, and the first success closes the breaker
everywhere.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from secrets import token_hex
from typing import Any

from proxy.capacity.limits import Limits
from proxy.capacity.redis.client import Script, StateClient, state_key
from proxy.core.clock import Clock
from proxy.core.errors import StateUnavailable
from proxy.core.failures import FailureKind
from proxy.core.model import KEYLESS, RouteKey
from proxy.core.snapshot import Live
from proxy.upstream.cooldowns import CooldownKey
from proxy.upstream.health import Health
from proxy.upstream.identity import identity

POLL_SECONDS = 0.5
DIGEST_LENGTH = 4  # hexadecimal digits: enough to notice another key of the same id, too few to guess a weak one
MICROSECONDS = 1_000_000
_KEYS = [state_key("health"), state_key("health", "version")]

# KEYS: the hash and the version. ARGV: the field, the remaining microseconds (0: over), and the rest of the entry.
_WRITE = Script("""
local t = redis.call('TIME'); local now = t[1] * 1000000 + t[2]
local version = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, now)
local week = 7 * 86400
redis.call('SET', KEYS[2], string.format('%.0f', version), 'EX', week)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f ', version, now + ARGV[2]) .. ARGV[3])
redis.call('EXPIRE', KEYS[1], week)
""")

# ARGV: the last version read. Returns the version, and of newer entries the field, remaining microseconds and rest.
_READ = Script("""
local version = redis.call('GET', KEYS[2])
if not version or version == ARGV[1] then return {version or '0'} end
local t = redis.call('TIME'); local now = t[1] * 1000000 + t[2]
local news, entries = {version}, redis.call('HGETALL', KEYS[1])
for index = 1, #entries, 2 do
  local written, ends, rest = string.match(entries[index + 1], '^(%d+) (%d+) (.*)$')
  if tonumber(written) > tonumber(ARGV[1]) then
    news[#news + 1] = {entries[index], math.max(0, ends - now), rest}
  end
  if ends + 60000000 < now then redis.call('HDEL', KEYS[1], entries[index]) end
end
return news
""")


class SharedHealth:
    """Publishes the changes of `health` and `limits`, and applies those of other replicas, until cancelled."""

    def __init__(self, client: StateClient, health: Health, limits: Limits, live: Live, clock: Clock) -> None:
        self._client = client
        self._health = health
        self._limits = limits
        self._live = live
        self._clock = clock
        self._process = token_hex(8)
        self._version = b"0"
        health.on_breaker, health.on_cooldown = self.publish_breaker, self.publish_cooldown
        limits.on_cooldown = self.publish_limit
        client.on_recovery.append(self.publish_all)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            with suppress(StateUnavailable):
                await self.poll()
            await self._clock.sleep(POLL_SECONDS)

    async def poll(self) -> None:
        """Apply what other replicas have changed since the last poll."""
        self._version, *entries = await self._client.call(_READ, _KEYS, [self._version])
        changed = False
        for field, remaining, rest in entries:
            kind, *names = json.loads(field)
            entry = json.loads(rest)
            if entry["process"] != self._process and self._is_same_key(names, entry):
                self._apply(kind, names, remaining / MICROSECONDS, entry)
                changed = True
        if changed:
            self._health.notify()

    def publish_all(self) -> None:
        """Publish everything that is open or in cooldown: Redis may have lost it."""
        for route, _ in self._health.breakers.not_closed():
            self.publish_breaker(route)
        for key in self._health.cooldowns.entries:
            self.publish_cooldown(key)

    def publish_breaker(self, route: RouteKey) -> None:
        """Publish that a breaker is open or closed; half-open is each replica's own."""
        breaker = self._health.breakers.failed.get(route)
        state = breaker.state if breaker else "closed"
        if state == "half-open":
            return
        seconds = breaker.open_until - self._clock.monotonic() if breaker and state == "open" else 0.0
        count, reason = (breaker.openings, breaker.reason) if breaker else (0, "")
        self._publish("breaker", route, seconds, count=count, reason=reason)

    def publish_cooldown(self, key: CooldownKey) -> None:
        """Publish a cooldown, or its end."""
        cooldown = self._health.cooldowns.entries.get(key)
        seconds = cooldown.until - self._clock.monotonic() if cooldown else 0.0
        count, reason = (cooldown.times, cooldown.reason.value) if cooldown else (0, "")
        names = (key.provider, key.model, key.key_id)
        self._publish("cooldown", names, seconds, count=count, reason=reason)

    def publish_limit(self, route: RouteKey, seconds: float) -> None:
        """Publish a cooldown of a limit that the provider reported as exhausted, or with 0 its end."""
        self._publish("limit", route, seconds)

    def _publish(self, kind: str, names: tuple[str, str | None, str], seconds: float, **entry: Any) -> None:
        digest = self._digest(names[0], names[2])
        if self._client.available and digest is not None:
            rest = json.dumps({"process": self._process, "key": digest, **entry})
            length = math.ceil(max(0.0, seconds) * MICROSECONDS)
            self._client.post(_WRITE, _KEYS, [json.dumps([kind, *names]), length, rest])

    def _apply(self, kind: str, names: list[str], seconds: float, entry: dict[str, Any]) -> None:
        now, (provider, model, key_id) = self._clock.monotonic(), names
        route = RouteKey(provider, model, key_id)
        if kind == "breaker":
            self._health.breakers.follow(route, seconds, entry["count"], entry["reason"], now)
        elif kind == "limit":
            self._limits.follow_cooldown(route, seconds)
        else:
            key = CooldownKey(provider, key_id, model)
            if seconds:
                self._health.cooldowns.start(key, FailureKind(entry["reason"]), seconds, entry["count"], now)
            else:
                self._health.cooldowns.end(key, now)

    def _is_same_key(self, names: list[str], entry: dict[str, Any]) -> bool:
        """Return whether the key of that id is the same here; in a rolling update it may have been replaced."""
        return bool(entry["key"] == self._digest(names[0], names[2]))

    def _digest(self, provider_name: str, key_id: str) -> str | None:
        provider = self._live.snapshot.providers.get(provider_name)
        for key in (provider.keys or (None,)) if provider else ():
            if provider and (key.id if key else KEYLESS) == key_id:
                return identity(provider, key)[:DIGEST_LENGTH]
        return None
