"""JSON is read as the `json` module reads it, whichever parser does it."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.core.json_text import compact_nulled, finite_loads, loads
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


MOST_DIGITS = sys.int_info.str_digits_check_threshold  # 640; what is longer may be read as a bound instead


def reference(text: bytes | str) -> Any:
    """Read with the `json` module, but assume that no integer is longer than Python can be set to convert."""

    def integer(digits: str) -> int:
        assume(len(digits) <= MOST_DIGITS)
        return int(digits)

    return json.loads(text, parse_int=integer)


def outcome(read: Any, text: Any) -> str:
    try:
        return repr(read(text))
    except (ValueError, RecursionError) as exc:
        return "not JSON" if isinstance(exc, ValueError) else "too deep"


@settings(max_examples=500, deadline=None)
@given(st.one_of(ENCODED, ENCODED, TEXTS))
def test_json_is_read_like_the_json_module_does(text: bytes | str) -> None:
    assert outcome(loads, text) == outcome(reference, text)


@settings(max_examples=300, deadline=None)
@given(ENCODED)
def test_finite_json_can_be_written_again(text: bytes) -> None:
    finite = outcome(finite_loads, text)

    if finite not in ("not JSON", "too deep"):
        assert finite == outcome(reference, text)
        json.dumps(finite_loads(text), allow_nan=False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def nulled(value: Any) -> Any:
    """The value that a reader of its JSON gets."""
    if isinstance(value, dict):
        return {name: nulled(member) for name, member in value.items()}
    if isinstance(value, list):
        return [nulled(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_any_value_is_written_as_strict_json(value: Any) -> None:
    assert repr(json.loads(compact_nulled(value))) == repr(nulled(value))
