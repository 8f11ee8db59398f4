"""Tokens: only what a configured issuer signed, for this audience and this time, identifies a caller."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.admission.accounts import AccountCache
from proxy.admission.jwks import FRESH, KEPT, MAX_WAITING, RENEWED, RETRY_SECONDS, UNKNOWN_SECONDS, KeySet
from proxy.admission.jwt import LEEWAY, MAX_CACHED, TokenVerifier
from proxy.core.accounts import Team, User
from proxy.core.auth import ClaimNames, Issuer
from proxy.core.errors import NotAllowed, NotAuthenticated, ProxyError, Unavailable
from proxy.core.model import LimitValues
from proxy.core.principal import Identified
from tests.support.accounts import FakeAccounts
from tests.support.fakes import FakeClock, turn
from tests.support.tokens import AUDIENCE, EC_KEY, ISSUER, RSA_KEYS, TokenIssuer, jwk, pem_of

pytestmark = pytest.mark.anyio


class Bench:
    """A verifier of one issuer's tokens."""

    def __init__(
        self,
        claims: ClaimNames | None = None,
        algorithms: tuple[str, ...] = ("RS256",),
        store: FakeAccounts | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.issuer = TokenIssuer()
        self.accounts = None if store is None else AccountCache(store, self.clock)
        issuer = Issuer(ISSUER, AUDIENCE, "https://issuer.example/keys", algorithms, claims or ClaimNames())
        self.renewed: list[KeySet] = []  # sets to fetch in the background
        self.verifier = TokenVerifier([issuer], self.issuer.fetch, self.clock, self.accounts, self.renewed.append)

    def token(self, *arguments: Any, **more: Any) -> str:
        """A token of the issuer."""
        return self.issuer.token(self.clock.time(), *arguments, **more)

    async def verify(self, token: str) -> Identified:
        """The caller, found as the pipeline finds it."""
        return self.verifier.at_once(token) or await self.verifier.look_up(token)

    async def refused(self, token: str) -> ProxyError:
        """The error for a token."""
        with pytest.raises(ProxyError) as caught:
            await self.verify(token)
        return caught.value


def part(value: Any) -> str:
    """A part of a token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(bench: Bench, algorithm: str, secret: bytes | None = None) -> str:
    """A token with the issuer's claims and a header of the attacker's choice."""
    _, claims, _ = bench.token().split(".")
    signed = f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': 'one'})}.{claims}"
    mac = b"" if secret is None else hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{part(mac)}"


def changed(bench: Bench, **claims: Any) -> str:
    """A valid token whose claims were replaced after it was signed."""
    head, body, signature = bench.token().split(".")
    decoded = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{part({**decoded, **claims})}.{signature}"


def mac_with_public_key(bench: Bench) -> str:
    return unsigned(bench, "HS256", pem_of(RSA_KEYS[0]))


ATTACKS: dict[str, Callable[[Bench], str]] = {
    "alg none": lambda bench: unsigned(bench, "none"),
    "alg None": lambda bench: unsigned(bench, "None"),
    "no signature": lambda bench: bench.token().rpartition(".")[0] + ".",
    "HS256 with the public key": mac_with_public_key,
    "another algorithm of the key": lambda bench: bench.token(algorithm="RS512"),
    "another padding": lambda bench: bench.token(algorithm="PS256"),
    "another key with the same id": lambda bench: bench.token(RSA_KEYS[1]),
    "another type of key": lambda bench: bench.token(EC_KEY, algorithm="ES256"),
    "changed claims": lambda bench: changed(bench, sub="bob"),
    "wrong audience": lambda bench: bench.token(aud="signalbox2"),
    "part of the audience": lambda bench: bench.token(aud=AUDIENCE[:-1]),
    "list of wrong audiences": lambda bench: bench.token(aud=["other", AUDIENCE.upper()]),
    "no audience": lambda bench: bench.token(aud=None),
    "audience of a wrong type": lambda bench: bench.token(aud={AUDIENCE: True}),
    "wrong issuer": lambda bench: bench.token(iss="https://evil.example"),
    "longer issuer": lambda bench: bench.token(iss=ISSUER + "/"),
    "part of the issuer": lambda bench: bench.token(iss=ISSUER[:-1]),
    "issuer as a list": lambda bench: bench.token(iss=[ISSUER]),
    "no issuer": lambda bench: bench.token(iss=None),
    "expired": lambda bench: bench.token(exp=bench.clock.time() - LEEWAY),
    "no expiry": lambda bench: bench.token(exp=None),
    "expiry as a text": lambda bench: bench.token(exp=str(bench.clock.time() + 60)),
    "expiry beyond any number": lambda bench: bench.token(exp=10**400),
    "expiry true": lambda bench: bench.token(exp=True),
    "not valid yet": lambda bench: bench.token(nbf=bench.clock.time() + LEEWAY + 1),
    "nbf as a text": lambda bench: bench.token(nbf="0"),
    "issued in the future": lambda bench: bench.token(iat=bench.clock.time() + LEEWAY + 1),
    "crit": lambda bench: bench.token(headers={"crit": ["exp"]}),
    "jku": lambda bench: bench.token(headers={"jku": "https://evil.example/keys"}),
    "x5u": lambda bench: bench.token(headers={"x5u": "https://evil.example/cert"}),
    "jwk": lambda bench: bench.token(RSA_KEYS[1], headers={"jwk": jwk(RSA_KEYS[1], "one")}),
    "unknown kid": lambda bench: bench.token(headers={"kid": "two"}),
    "long kid": lambda bench: bench.token(headers={"kid": "k" * 129}),
    "huge": lambda bench: bench.token(filler="x" * 8192),
    "no subject": lambda bench: bench.token(sub=None),
    "empty subject": lambda bench: bench.token(sub=" "),
    "subject with a line break": lambda bench: bench.token(sub="alice\nadmin"),
    "not a token": lambda bench: "eyJ.eyJ.x",
    "two parts": lambda bench: bench.token().rpartition(".")[0],
    "four parts": lambda bench: bench.token() + ".x",
    "claims that are no object": lambda bench: f"{part({'alg': 'RS256', 'kid': 'one'})}.{part([1])}.{part(b'x')}",
    "deep claims": lambda bench: f"{part({'alg': 'RS256'})}.{part(b'[' * 3000 + b']' * 3000)}.{part(b'x')}",
    "not ascii": lambda bench: bench.token() + "\u00e9",
    "leading space": lambda bench: " " + bench.token(),
}


async def test_a_valid_token_identifies_its_user() -> None:
    bench = Bench()

    caller = await bench.verify(bench.token())

    assert (caller.name, caller.user, caller.team, caller.role) == ("user-alice", "alice", None, "member")
    assert (caller.key_id, caller.models, caller.limits) == (None, (), ())


@pytest.mark.parametrize("attack", ATTACKS)
async def test_every_other_token_is_rejected(attack: str) -> None:
    bench = Bench()
    valid = bench.token()
    await bench.verify(valid)
    token = ATTACKS[attack](bench)

    errors = [await bench.refused(token) for _ in range(2)]

    assert token != valid
    assert {(error.http_status, error.error_code) for error in errors} == {(401, "invalid_api_key")}
    assert token not in str(errors[0])


async def test_tokens_that_begin_alike_are_different() -> None:
    bench = Bench()
    alice, bob = bench.token(), bench.token(sub="bob")

    users = [(await bench.verify(token)).user for token in (alice, bob, alice, bob)]

    assert alice[:20] == bob[:20]
    assert users == ["alice", "bob", "alice", "bob"]


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA_KEYS[0], "PS384"), (EC_KEY, "ES256"), (RSA_KEYS[0], "RS512")], ids=["PS", "ES", "RS"]
)
async def test_every_configured_algorithm_is_accepted(key: Any, algorithm: str) -> None:
    bench = Bench(algorithms=("ES256", algorithm))
    bench.issuer.keys = [jwk(key, "one")]

    assert (await bench.verify(bench.token(key, algorithm=algorithm))).user == "alice"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # of the attacker's key
async def test_keys_that_are_not_for_signatures_are_skipped() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    p384 = ec.generate_private_key(ec.SECP384R1())
    bench = Bench(algorithms=("RS256", "ES256"))
    bench.issuer.keys = [
        {"kty": "oct", "kid": "oct", "k": part(b"secret")},
        {"kty": "RSA", "kid": "broken", "n": "!"},
        jwk(RSA_KEYS[1], "encryption", use="enc"),
        jwk(RSA_KEYS[1], "other", alg="RS512"),
        jwk(weak, "weak"),
        jwk(p384, "curve"),
        jwk(RSA_KEYS[0], "one", use="sig", alg="RS256"),
    ]
    tokens = [bench.token(RSA_KEYS[1], headers={"kid": kid}) for kid in ("oct", "broken", "encryption", "other")]
    tokens.append(bench.token(weak, headers={"kid": "weak"}))
    tokens.append(bench.token(p384, headers={"kid": "curve"}, algorithm="ES384"))

    errors = [await bench.refused(token) for token in tokens]

    assert {error.http_status for error in errors} == {401}
    assert (await bench.verify(bench.token())).user == "alice"


async def test_a_token_without_kid_needs_a_set_of_one_key() -> None:
    bench = Bench()
    token = bench.token(headers={"kid": None})

    assert (await bench.verify(token)).user == "alice"

    other = Bench()
    other.issuer.keys.append(jwk(RSA_KEYS[1], "two"))
    assert isinstance(await other.refused(token), NotAuthenticated)


async def test_a_cached_token_is_verified_at_once_until_it_expires() -> None:
    bench = Bench()
    token = bench.token(exp=bench.clock.time() + 60)
    caller = await bench.verify(token)

    bench.clock.pass_(59 + LEEWAY)
    assert bench.verifier.at_once(token) is caller

    bench.clock.pass_(1)
    with pytest.raises(NotAuthenticated, match="expired"):
        bench.verifier.at_once(token)


async def test_clocks_may_differ_by_the_leeway() -> None:
    bench = Bench()
    now = bench.clock.time()

    await bench.verify(bench.token(exp=now - LEEWAY + 1))
    await bench.verify(bench.token(nbf=now + LEEWAY, iat=now + LEEWAY))


async def test_the_cache_of_tokens_is_bounded() -> None:
    bench = Bench()
    cached = bench.verifier._verified  # noqa: SLF001, its size is not visible otherwise
    token = bench.token()
    verified = await bench.verify(token), next(iter(cached.values()))
    for number in range(MAX_CACHED):
        cached[number.to_bytes(4)] = verified[1]

    await bench.verify(bench.token(sub="bob"))

    assert len(cached) <= MAX_CACHED + 1


# The issuer's keys


async def test_a_flood_of_unknown_keys_causes_two_fetches_a_minute() -> None:
    bench = Bench()
    await bench.verify(bench.token())
    flood = [bench.token(headers={"kid": f"guess-{number}"}) for number in range(50)]
    before = bench.issuer.fetches

    for step in range(600):
        await bench.refused(flood[step % 50])
        bench.clock.pass_(0.1)

    assert bench.issuer.fetches - before <= 2


async def test_a_rotated_key_is_used_within_30_seconds() -> None:
    bench = Bench()
    old = bench.token()
    await bench.verify(old)
    bench.issuer.keys = [jwk(RSA_KEYS[1], "two")]
    rotated = bench.token(RSA_KEYS[1], headers={"kid": "two"})

    bench.clock.pass_(UNKNOWN_SECONDS)

    assert (await bench.verify(rotated)).user == "alice"
    assert isinstance(await bench.refused(old), NotAuthenticated)


async def test_a_removed_key_is_noticed_after_the_set_is_old() -> None:
    bench = Bench()
    token = bench.token()
    await bench.verify(token)
    bench.issuer.keys = [jwk(RSA_KEYS[1], "two")]

    bench.clock.pass_(FRESH - 1)
    assert bench.verifier.at_once(token) is not None

    bench.clock.pass_(1)
    assert isinstance(await bench.refused(token), NotAuthenticated)


async def test_the_last_good_set_serves_for_a_day() -> None:
    bench = Bench()
    token = bench.token(exp=bench.clock.time() + 2 * KEPT)
    await bench.verify(token)
    bench.issuer.down = True

    bench.clock.pass_(KEPT - 1)
    assert (await bench.verify(token)).user == "alice"
    other = bench.token(sub="bob")
    assert (await bench.verify(other)).user == "bob"

    bench.clock.pass_(60)
    assert (await bench.refused(bench.token(sub="carol"))).error_code == "issuer_unavailable"


@pytest.mark.parametrize("keys", [[], [{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}], "x"])
async def test_a_wrong_set_does_not_replace_a_good_one(keys: Any) -> None:
    bench = Bench()
    token = bench.token()
    await bench.verify(token)
    bench.issuer.keys = keys

    bench.clock.pass_(FRESH)

    assert (await bench.verify(token)).user == "alice"


async def test_without_any_set_a_token_cannot_be_checked() -> None:
    bench = Bench()
    bench.issuer.down = True

    error = await bench.refused(bench.token())
    assert isinstance(error, Unavailable)
    assert error.error_code == "issuer_unavailable"
    await bench.refused(bench.token())
    assert bench.issuer.fetches == 1

    bench.issuer.down = False
    bench.clock.pass_(RETRY_SECONDS)
    assert (await bench.verify(bench.token())).user == "alice"


async def test_calls_at_the_same_time_share_one_fetch() -> None:
    bench = Bench()
    token, answer, fetch = bench.token(), asyncio.Event(), bench.issuer.fetch

    async def slowly(url: str) -> bytes:
        await answer.wait()
        return await fetch(url)

    issuer = Issuer(ISSUER, AUDIENCE, "https://issuer.example/keys")
    verifier = TokenVerifier([issuer], slowly, bench.clock, None, bench.renewed.append)

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(verifier.look_up(token)) for _ in range(MAX_WAITING)]
        await turn()
        refused = group.create_task(bench_refused(verifier, token))
        await turn()
        answer.set()

    assert {call.result().user for call in calls} == {"alice"}
    assert refused.result().http_status == 429
    assert bench.issuer.fetches == 1


async def test_calls_wait_once_for_an_issuer_that_hangs() -> None:
    bench = Bench()
    fetches = 0

    async def hang(url: str) -> bytes:
        nonlocal fetches
        fetches += 1
        await turn()
        bench.clock.pass_(RETRY_SECONDS)
        raise TimeoutError

    issuer = Issuer(ISSUER, AUDIENCE, "https://issuer.example/keys")
    verifier = TokenVerifier([issuer], hang, bench.clock, None, bench.renewed.append)

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(bench_refused(verifier, bench.token())) for _ in range(10)]

    assert {call.result().error_code for call in calls} == {"issuer_unavailable"}
    assert fetches == 1


async def test_a_fetch_goes_on_when_its_caller_has_left() -> None:
    bench = Bench()
    token, fetch, hangs = bench.token(), bench.issuer.fetch, True

    async def slowly(url: str) -> bytes:
        if hangs:
            await asyncio.Event().wait()
        return await fetch(url)

    issuer = Issuer(ISSUER, AUDIENCE, "https://issuer.example/keys")
    verifier = TokenVerifier([issuer], slowly, bench.clock, None, bench.renewed.append)
    async with asyncio.TaskGroup() as group:
        call = group.create_task(verifier.look_up(token))
        await turn()
        call.cancel()

    hangs = False
    [keys] = bench.renewed
    await keys.refresh()
    assert (await verifier.look_up(token)).user == "alice"
    assert bench.issuer.fetches == 1


async def test_a_set_in_use_is_fetched_in_the_background() -> None:
    bench = Bench()
    token = bench.token()
    await bench.verify(token)
    bench.clock.pass_(RENEWED)

    assert bench.verifier.at_once(token) is not None
    assert bench.verifier.at_once(token) is not None

    [keys] = bench.renewed
    await keys.refresh()
    assert bench.issuer.fetches == 2
    bench.clock.pass_(FRESH - RENEWED)
    assert bench.verifier.at_once(token) is not None


async def test_known_keys_do_not_wait_for_an_issuer_that_fails() -> None:
    bench = Bench()
    token = bench.token()
    await bench.verify(token)
    bench.issuer.down = True
    bench.clock.pass_(FRESH)
    await bench.verify(token)
    before = bench.issuer.fetches

    for _ in range(10):
        bench.clock.pass_(UNKNOWN_SECONDS)
        assert bench.verifier.at_once(token) is not None
    assert bench.issuer.fetches == before
    assert len(bench.renewed) == 10

    bench.issuer.down, bench.issuer.keys = False, [jwk(RSA_KEYS[1], "two")]
    await bench.renewed[0].refresh()
    assert isinstance(await bench.refused(token), NotAuthenticated)


async def bench_refused(verifier: TokenVerifier, token: str) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await verifier.look_up(token)
    return caught.value


# Claims


async def test_claims_are_mapped_by_name_and_by_path() -> None:
    names = ClaimNames("email", "org.team", "https://issuer.example/roles", "signalbox.models", "signalbox.limits")
    bench = Bench(names)
    claims: dict[str, Any] = {
        "email": "alice@example.com",
        "org": {"team": "red"},
        "https://issuer.example/roles": ["reader", "auditor", "member"],
        "signalbox": {"models": ["openai/*"], "limits": {"rpm": 5, "tpd": 1000}},
    }

    caller = await bench.verify(bench.token(**claims))

    assert (caller.user, caller.team, caller.role) == ("alice@example.com", "red", "auditor")
    assert caller.models == (("openai/*",),)
    assert caller.limits == ((("user", "alice@example.com"), LimitValues(rpm=5, tpd=1000)),)


@pytest.mark.parametrize(
    ("names", "claims"),
    [
        (ClaimNames(user="email"), {}),
        (ClaimNames(user="a.b"), {"a": "b"}),
        (ClaimNames(team="team"), {}),
        (ClaimNames(team="team"), {"team": ["red"]}),
        (ClaimNames(role="role"), {}),
        (ClaimNames(role="role"), {"role": "root"}),
        (ClaimNames(role="role"), {"role": {"admin": True}}),
        (ClaimNames(role="role"), {"role": ["Admin"]}),
        (ClaimNames(models="models"), {"models": "openai/*"}),
        (ClaimNames(limits="limits"), {"limits": {"rpm": 0}}),
        (ClaimNames(limits="limits"), {"limits": {"rpm": True}}),
        (ClaimNames(limits="limits"), {"limits": {"rps": 5}}),
        (ClaimNames(limits="limits"), {"limits": 5}),
    ],
)
async def test_a_token_without_a_mapped_claim_has_no_access(names: ClaimNames, claims: dict[str, Any]) -> None:
    bench = Bench(names)

    assert isinstance(await bench.refused(bench.token(**claims)), NotAuthenticated)


async def test_the_store_adds_what_it_knows_of_the_user() -> None:
    store = FakeAccounts()
    store.teams["blue"] = Team(id="blue", models=("mock/*",))
    store.users["alice"] = User(id="alice", role="admin", team="blue", limits=LimitValues(rpm=9, tpm=7))
    bench = Bench(ClaimNames(limits="limits"), store=store)
    token = bench.token(limits={"rpm": 10, "rpd": 3})

    caller = await bench.verify(token)

    assert (caller.team, caller.role, caller.models) == ("blue", "admin", (("mock/*",),))
    assert caller.limits == ((("user", "alice"), LimitValues(rpm=9, tpm=7, rpd=3)),)
    assert bench.verifier.at_once(token) is caller
    assert store.look_ups == 1


async def test_the_team_of_a_token_replaces_the_users() -> None:
    store = FakeAccounts()
    store.teams |= {"blue": Team(id="blue", models=("x/*",)), "red": Team(id="red", limits=LimitValues(tpm=5))}
    store.users["alice"] = User(id="alice", team="blue")
    bench = Bench(ClaimNames(team="team"), store=store)

    caller = await bench.verify(bench.token(team="red"))

    assert (caller.team, caller.models) == ("red", ())
    assert caller.limits == ((("team", "red"), LimitValues(tpm=5)),)


@pytest.mark.parametrize("disabled", ["user", "team"])
async def test_a_disabled_user_or_team_has_no_access(disabled: str) -> None:
    store = FakeAccounts()
    store.teams["red"] = Team(id="red", disabled=disabled == "team")
    store.users["alice"] = User(id="alice", disabled=disabled == "user")
    bench = Bench(ClaimNames(team="team"), store=store)

    error = await bench.refused(bench.token(team="red"))

    assert isinstance(error, NotAllowed)
    assert error.error_code == "key_disabled"


async def test_a_user_without_a_row_is_looked_up_once() -> None:
    store = FakeAccounts()
    bench = Bench(store=store)
    token = bench.token()

    callers = [await bench.verify(token) for _ in range(5)]

    assert store.look_ups == 1
    assert bench.accounts is not None
    store.users["alice"] = User(id="alice", disabled=True)
    bench.accounts.clear()
    assert callers[0].user == "alice"
    assert isinstance(await bench.refused(token), NotAllowed)
