"""Access lines of any values: one line of ASCII that is what `json.dumps` returns."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.record import AttemptOutcome, Rating
from proxy.settle.access import AccessLine, AccessLineEncoder
from tests.support.calls import attempt, deployment, provider

TEXT = st.text(st.characters(), max_size=20)
SECONDS = st.floats(0, 1e6)
DEPLOYMENTS = st.builds(lambda name, model: deployment(model, provider(name)), TEXT, TEXT)
ATTEMPTS = st.builds(
    lambda of, key, outcome, ms, status, cause: attempt(
        outcome, of, key_id=key, ms=ms, status=status, cause=cause, error=cause
    ),
    DEPLOYMENTS,
    TEXT,
    st.sampled_from([*AttemptOutcome]),
    SECONDS,
    st.none() | st.integers(100, 599),
    st.none() | TEXT,
)
LINES = st.builds(
    AccessLine,
    time=st.floats(0, 4e9),
    id=TEXT,
    request_id=TEXT,
    client_id=st.none() | TEXT,
    model=st.none() | TEXT,
    route=st.none() | TEXT,
    chosen=st.none() | DEPLOYMENTS,
    stream=st.none() | st.booleans(),
    status=st.integers(0, 599),
    outcome=st.sampled_from(["ok", "error", "partial"]),
    code=st.none() | TEXT,
    attempts=st.lists(ATTEMPTS, max_size=3),
    input_tokens=st.none() | st.integers(0),
    output_tokens=st.none() | st.integers(0),
    cost_nusd=st.none() | st.integers(0, 10**15),
    seconds=SECONDS,
    first_token_seconds=st.none() | SECONDS,
    queue_seconds=SECONDS,
    predicted_queue_seconds=SECONDS,
    overhead_seconds=SECONDS,
    continued_after=st.none() | st.integers(0, 10**6),
    rating=st.none() | st.builds(Rating, st.floats(0, 1), st.lists(TEXT, max_size=3).map(tuple)),
)


@given(st.lists(LINES, max_size=3))
def test_encoder_agrees_with_json_dumps(lines: list[AccessLine]) -> None:
    encoder = AccessLineEncoder()

    for line in lines:
        text = encoder.encode(line)

        assert text.isascii()
        assert "\n" not in text
        found = json.loads(text)
        time = found.pop("time")
        assert len(time) == len("2026-11-28T20:30:31.752+00:00")
        assert (found.pop("level"), found.pop("event")) == ("info", "call")
        assert json.dumps(found) == json.dumps(line.fields())
