"""Errors of upstreams, whatever they hold: each has a kind, and text is cut before bounded patterns see it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.dialects import blame
from proxy.dialects.anthropic import errors as anthropic
from proxy.dialects.gemini import errors as gemini
from proxy.dialects.openai import errors as openai

Classifier = Callable[[int, dict[str, str], bytes, float], UpstreamFailure]

MATCHED = [blame.KEY, blame.ACCOUNT, blame.MODEL, blame.CONTEXT, blame.FILTERED, blame.ROUTE, blame.NETWORK]
MATCHED += [blame.RESOURCE, blame.TOO_LARGE]
CLASSIFIERS = (openai.failure, anthropic.failure, gemini.failure)
NAMES = ("error", "message", "detail", "code", "type", "status", "choices", "errors", "metadata", "details")
KEYS = st.sampled_from(NAMES) | st.text(max_size=5)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(st.sampled_from(CLASSIFIERS), st.integers(300, 599), st.binary(max_size=300))
def test_any_bytes_have_a_kind(classify: Classifier, status: int, body: bytes) -> None:
    assert classify(status, {}, body, 0.0).kind in FailureKind


@given(st.sampled_from(CLASSIFIERS), st.sampled_from([400, 403, 404, 429, 503]), JSON)
def test_any_json_has_a_kind_and_a_message(classify: Classifier, status: int, value: Any) -> None:
    found = classify(status, {}, json.dumps(value).encode(), 0.0)

    assert found.kind in FailureKind
    assert str(found)


@given(st.text(max_size=50), st.integers(1, 2000))
def test_text_is_cut_before_it_is_matched(text: str, times: int) -> None:
    # a few characters, such as the Turkish dotted I, become longer in lower case
    assert len(blame.normal(text * times)) <= 3 * blame.LONGEST


def repetitions(pattern: Any) -> Iterator[int]:
    """How often each part of a parsed pattern may be repeated."""
    for part in pattern if isinstance(pattern, (list, tuple, parser.SubPattern)) else ():
        if isinstance(part, tuple) and len(part) == 2 and str(part[0]) in ("MAX_REPEAT", "MIN_REPEAT"):
            yield int(part[1][1])
        yield from repetitions(part)


@pytest.mark.parametrize("pattern", MATCHED)
def test_no_pattern_repeats_without_a_bound(pattern: blame.Words) -> None:
    found = list(repetitions(parser.parse(pattern.pattern)))

    assert max(found, default=1) <= 400
