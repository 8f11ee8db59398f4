"""A tool loop of five turns keeps its signatures, whichever surfaces and providers take part in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.call import Call
from proxy.core.model import Deployment
from proxy.core.plan import Target
from proxy.core.principal import Identified
from proxy.dialects.table import Dialects
from proxy.surfaces.table import SURFACES
from tests.support.calls import deployment, provider, record, snapshot
from tests.support.fakes import FakeClock
from tests.support.loops import CLIENTS, UPSTREAMS, Client, Signed, Step

NAMES = ("anthropic", "gemini", "openai", "native")
PROVIDERS: dict[str, dict[str, Any]] = {
    **{name: {"dialect": name} for name in NAMES},
    "native": {"dialect": "openai", "responses": "native"},
}
MODELS = {name: deployment("m", provider(name, **PROVIDERS[name])) for name in NAMES}
ON = snapshot(*MODELS.values())
CALLER = Identified("someone", key_id="k", team="t")
SHAPES = [
    ("call",),
    ("think", "call"),
    ("think", "text", "call"),
    ("think", "call", "call"),
    ("think", "call", "think", "call"),
    ("redacted", "think", "call"),
    ("text", "think", "call"),
    ("think", "think", "text", "call"),
    ("think", "text"),
    ("text", "think", "text"),
]
TURNS = st.tuples(st.sampled_from(NAMES), st.sampled_from(SHAPES), st.booleans(), st.integers(1, 400))


class Loop:
    """One conversation over several surfaces."""

    def __init__(self) -> None:
        self.dialects = Dialects(FakeClock())
        self.steps: list[Step] = []
        self.signed: list[Signed] = []

    def turn(self, surface: str, name: str, shape: tuple[str, ...], *, stream: bool, size: int) -> None:
        """Send the history to one provider, check what arrives there, and take its answer."""
        client, number, target = CLIENTS[surface], len(self.steps), Target(MODELS[name])
        call = self.read(client, number, stream=stream)
        provider = target.deployment.provider
        native = call.native is not None and call.native.format == provider.native_format
        dialect = self.dialects[surface if native else provider.dialect]  # type: ignore[index]
        upstream = "responses" if native and name == "native" else provider.dialect
        request = dialect.request(call, target, provider.keys[0])
        self.check(upstream, request.content, native=native)
        signed = Signed(upstream, number, shape, native)
        decoder = dialect.decoder(call, target, {"content-type": "text/event-stream" if stream else "application/json"})
        answer = UPSTREAMS[upstream].answer(signed, stream=stream)
        chunks = [decoder.feed(answer[at : at + size]) for at in range(0, len(answer), size)]
        out = self.encoded(client, call, target.deployment, [*chunks, decoder.finish()], native=native)
        blocks = client.blocks(out, stream=stream)
        assert surface != "messages" or all(block.sealed for block in blocks if block.kind == "thinking")
        self.steps.append(Step(blocks))
        self.signed.append(signed)

    def read(self, client: Client, number: int, *, stream: bool) -> Call:
        """Read the next request of a client."""
        raw, path = client.request(f"Question {number}", self.steps, stream=stream), client.path(stream=stream)
        ids = {"id": f"req_{number}", "request_id": str(number)}
        query = "alt=sse" if stream else ""
        return SURFACES[client.route].read(raw, {}, **ids, snapshot=ON, principal=CALLER, path=path, query=query)

    def encoded(
        self, client: Client, call: Call, chosen: Deployment, chunks: Sequence[bytes], *, native: bool
    ) -> bytes:
        """Return an answer in the client's format."""
        kind = "text/event-stream" if call.stream else "application/json"
        encoder = SURFACES[client.route].encoder(call, record(call, chosen=chosen), kind, native=native)
        if encoder is None:
            return b"".join(chunks)
        return b"".join([*(encoder.feed(chunk) for chunk in chunks if chunk), encoder.finish()])

    def check(self, name: str, content: Any, *, native: bool) -> None:
        """Check that a provider gets back what it has signed, and nothing that is sealed."""
        assert b"sbx1." not in content
        assert b"c2J4MS" not in content
        body = json.loads(content)
        assert name not in ("anthropic", "gemini") or UPSTREAMS[name].accepts(body)
        for signed in self.signed:
            if signed.upstream == name:
                upstream = UPSTREAMS[name]
                assert upstream.found(body, signed) == upstream.expected(signed, native=native)


@pytest.mark.parametrize("surface", ["chat", "generate"])
@given(turns=st.lists(TURNS, min_size=5, max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_loop_over_one_surface_keeps_its_signatures(surface: str, turns: list[Any]) -> None:
    loop = Loop()
    for name, shape, stream, size in turns:
        loop.turn(surface, name, shape, stream=stream, size=size)


@given(st.lists(st.tuples(st.sampled_from(("responses", "messages")), TURNS), min_size=5, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_loop_over_two_surfaces_keeps_its_signatures(turns: list[Any]) -> None:
    loop = Loop()
    for surface, (name, shape, stream, size) in turns:
        loop.turn(surface, name, shape, stream=stream, size=size)
