"""Options of our own, in the body and in headers."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.call import RouterOptions
from proxy.core.errors import InvalidRequest
from proxy.surfaces.options import read_options

WHOLE = {
    "mode": "fast",
    "max_wait_seconds": 2,
    "max_cost_usd": 0.5,
    "max_latency_ms": 900,
    "require": ["tools", "vision"],
    "providers": ["acme", "other/model"],
    "exclude": ["bad"],
    "key_id": "main",
    "client_id": "app",
    "task": "code",
    "debug": True,
    "fallbacks": ["tier/high"],
    "conversation": "conv_1",
}
READ = RouterOptions(
    mode="fast",
    max_wait_seconds=2.0,
    max_cost_usd=0.5,
    max_latency_ms=900.0,
    require=("tools", "vision"),
    providers=("acme", "other/model"),
    exclude=("bad",),
    key_id="main",
    client_id="app",
    task="code",
    debug=True,
    fallbacks=("tier/high",),
    conversation="conv_1",
)


def refused(value: Any, headers: dict[str, str] | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as found:
        read_options(value, headers or {})
    return found.value


def test_the_body_s_object_is_read() -> None:
    assert read_options(WHOLE, {}) == READ


def test_headers_say_the_same() -> None:
    headers = {
        f"x-router-{name.replace('_', '-')}": " , ".join(value) if isinstance(value, list) else str(value)
        for name, value in WHOLE.items()
    }

    assert read_options(None, headers) == READ


def test_nothing_asked_is_the_default() -> None:
    assert read_options(None, {"accept": "*/*"}) == RouterOptions()
    assert read_options({}, {}) == RouterOptions()
    assert read_options(dict.fromkeys(WHOLE), {}) == RouterOptions()


def test_the_body_beats_the_header() -> None:
    options = read_options({"mode": "fast", "debug": None}, {"x-router-mode": "accurate", "x-router-debug": "1"})

    assert (options.mode, options.debug) == ("fast", True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("On", True), ("FALSE", False), ("0", False), ("off", False), (" true ", True)],
)
def test_a_header_says_yes_or_no_in_several_ways(text: str, value: bool) -> None:
    assert read_options(None, {"x-router-debug": text}).debug is value


def test_an_empty_list_in_a_header_is_empty() -> None:
    assert read_options(None, {"x-router-exclude": " , "}).exclude == ()


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"mode": "quick"}, "router.mode"),
        ({"mode": ["fast"]}, "router.mode"),
        ({"task": "cooking"}, "router.task"),
        ({"max_cost_usd": -1}, "router.max_cost_usd"),
        ({"max_cost_usd": "1"}, "router.max_cost_usd"),
        ({"max_cost_usd": True}, "router.max_cost_usd"),
        ({"max_cost_usd": float("inf")}, "router.max_cost_usd"),
        ({"max_cost_usd": 10**400}, "router.max_cost_usd"),
        ({"max_latency_ms": float("nan")}, "router.max_latency_ms"),
        ({"max_latency_ms": [1]}, "router.max_latency_ms"),
        ({"require": "tools"}, "router.require"),
        ({"require": [1]}, "router.require"),
        ({"require": [""]}, "router.require"),
        ({"providers": ["x"] * 65}, "router.providers"),
        ({"exclude": ["x" * 257]}, "router.exclude"),
        ({"key_id": ""}, "router.key_id"),
        ({"client_id": "x" * 257}, "router.client_id"),
        ({"client_id": 7}, "router.client_id"),
        ({"debug": 1}, "router.debug"),
        ({"debug": "true"}, "router.debug"),
        ({"fallbacks": {}}, "router.fallbacks"),
        ({"max_wait_seconds": -1}, "router.max_wait_seconds"),
        ({"max_wait_seconds": "3"}, "router.max_wait_seconds"),
        ({"cache": "on"}, "router.cache"),
        ({"conversation": ["conv_1"]}, "router.conversation"),
        ({"colour": 1}, "router.colour"),
        ({"": 1}, "router."),
        ([], "router"),
        ("debug", "router"),
        (False, "router"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(value: Any, param: str) -> None:
    error = refused(value)

    assert error.param == param
    assert f"`{param}`" in str(error)


@pytest.mark.parametrize(
    ("name", "text", "param"),
    [
        ("x-router-mode", "", "router.mode"),
        ("x-router-max-cost-usd", "cheap", "router.max_cost_usd"),
        ("x-router-max-cost-usd", "nan", "router.max_cost_usd"),
        ("x-router-max-cost-usd", "-0.1", "router.max_cost_usd"),
        ("x-router-debug", "maybe", "router.debug"),
        ("x-router-require", ",".join(["x"] * 65), "router.require"),
        ("x-router-cache", "off", "router.cache"),
        ("x-router-colour", "red", "router.colour"),
        ("x-router-", "x", "router."),
    ],
)
def test_a_wrong_header_is_refused_by_its_name(name: str, text: str, param: str) -> None:
    assert refused(None, {name: text}).param == param


def test_an_option_whose_feature_is_not_there_says_so() -> None:
    assert "not supported by this version" in str(refused({"cache": "on"}))


def test_an_unknown_option_error_lists_the_known_ones() -> None:
    error = refused({"x" * 10_000: 1})

    assert "`max_cost_usd`" in str(error)
    assert len(str(error)) < 1000
