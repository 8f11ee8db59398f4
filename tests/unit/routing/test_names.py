"""Tests of proxy/routing/names.py and proxy/routing/members.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.errors import InvalidRequest, ModelNotFound
from proxy.core.model import Deployment, Kind
from proxy.core.snapshot import ScenarioEntry
from proxy.routing.names import Rule, find_model, nearest, resolve, usable_names
from tests.unit.routing.build import ANTHROPIC, EMBED, LOCAL, MINI, OPENAI, SONNET, provider, snapshot

SUPPORT = (ScenarioEntry("anthropic/haiku", {"temperature": 0.2}), ScenarioEntry("openai/mini"))


def names_of(rule: Rule) -> tuple[str, ...]:
    """The deployments that it stands for, in the configured order."""
    return tuple(target.deployment.name for target in rule.members.targets)


@pytest.mark.parametrize(
    ("name", "rule", "route", "names"),
    [
        ("openai/mini", "direct", "openai/mini", ("openai/mini",)),
        ("haiku", "bare", "anthropic/haiku", ("anthropic/haiku",)),
        ("gpt-4", "alias", "openai/mini", ("openai/mini",)),
        ("hop", "alias", "openai/mini", ("openai/mini",)),
        ("cheap", "alias", "tier/low", ("openai/mini", "anthropic/haiku")),
        ("tier/low", "tier", "tier/low", ("openai/mini", "anthropic/haiku")),
        ("scenario/support", "scenario", "scenario/support", ("anthropic/haiku", "openai/mini")),
        ("mode/fast", "mode", "mode/fast", None),
        ("auto", "auto", "auto", None),
    ],
)
def test_each_form_stands_for_its_members(name: str, rule: str, route: str, names: tuple[str, ...] | None) -> None:
    aliases = {"gpt-4": "openai/mini", "hop": "gpt-4", "cheap": "tier/low"}
    on = snapshot(aliases=aliases, scenarios={"support": SUPPORT})

    found = resolve(on, name)

    assert (found.rule, found.route) == (rule, route)
    assert names is None or names_of(found) == names


def test_a_scenario_keeps_what_its_entries_set() -> None:
    found = resolve(snapshot(scenarios={"support": SUPPORT}), "scenario/support")

    assert [dict(target.overrides) for target in found.members.targets] == [{"temperature": 0.2}, {}]


def test_the_provider_ends_at_the_first_slash() -> None:
    deep = Deployment(OPENAI, "org/model@v1:free~x")

    assert names_of(resolve(snapshot(deep), "openai/org/model@v1:free~x")) == (deep.name,)
    assert resolve(snapshot(deep), "org/model@v1:free~x").rule == "bare"


def test_any_model_may_be_named_where_the_provider_says_so() -> None:
    found = resolve(snapshot(), "local/qwen2.5:7b")

    [target] = found.members.targets
    assert (target.deployment.model, target.deployment.listed) == ("qwen2.5:7b", False)
    assert target.deployment.timeouts == LOCAL.timeouts


@pytest.mark.parametrize(
    "model",
    [
        "",
        "x" * 257,
        "a b",
        "a\nb",
        "a\x00b",
        "a\u00a0b",
        "a\ud800",
        "..",
        ".",
        "a/..",
        "a/../b",
        "..\\x",
        "%2e%2e",
        "a/%2E./b",
        "%252e%252e/x",
    ],
)
def test_an_invalid_model_id_is_rejected(model: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(snapshot(), f"local/{model}")

    assert caught.value.param == "model"


@pytest.mark.parametrize("model", ["a..b", "...", "a/.b", "v1.5", "org/m:free", "a@1", "~x", "50%"])
def test_a_model_id_may_contain_dots(model: str) -> None:
    [target] = resolve(snapshot(), f"local/{model}").members.targets

    assert target.deployment.model == model


def test_any_model_does_not_allow_disabled_models() -> None:
    with pytest.raises(ModelNotFound, match="is disabled"):
        resolve(snapshot(known=["local/secret"]), "local/secret")


@pytest.mark.parametrize(
    "name", ["openai/nope", "nope", "tier/best", "tier", "scenario/x", "mode/slow", "auto/x", "", "/"]
)
def test_an_unknown_name_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(snapshot(), name)

    assert (caught.value.http_status, caught.value.error_code, caught.value.param) == (404, "model_not_found", "model")


def test_names_are_case_sensitive_and_suggestions_are_not() -> None:
    with pytest.raises(ModelNotFound, match="`openai/mini`"):
        resolve(snapshot(), "OpenAI/Mini")


def test_an_ambiguous_bare_id_names_both() -> None:
    on = snapshot(MINI, Deployment(ANTHROPIC, "mini"))

    with pytest.raises(ModelNotFound, match="`openai/mini` and `anthropic/mini`"):
        resolve(on, "mini")


def test_a_provider_that_is_left_out_says_why() -> None:
    on = snapshot(left_out={"gemini": "GEMINI_API_KEY is not set"}, known=["gemini/flash"])

    for name in ("gemini/flash", "gemini/anything", "flash"):
        with pytest.raises(ModelNotFound, match="GEMINI_API_KEY is not set"):
            resolve(on, name)


def test_the_default_route_serves_unknown_names() -> None:
    on = snapshot(default_route="tier/low", left_out={"gemini": "no key"}, known=["gemini/flash"])

    assert (resolve(on, "gpt-99").rule, resolve(on, "gpt-99").route) == ("default", "tier/low")
    assert resolve(on, "flash").rule == "default"
    with pytest.raises(ModelNotFound, match="no key"):
        resolve(on, "gemini/flash")


def test_an_alias_without_a_model_is_unknown_and_unlisted() -> None:
    on = snapshot(aliases={"ghost": "openai/ghost", "loop": "pool", "pool": "loop"})

    for name in ("ghost", "loop"):
        with pytest.raises(ModelNotFound):
            resolve(on, name)
    assert not {"ghost", "loop", "pool"} & {each.id for each in usable_names(on)}


def test_messages_show_long_names_short_and_on_one_line() -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(snapshot(), "x\n" * 100_000)

    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_explicit_tiers_keep_their_order_and_skip_missing_ones() -> None:
    on = snapshot(
        tiers={"low": ("anthropic/opus", "gemini/flash", "openai/embed", "openai/mini")},
        left_out={"gemini": "no key"},
        known=["gemini/flash"],
    )

    found = resolve(on, "tier/low")

    assert names_of(found) == ("anthropic/opus", "openai/mini")
    assert [each.name for each in found.members.missing] == ["gemini/flash"]


def test_usable_names_are_models_aliases_and_routes_with_members() -> None:
    on = snapshot(
        MINI,
        SONNET,
        aliases={"gpt-4": "openai/mini", "cheap": "tier/low", "gone": "gemini/flash"},
        scenarios={"support": SUPPORT, "empty": (ScenarioEntry("gemini/flash"),)},
        left_out={"gemini": "no key"},
        known=["gemini/flash"],
    )

    names = {each.id: (each.owner, each.kind, each.deployment) for each in usable_names(on)}

    assert names["openai/mini"] == ("openai", "model", MINI)
    assert names["gpt-4"] == ("signalbox", "alias", MINI)
    assert names["cheap"] == ("signalbox", "alias", None)
    assert {"tier/low", "tier/medium", "scenario/support", "auto", "mode/fast", "mode/accurate"} <= names.keys()
    assert not {"tier/high", "scenario/empty", "gone", "gemini/flash"} & names.keys()


def test_every_usable_name_resolves() -> None:
    on = snapshot(aliases={"gpt-4": "openai/mini"}, scenarios={"support": SUPPORT})

    for each in usable_names(on):
        assert names_of(resolve(on, each.id))


def test_without_a_chat_model_auto_is_not_listed() -> None:
    on = snapshot(Deployment(provider("p"), "e", kind="embedding"))

    assert [each.id for each in usable_names(on)] == ["p/e"]


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("openai/mnii", "openai/mini"), ("hiaku", "anthropic/haiku"), ("teir/low", "tier/low"), ("AUTO", "auto")],
)
def test_the_nearest_name_comes_first(typo: str, meant: str) -> None:
    assert nearest(snapshot(), typo)[0] == meant


def test_at_most_three_similar_names_are_suggested() -> None:
    assert len(nearest(snapshot(), "anthropic/")) == 3
    assert nearest(snapshot(), "zzzzqqqq") == []


# Hints, kinds, and single models

OPEN = provider("open", any_model=True)
KNOWN = Deployment(OPEN, "gpt-4.1")
CATALOGUED = replace(snapshot(MINI, SONNET, providers=[OPEN]), catalogue={"open": {"gpt-4.1": KNOWN}})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpt-4.1", "Did you mean `open/gpt-4.1`?"),
        ("gpt-4.1-2025-04-14", "Did you mean `open/gpt-4.1-2025-04-14`?"),
        ("Open/gpt-4.1", "Did you mean `open/gpt-4.1`?"),
        ("OPEN/vendor/qwen", "Did you mean `open/vendor/qwen`?"),
        ("vendor/qwen", "Name an unlisted model with its provider: `open/vendor/qwen`."),
        ("min", "Did you mean `openai/mini`? Name an unlisted model with its provider: `open/min`."),
    ],
)
def test_the_hint_names_the_model_at_an_open_provider(name: str, hint: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(CATALOGUED, name)

    assert str(caught.value).endswith(f"does not exist. {hint}")


@pytest.mark.parametrize("name", ["tier/lo", "openai/x", "a b", "x" * 500, "agent"])
def test_invalid_model_ids_get_no_hint_of_an_open_provider(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(CATALOGUED, name)

    assert "`open/" not in str(caught.value)


EMBED_TIER = replace(EMBED, tier="low")


@pytest.mark.parametrize(
    ("default", "kind", "served"),
    [
        ("openai/mini", "chat", True),
        ("openai/mini", "embedding", False),
        ("openai/mini", "completion", False),
        ("openai/embed", "embedding", True),
        ("openai/embed", "chat", False),
        ("alias", "embedding", False),
        ("auto", "embedding", True),
        ("auto", "image", False),
        ("tier/low", "embedding", True),
        ("tier/low", "moderation", False),
        ("scenario/s", "chat", True),
        ("scenario/s", "audio", False),
        ("mode/fast", "audio", False),
    ],
)
def test_the_default_serves_its_own_kind_only(default: str, kind: Kind, served: bool) -> None:
    on = snapshot(
        MINI,
        SONNET,
        EMBED_TIER,
        aliases={"alias": "openai/mini"},
        scenarios={"s": (ScenarioEntry("openai/mini"),)},
        default_route=default,
    )

    if served:
        assert resolve(on, "unknown", kind=kind).rule == "default"
    else:
        with pytest.raises(ModelNotFound):
            resolve(on, "unknown", kind=kind)


@pytest.mark.parametrize(
    ("name", "kind", "model"),
    [
        ("openai/mini", "model", "mini"),
        ("mini", "model", "mini"),
        ("open/any-thing", "model", "any-thing"),
        ("tier/low", "tier", None),
        ("auto", "auto", None),
    ],
)
def test_a_model_is_found_by_every_name_of_a_call(name: str, kind: str, model: str | None) -> None:
    found = find_model(CATALOGUED, name)

    assert (found.id, found.kind, found.deployment.model if found.deployment else None) == (name, kind, model)


@pytest.mark.parametrize("name", ["unknown", "agent/x", "open/", "tier/lo", ""])
def test_a_name_that_no_call_may_use_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound):
        find_model(replace(CATALOGUED, default_route="openai/mini"), name)


def test_an_ambiguous_bare_id_names_its_models() -> None:
    twin = Deployment(provider("other"), "mini")

    with pytest.raises(ModelNotFound, match="`openai/mini` and `other/mini`"):
        find_model(snapshot(MINI, twin), "mini")


def test_a_tier_in_a_scenario_is_replaced_by_its_models() -> None:
    entries = (ScenarioEntry("anthropic/sonnet"), ScenarioEntry("tier/low", {"temperature": 0.2}))

    rule = resolve(snapshot(MINI, SONNET, scenarios={"s": entries}), "scenario/s")

    assert [(target.deployment.name, dict(target.overrides)) for target in rule.members.targets] == [
        ("anthropic/sonnet", {}),
        ("openai/mini", {"temperature": 0.2}),
    ]
    assert rule.members.unordered == (slice(1, 2),)
