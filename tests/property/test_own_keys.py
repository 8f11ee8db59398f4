"""Users' own provider keys under whatever upstreams answer: which keys may pay for what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, class_of
from proxy.core.model import ProviderKey, UserKeys
from proxy.core.principal import Identified
from proxy.core.record import AttemptRecord
from proxy.upstream.own_keys import Keys
from tests.support.calls import HELLO, call, deployment, plan, provider
from tests.support.clocks import VirtualClock, VirtualLoop
from tests.unit.upstream.bench import E400, E401, E404, E429, E500, E503, FIREWALL, OK, bench, on

NAMES = ("a", "b", "c")
POLICIES: st.SearchStrategy[UserKeys] = st.sampled_from(("prefer", "only", "off"))
ANSWERS = [OK, E400, E401, E401, E404, E429, E500, E503, FIREWALL]
OWNED = st.sampled_from(["readable", "readable", "none", "damaged"])


class Source:
    """The keys of one user; `None` cannot be decrypted."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def keys_of(self, user: str) -> Keys:
        return self._keys


@settings(max_examples=100)
@given(
    policies=st.tuples(POLICIES, POLICIES, POLICIES),
    owned=st.tuples(OWNED, OWNED, OWNED),
    order=st.lists(st.sampled_from(range(3)), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 2**32),
    calls=st.integers(1, 3),
)
def test_pooled_keys_never_pay_for_what_an_own_key_must(
    policies: tuple[UserKeys, UserKeys, UserKeys],
    owned: tuple[str, str, str],
    order: list[int],
    seed: int,
    calls: int,
) -> None:
    deployments = [deployment("m", provider(name, user_keys=policies[at])) for at, name in enumerate(NAMES)]
    keys = {
        name: ProviderKey(f"pk_{name}", f"sk-own-secret-of-{name}", own=True) if state == "readable" else None
        for name, state in zip(NAMES, owned, strict=True)
        if state != "none"
    }
    policy = dict(zip(NAMES, policies, strict=True))
    rng = random.Random(seed)  # more even than a list that is drawn

    async def run() -> None:
        b = bench(dict.fromkeys(NAMES, lambda: rng.choice(ANSWERS)), clock=VirtualClock(), own=Source(keys))
        for _ in range(calls):
            targets = [deployments[at] for at in order]
            of = call(HELLO, on=on(*deployments))
            of.principal = Identified("ann", user="ann")
            sent = len(b.transport.requests)
            out, made = await b.run(of, plan(*targets))
            credentials = [request.headers["authorization"] for request in b.transport.requests[sent:]]
            _check(made.attempts, credentials, keys, policy)
            if not sent:  # nothing is known of any key yet, so that own keys come first
                first = {each.deployment.provider.name: each.own_key for each in reversed(made.attempts)}
                assert first == {name: bool(keys.get(name)) and policy[name] != "off" for name in first}
            if not made.attempts:
                assert isinstance(out, ProxyError)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


def _check(attempts: list[AttemptRecord], credentials: list[str], keys: Keys, policy: Mapping[str, UserKeys]) -> None:
    rejected = False
    assert len(attempts) == len(credentials)
    for attempt, credential in zip(attempts, credentials, strict=True):
        name = attempt.deployment.provider.name
        own = keys.get(name)
        if attempt.own_key:
            assert own is not None
            assert credential == f"Bearer {own.value}"
            assert policy[name] != "off"
        else:
            assert credential == "Bearer sk-main-secret"
            assert policy[name] != "only"
            assert not rejected
            assert policy[name] == "off" or own is not None or name not in keys  # an unreadable key is not replaced
        if attempt.own_key and isinstance(attempt.outcome, FailureKind):
            rejected = rejected or class_of(attempt.outcome) == "auth"
