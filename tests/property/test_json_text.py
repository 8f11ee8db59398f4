"""JSON is read as the `json` module reads it, whichever parser does it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.json_text import finite_loads, loads
from tests.support.exact import ODD_VALUES

NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(json.dumps),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
SCALARS = st.one_of(NUMBERS, st.text(max_size=9).map(json.dumps), st.sampled_from(ODD_VALUES))
TEXTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(inner, max_size=3).map(
            lambda items: "{" + ",".join(f'"{len(item) % 3}": {item}' for item in items) + "}"
        ),
    ),
    max_leaves=5,
)
ENCODED = st.one_of(
    TEXTS.map(lambda text: text.encode("utf-8", "surrogateescape")),
    st.builds(
        lambda text, name: text.encode(name, "replace"), TEXTS, st.sampled_from(("utf-8-sig", "utf-16", "utf-32-le"))
    ),
    st.binary(max_size=20),
)


def outcome(read: Any, text: Any) -> str:
    try:
        return repr(read(text))
    except (ValueError, RecursionError) as exc:
        return "not JSON" if isinstance(exc, ValueError) else "too deep"


@settings(max_examples=500, deadline=None)
@given(st.one_of(ENCODED, ENCODED, TEXTS))
def test_json_is_read_like_the_json_module_does(text: bytes | str) -> None:
    assert outcome(loads, text) == outcome(json.loads, text)


@settings(max_examples=300, deadline=None)
@given(ENCODED)
def test_finite_json_can_be_written_again(text: bytes) -> None:
    finite = outcome(finite_loads, text)

    if finite not in ("not JSON", "too deep"):
        assert finite == outcome(json.loads, text)
        json.dumps(finite_loads(text), allow_nan=False)
