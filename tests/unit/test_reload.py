"""Reloading while calls are under way: what is in force changes, what has begun does not, and nothing fails."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from pathlib import Path

import pytest

from proxy.capacity.state import build_state
from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.core.call import Call
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.record import Record
from proxy.core.retry_budget import SECONDS
from proxy.observe.metrics import Metrics
from proxy.reload import Configuration, Reloader
from proxy.routing.plan import plan
from proxy.settle.settle import Settler
from proxy.upstream.assembly import build_upstream
from tests.support.calls import call, record
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, ScriptedTransport, Wait
from tests.unit.upstream.bench import BODY, DONE, OK, ROLE, STOP, TEXT, read

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

FILE = """
providers:
  a: {%(way)s, keys: [{id: one, value: "sk-%(one)s"}, {id: two, value: sk-two}]}
  b: {base_url: "https://b.test/v1", keys: [{value: sk-b}]}
models: [{id: a/m}, {id: b/m}]
testing: %(testing)s
auth: {admin_token: secret}
routing: {aliases: {x: %(to)s/m}}
resilience: {%(resilience)s}
"""
WAY = 'base_url: "https://a.test/v1"'
HELLO = b'{"model":"x","messages":[{"role":"user","content":"Hello"}]}'
STREAM = HELLO[:-1] + b',"stream":true}'


class Service:
    """The far side of a plan, and the configuration that serves."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "signalbox.yaml"
        self.write()
        loaded = load(self.path, {})
        self.clock = VirtualClock()
        long = Answer([ROLE, TEXT, Wait(30), STOP, DONE])
        self.transport = ScriptedTransport(self.clock, {name: lambda: self.answer for name in "ab"})
        self.answer, self.long = OK, long
        self.current = Configuration(loaded)
        self.metrics = Metrics()
        self.upstream = build_upstream(
            self.current,
            build_state("memory", self.clock, fail_open=True),
            outside=self.transport,
            local=self.transport,
            clock=self.clock,
            rng=random.Random(1),
            count=Settler(self.metrics, self.clock, self.current).probed,
            state_path=folder / "state.json",
        )
        self.reloader = Reloader(self.current, self.upstream, self.metrics)

    def write(
        self, to: str = "a", one: str = "one", resilience: str = "", *, way: str = WAY, testing: bool = False
    ) -> None:
        values = {"to": to, "one": one, "resilience": resilience, "way": way, "testing": str(testing).lower()}
        self.path.write_text(FILE % values)

    def reload(self) -> None:
        """As the watcher does."""
        try:
            self.reloader.take(load(self.path, {}))
        except ConfigError as error:
            self.reloader.keep(error)

    def arrived(self, raw: bytes = HELLO) -> Call:
        return call(raw, on=self.current.snapshot)

    async def run(self, of: Call) -> tuple[bytes, Record]:
        made = record(of, started=self.clock.now)
        planned = plan(of, self.upstream.health.view(of.snapshot))
        async with aclosing(await self.upstream.executor.run(of, planned, made)) as relay:
            return await read(relay), made


@pytest.fixture
async def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


async def test_a_hundred_reloads_one_in_ten_of_them_wrong_cost_no_call(service: Service) -> None:
    served = []

    for number in range(100):
        if number % 10 == 9:
            service.path.write_text("providers: [wrong")
        else:
            service.write(to="ab"[number % 2])
        service.reload()
        out, made = await service.run(service.arrived())
        served.append(made.chosen.provider.name if made.chosen and out == BODY else None)

    good = [number if number % 10 != 9 else number - 1 for number in range(100)]
    assert served == ["ab"[number % 2] for number in good]


async def test_a_stream_under_way_keeps_its_target_and_ends_whole(service: Service) -> None:
    service.answer = service.long

    async with asyncio.TaskGroup() as group:
        streaming = group.create_task(service.run(service.arrived(STREAM)))
        await asyncio.sleep(10)
        service.write(to="b")
        service.reload()
        service.answer = OK
        _, after = await service.run(service.arrived())

    out, before = streaming.result()
    assert out == ROLE + TEXT + STOP + DONE
    assert [made.chosen.provider.name for made in (before, after) if made.chosen] == ["a", "b"]


async def test_a_call_that_has_arrived_keeps_what_it_arrived_under(service: Service) -> None:
    early = service.arrived()

    service.write(to="b")
    service.reload()
    _, made = await service.run(early)

    assert made.chosen
    assert made.chosen.provider.name == "a"


async def test_a_wrong_file_changes_nothing_and_is_told(service: Service) -> None:
    before = service.current.snapshot

    service.path.write_text("routing: {default: nobody}")
    service.reload()
    kept, error = service.current.snapshot, service.current.error
    service.write()
    service.reload()

    assert kept is before
    assert error
    assert "nobody" in error
    assert service.current.error is None


async def test_a_new_mode_of_authentication_needs_a_restart(service: Service) -> None:
    before = service.current.snapshot
    text = service.path.read_text()
    issuers = "issuers: [{issuer: i, audience: a, jwks_url: 'https://i/keys'}]"
    service.path.write_text(text.replace("auth: {", f"auth: {{mode: jwt, jwt: {{{issuers}}}, "))

    service.reload()

    assert service.current.snapshot is before
    assert "auth.mode: cannot change while the server runs; restart it" in (service.current.error or "")


async def test_a_new_admin_token_counts_at_once(service: Service) -> None:
    service.path.write_text(service.path.read_text().replace("admin_token: secret", "admin_token: other"))

    service.reload()

    assert service.current.snapshot.auth.admin_token == "other"
    assert service.current.shown()["auth"]["admin_token"] == "***"


async def test_a_reload_keeps_health_and_applies_new_policies(service: Service) -> None:
    lease = service.upstream.health.lease(service.current.snapshot.deployments["b/m"])
    assert lease
    lease.fail(UpstreamFailure(FailureKind.CONNECT, "x"))

    service.write(
        resilience="breaker: {consecutive: 2}, queue: {size: 3}, retry: {budget: {share: 0.5, floor: 1}},"
        " failures: {rate_limit: {rest: 9s}}"
    )
    service.reload()

    upstream = service.upstream
    assert [row["failures"] for row in upstream.health.breaker_rows()] == [1]
    assert service.current.snapshot.breaker.consecutive == 2
    assert service.current.snapshot.failures["rate_limit"].rest == 9.0
    assert service.current.snapshot.queue.size == 3
    upstream.budget.called(service.clock.now)
    upstream.budget.called(service.clock.now)
    assert upstream.budget.allowed(service.clock.now) == 2 * 0.5 + 1.0 * SECONDS


async def test_a_replaced_key_starts_with_clean_health(service: Service) -> None:
    for key in ("one", "two"):
        lease = service.upstream.health.lease(service.current.snapshot.deployments["a/m"], key_id=key)
        assert lease
        lease.fail(UpstreamFailure(FailureKind.KEY_REJECTED, "x", status=401))

    service.write(one="new")
    service.reload()

    assert [row["key"] for row in service.upstream.health.cooldown_rows()] == ["two"]
    out, made = await service.run(service.arrived())
    assert out == BODY
    assert service.transport.requests[-1].headers["authorization"] == "Bearer sk-new"
    assert [attempt.key_id for attempt in made.attempts] == ["one"]


async def test_learned_limits_of_a_replaced_key_are_dropped(service: Service) -> None:
    spent = {
        "x-ratelimit-limit-requests": "9",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1h",
    }
    for key in ("one", "two"):
        service.upstream.limits.learn(service.current.snapshot.deployments["a/m"], key, spent, 0.0)

    service.write(one="new")
    service.reload()
    _, made = await service.run(service.arrived())

    assert [attempt.key_id for attempt in made.attempts] == ["one"]
    assert [row["key"] for row in await service.upstream.limits.rows()] == ["two"]


async def test_a_call_with_the_old_key_does_not_cool_down_the_new_one(service: Service) -> None:
    lease = service.upstream.health.lease(service.current.snapshot.deployments["a/m"], key_id="one")
    assert lease

    service.write(one="new")
    service.reload()
    lease.fail(UpstreamFailure(FailureKind.KEY_REJECTED, "x", status=401))

    assert service.upstream.health.cooldown_rows() == []


async def test_an_answer_to_the_old_key_teaches_no_limits_to_the_new_one(service: Service) -> None:
    spent = {
        "x-ratelimit-limit-requests": "9",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1h",
    }
    old = service.current.snapshot.deployments["a/m"]
    leases = [service.upstream.health.lease(old, key_id=key) for key in ("one", "two")]

    service.write(one="new")
    service.reload()
    for lease in leases:
        assert lease
        service.upstream.slots.learn(lease, spent)

    assert [row["key"] for row in await service.upstream.limits.rows()] == ["two"]


@pytest.mark.parametrize(
    "way",
    [
        'base_url: "https://a.test/v2"',
        WAY + ", headers: {x-team: a}",
        WAY + ", auth_header: api-key",
        WAY + ', proxy: "http://way.test:3128"',
    ],
)
async def test_a_new_address_starts_with_clean_health(service: Service, way: str) -> None:
    upstream, deployments = service.upstream, service.current.snapshot.deployments
    for name, key, kind in (
        ("a/m", "one", FailureKind.CONNECT),
        ("a/m", "two", FailureKind.KEY_REJECTED),
        ("b/m", "main", FailureKind.CONNECT),
    ):
        lease = upstream.health.lease(deployments[name], key_id=key)
        assert lease
        lease.fail(UpstreamFailure(kind, "x"))
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h"}
    upstream.limits.learn(deployments["a/m"], "one", spent, 0.0)

    service.write(way=way)
    service.reload()

    assert service.current.error is None
    assert [row["provider"] for row in upstream.health.breaker_rows()] == ["b"]
    assert upstream.health.cooldown_rows() == []
    assert await upstream.limits.rows() == []


async def test_counts_of_limits_stay_whatever_leads_to_the_provider(service: Service) -> None:
    limited = service.path.read_text().replace("{id: a/m}", "{id: a/m, limits: {rpd: 1}}")
    service.path.write_text(limited)
    service.reload()
    await service.upstream.limits.reserve(service.current.snapshot.deployments["a/m"], "one", 1)

    service.path.write_text(limited.replace("a.test/v1", "a.test/v2"))
    service.reload()

    assert service.current.error is None
    assert [row["used"] for row in await service.upstream.limits.rows() if row["used"]] == [1]
    assert await service.upstream.limits.wait(service.current.snapshot.deployments["a/m"], "one", 1) > 0.0


async def test_another_reload_leaves_everything_as_it_was(service: Service) -> None:
    lease = service.upstream.health.lease(service.current.snapshot.deployments["a/m"], key_id="one")
    assert lease
    lease.fail(UpstreamFailure(FailureKind.KEY_REJECTED, "x", status=401))

    service.write(to="b", way=WAY + ", timeouts: {total: 9s}, any_model: true")
    service.reload()

    assert [row["key"] for row in service.upstream.health.cooldown_rows()] == ["one"]


async def test_a_provider_that_comes_back_begins_anew(service: Service) -> None:
    lease = service.upstream.health.lease(service.current.snapshot.deployments["b/m"])
    assert lease
    lease.fail(UpstreamFailure(FailureKind.KEY_REJECTED, "x", status=401))
    whole = service.path.read_text()

    lines = (line for line in whole.splitlines() if not line.startswith("  b:"))
    service.path.write_text("\n".join(lines).replace(", {id: b/m}", ""))
    service.reload()
    service.path.write_text(whole.replace("b.test/v1", "b.test/v2"))
    service.reload()

    assert service.current.error is None
    assert service.upstream.health.cooldown_rows() == []


async def test_calls_to_the_old_address_do_not_affect_the_new_one(service: Service) -> None:
    health, of = service.upstream.health, service.current.snapshot.deployments["a/m"]
    leases = [health.lease(of, key_id="one") for _ in range(2 * service.current.snapshot.breaker.consecutive)]

    service.write(way=WAY + ", headers: {x-team: a}")
    service.reload()
    for lease in leases:
        assert lease
        lease.fail(UpstreamFailure(FailureKind.CONNECT, "x"))

    assert health.breaker_rows() == []


@pytest.mark.parametrize(("testing", "active"), [(True, 1), (False, 0)])
async def test_simulated_failures_end_when_testing_does(service: Service, *, testing: bool, active: int) -> None:
    service.write(testing=True)
    service.reload()
    service.upstream.simulator.fail("a", None, "error", 3600.0)

    service.write(to="b", testing=testing)
    service.reload()

    assert len(service.upstream.simulator.rows()) == active
