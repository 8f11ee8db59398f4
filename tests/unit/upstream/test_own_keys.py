"""Users' own provider keys in calls: which key is used, and when pooled keys may follow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from proxy.core.accounts import Budget
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment, ProviderKey, UserKeys
from proxy.core.plan import Plan
from proxy.core.principal import Identified, Principal
from proxy.core.record import Record
from proxy.store.errors import InvalidValue, StoreUnavailable
from proxy.upstream.health import Health
from proxy.upstream.own_keys import LONGEST_STALE_SECONDS, MAX_USERS, STALE_SECONDS, Keys, OwnKeys
from tests.support.calls import HELLO, call, deployment, live, plan, provider
from tests.support.fakes import REFUSED, Answer, FakeClock
from tests.unit.upstream.bench import BODY, E400, E401, E404, E429, E500, E503, OK, Bench, bench, on, refusal

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SECRET = "sk-secret-of-alice-0123456789"
KEY = ProviderKey("pk_a", SECRET, own=True)
ALICE, BOB = Identified("alice", user="alice"), Identified("bob", user="bob")


class Source:
    """The keys of users in a store that can fail."""

    def __init__(self, keys: Mapping[str, Keys]) -> None:
        self.keys = dict(keys)
        self.reads: list[str] = []
        self.down = False

    async def keys_of(self, user: str) -> Keys:
        self.reads.append(user)
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("down")
        return self.keys.get(user, {})


def place(name: str, policy: UserKeys = "prefer", **fields: bool) -> Deployment:
    return deployment("m", provider(name, user_keys=policy, **fields))


A, B = place("a"), place("b")
ONLY = place("a", "only")


def source() -> Source:
    return Source({"alice": {"a": KEY}})


def by(principal: Principal, *deployments: Deployment) -> Call:
    made = call(HELLO, on=on(*deployments))
    made.principal = principal
    return made


async def run(b: Bench, *deployments: Deployment, principal: Principal = ALICE) -> tuple[bytes | ProxyError, Record]:
    return await b.run(by(principal, *deployments), plan(*deployments))


def used(made: Record) -> list[tuple[str, str | None, bool]]:
    return [(attempt.deployment.provider.name, attempt.key_id, attempt.own_key) for attempt in made.attempts]


def code(out: bytes | ProxyError) -> tuple[int, str | None]:
    assert isinstance(out, ProxyError), out
    return out.http_status, out.error_code


async def test_own_key_is_used_first() -> None:
    b = bench({"a": [OK]}, own=source())

    out, made = await run(b, A)

    assert out == BODY
    assert used(made) == [("a", "pk_a", True)]
    assert b.transport.requests[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_other_users_and_providers_use_pooled_keys() -> None:
    b = bench({"a": [OK, OK], "b": [OK]}, own=source())

    rows = [used((await run(b, A, principal=BOB))[1]), used((await run(b, A, principal=Principal("x")))[1])]
    rows.append(used((await run(b, B))[1]))

    assert rows == [[("a", "main", False)], [("a", "main", False)], [("b", "main", False)]]


async def test_off_ignores_own_keys() -> None:
    b = bench({"a": [OK]}, own=source())

    _, made = await run(b, place("a", "off"))

    assert used(made) == [("a", "main", False)]


@pytest.mark.parametrize(
    "answers",
    [[E429, OK], [E500, E500, OK], [E503, E503, OK], [REFUSED, REFUSED, OK]],
    ids=["429", "500", "503", "refused"],
)
async def test_pooled_keys_follow_after_a_rate_limit_or_an_outage(answers: list[Answer]) -> None:
    b = bench({"a": answers}, own=source())

    out, made = await run(b, A)

    assert out == BODY
    assert used(made) == [*[("a", "pk_a", True)] * (len(answers) - 1), ("a", "main", False)]


@pytest.mark.parametrize(
    "answer", [E401, refusal(402), refusal(403, code="account_deactivated")], ids=["401", "402", "403"]
)
async def test_rejected_own_key_is_a_400_and_no_pooled_key_follows(answer: Answer) -> None:
    b = bench({"a": [answer], "b": []}, own=source())

    out, made = await run(b, A, B)

    assert code(out) == (400, "provider_key_rejected")
    assert "`a/m`: the provider rejected your own key `pk_a`" in str(out)
    assert used(made) == [("a", "pk_a", True)]


async def test_rejected_own_key_in_cooldown_is_not_replaced_either() -> None:
    b = bench({"a": [E401, OK], "b": []}, own=source())
    await run(b, A, B)

    out, made = await run(b, A, B)

    assert (code(out), made.attempts) == ((400, "provider_key_rejected"), [])
    _, other = await run(b, A, principal=BOB)  # the cooldown is that of one user's key
    assert used(other) == [("a", "main", False)]


async def test_target_before_a_rejected_key_is_used_as_usual() -> None:
    b = bench({"a": [E401], "b": [OK]}, own=source())
    await run(b, A)

    out, made = await run(b, B, A)

    assert (out, used(made)) == (BODY, [("b", "main", False)])


async def test_another_own_key_follows_a_rejected_one() -> None:
    other = ProviderKey("pk_b", "sk-other-secret-of-alice", own=True)
    b = bench({"a": [E401], "b": [OK]}, own=Source({"alice": {"a": KEY, "b": other}}))

    out, made = await run(b, A, B)

    assert out == BODY
    assert used(made) == [("a", "pk_a", True), ("b", "pk_b", True)]


async def test_keyless_target_follows_a_rejected_key() -> None:
    b = bench({"a": [E401], "local": [OK]}, own=source())

    _, made = await run(b, A, place("local", "off", keyless=True))

    assert used(made) == [("a", "pk_a", True), ("local", "-", False)]


async def test_new_key_is_used_although_the_old_one_was_rejected() -> None:
    keys = source()
    b = bench({"a": [E401, OK]}, own=keys)
    await run(b, A)
    keys.keys["alice"] = {"a": ProviderKey("pk_a.2", "sk-new-secret-of-alice", own=True)}
    b.clock.pass_(STALE_SECONDS + 1)

    out, made = await run(b, A)

    assert (out, used(made)) == (BODY, [("a", "pk_a.2", True)])


async def test_missing_model_is_a_404_and_no_pooled_key_is_tried() -> None:
    b = bench({"a": [E404]}, own=source())

    out, made = await run(b, A)

    assert code(out) == (404, "model_not_found")
    assert used(made) == [("a", "pk_a", True)]


async def test_fallback_to_another_provider_uses_its_pooled_keys() -> None:
    b = bench({"a": [E404], "b": [OK]}, own=source())

    _, made = await run(b, A, B)

    assert used(made) == [("a", "pk_a", True), ("b", "main", False)]


async def test_rejected_request_ends_the_call() -> None:
    b = bench({"a": [E400]}, own=source())

    out, made = await run(b, A)

    assert code(out)[0] == 400
    assert len(made.attempts) == 1


async def test_only_never_uses_pooled_keys() -> None:
    b = bench({"a": [E429]}, own=source())

    out, made = await run(b, ONLY)

    assert code(out) == (429, "rate_limit_exceeded")
    assert used(made) == [("a", "pk_a", True)]


@pytest.mark.parametrize(
    ("principal", "words"),
    [(BOB, "add one with `PUT /v1/provider-keys`"), (Principal("x"), "use a credential that belongs to a user")],
    ids=["user", "no user"],
)
async def test_only_says_how_to_get_a_key(principal: Principal, words: str) -> None:
    b = bench({"a": []}, own=source())

    out, made = await run(b, ONLY, principal=principal)

    assert (code(out), made.attempts) == ((400, "provider_key_required"), [])
    assert words in str(out)


async def test_only_leaves_targets_of_other_providers() -> None:
    b = bench({"b": [OK]}, own=source())

    _, made = await run(b, ONLY, B, principal=BOB)

    assert used(made) == [("b", "main", False)]


async def test_failures_count_for_the_own_key_alone() -> None:
    answers = [E500]
    b = bench({"a": lambda: answers[-1]}, own=source())
    await run(b, ONLY)
    await run(b, ONLY)
    answers.append(OK)

    rows = [(row["key"], row["state"]) for row in b.health.breaker_rows()]
    _, made = await run(b, A, principal=BOB)

    assert rows == [("pk_a", "open")]
    assert used(made) == [("a", "main", False)]


async def test_secret_that_the_provider_repeats_is_masked() -> None:
    invalid, broken = refusal(400, f"Invalid request with {SECRET}"), refusal(500, f"x {SECRET[3:20]}")
    b = bench({"a": [invalid, broken, broken]}, own=source())

    rejected, _ = await run(b, ONLY)
    failed, made = await run(b, ONLY)

    for out in (rejected, failed):
        assert isinstance(out, ProxyError)
        assert SECRET[3:20] not in f"{out} {out.native_body!r}"
    assert SECRET not in repr(made.attempts[0].deployment)


async def test_own_key_counts_against_no_budget() -> None:
    empty = (("user", "alice", Budget(0)),)
    alice = Identified("alice", user="alice", budgets=empty)  # type: ignore[arg-type]
    b = bench({"a": [OK, E429]}, own=source())

    out, made = await run(b, A, principal=alice)
    assert (out, used(made)) == (BODY, [("a", "pk_a", True)])

    out, made = await run(b, A, principal=alice)  # pooled keys would follow the rate limit
    assert used(made) == [("a", "pk_a", True)]
    assert isinstance(out, ProxyError)


async def test_key_that_cannot_be_decrypted_is_not_replaced() -> None:
    b = bench({"a": [], "b": []}, own=Source({"alice": {"a": None}}))

    out, made = await run(b, A, B)

    assert (code(out), made.attempts) == ((503, "provider_key_unreadable"), [])


# --- reading --------------------------------------------------------------------------------------------------------


def made_keys(keys: Source, *, clock: Clock | None = None, fail_open: bool = True) -> OwnKeys:
    clock = clock or FakeClock()
    return OwnKeys(keys, Health(clock, live()), clock, fail_open=fail_open)


async def applied(own: OwnKeys, *deployments: Deployment, principal: Principal = ALICE) -> Plan:
    of, planned = by(principal, *deployments), plan(*deployments)
    return own.apply(of, planned) or await own.load(of, planned)


async def test_concurrent_calls_read_once_and_then_use_the_same_objects() -> None:
    keys = source()
    own = made_keys(keys)

    plans = await asyncio.gather(*(applied(own, A) for _ in range(10)))  # noqa: TID251, the tasks end with it

    assert keys.reads == ["alice"]
    assert len({id(each.targets[0].deployment) for each in plans}) == 1


async def test_plan_of_a_user_without_keys_is_unchanged() -> None:
    own, planned = made_keys(source()), plan(A, B)
    await applied(own, A, principal=BOB)

    assert own.apply(by(BOB, A, B), planned) is planned
    assert own.apply(by(Principal("x"), A, B), planned) is planned


async def test_keys_are_read_again_when_they_are_old_or_forgotten() -> None:
    keys, clock = source(), FakeClock()
    own = made_keys(keys, clock=clock)
    await applied(own, A)
    clock.pass_(STALE_SECONDS)
    await applied(own, A)
    assert len(keys.reads) == 1

    clock.pass_(1)
    await applied(own, A)
    own.forget("alice")
    await applied(own, A)

    assert len(keys.reads) == 3


async def test_user_that_cannot_be_stored_has_no_keys() -> None:
    class Strict(Source):
        async def keys_of(self, user: str) -> Keys:
            raise InvalidValue("`user` must not contain NUL characters")

    own = made_keys(Strict({}))

    assert (await applied(own, A)).targets[0].deployment is A


async def test_unchanged_keys_keep_their_objects() -> None:
    clock = FakeClock()
    own = made_keys(source(), clock=clock)
    before = await applied(own, A)
    clock.pass_(STALE_SECONDS + 1)

    after = await applied(own, A)

    assert after.targets[0].deployment is before.targets[0].deployment


async def test_known_keys_stay_in_use_while_the_store_is_down() -> None:
    keys, clock = source(), FakeClock()
    own = made_keys(keys, clock=clock, fail_open=False)
    await applied(own, A)
    keys.down = True

    clock.pass_(LONGEST_STALE_SECONDS - 1)
    assert (await applied(own, A)).targets[0].deployment.provider.own_key is KEY

    clock.pass_(2)
    with pytest.raises(ProxyError) as caught:
        await applied(own, A)
    assert (caught.value.http_status, caught.value.error_code) == (503, "store_unavailable")


async def test_unknown_users_use_pooled_keys_if_the_store_may_fail_open() -> None:
    keys = source()
    keys.down = True
    own = made_keys(keys)

    assert (await applied(own, A)).targets[0].deployment is A
    with pytest.raises(ProxyError) as caught:
        await applied(own, ONLY)
    assert caught.value.error_code == "store_unavailable"
    keys.down = False  # nothing of it is remembered
    assert (await applied(own, A)).targets[0].deployment.provider.own_key is KEY


async def test_change_of_a_key_ends_its_cooldowns() -> None:
    health = Health(FakeClock(), live())
    own = OwnKeys(source(), health, FakeClock())
    planned = await applied(own, A)
    lease = health.lease(planned.targets[0].deployment)
    assert lease is not None
    lease.fail(UpstreamFailure(FailureKind.KEY_REJECTED, "no"))
    assert len(health.cooldown_rows()) == 1

    own.forget("alice")

    assert health.cooldown_rows() == []


async def test_keys_that_are_read_during_a_change_are_read_again() -> None:
    class Changing(Source):
        async def keys_of(self, user: str) -> Keys:
            found = await super().keys_of(user)
            if len(self.reads) == 1:
                own.forget("alice")
            return found

    keys = Changing({"alice": {"a": KEY}})
    own = made_keys(keys)

    await applied(own, A)
    await applied(own, A)
    await applied(own, A)

    assert len(keys.reads) == 2


async def test_number_of_remembered_users_is_bounded() -> None:
    keys = source()
    own = made_keys(keys)
    await applied(own, A)
    for number in range(MAX_USERS):
        await applied(own, A, principal=Identified("x", user=f"u{number}"))

    await applied(own, A)

    assert keys.reads.count("alice") == 2


async def test_new_configuration_is_used_at_once() -> None:
    own = made_keys(source())
    await applied(own, A)
    moved = deployment("m", replace(A.provider, base_url="https://moved.test/v1"))

    found = await applied(own, moved)

    assert found.targets[0].deployment.provider.base_url == "https://moved.test/v1"
    assert found.targets[0].deployment.provider.own_key is KEY
