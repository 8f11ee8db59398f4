"""Warnings about implausible keys, which never show the value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.config.files import loaded

LOCAL = "http://vllm:8000/v1"
OPENAI = "https://api.openai.com/v1"


def warnings(folder: Path, provider: dict[str, object], environ: dict[str, str] | None = None) -> list[str]:
    """What a provider is warned of, without file and line."""
    text = yaml.safe_dump({"providers": {"p": provider}})
    return [each.partition(": ")[2] for each in loaded(folder, text, environ).warnings]


def of_key(folder: Path, value: str, url: str = LOCAL, environ: dict[str, str] | None = None) -> list[str]:
    return warnings(folder, {"base_url": url, "keys": [{"value": value}]}, environ)


@pytest.mark.parametrize(
    "value",
    [
        "os.environ/MY_KEY",
        "os.environ['MY_KEY']",
        "os.environ.get(MY_KEY)",
        "os.getenv('MY_KEY')",
        "process.env.MY_KEY",
        "env:MY_KEY",
        "env.MY_KEY",
        "$MY_KEY",
        "$(MY_KEY)",
        "%MY_KEY%",
        "{MY_KEY}",
        "{{MY_KEY}}",
        "<MY_KEY>",
        "secrets.MY_KEY",
        "getenv('MY_KEY')",
        "env('MY_KEY')",
        "ENV['MY_KEY']",
        "process.env['MY_KEY']",
        "MY_KEY",
    ],
)
@pytest.mark.parametrize("how", ["key", "text", "variable"])
def test_a_reference_in_another_notation_is_reported(tmp_path: Path, value: str, how: str) -> None:
    keys: object = {"key": [{"value": value}], "text": [value], "variable": ["${HELD}"]}[how]

    [found] = warnings(tmp_path, {"base_url": LOCAL, "keys": keys}, {"HELD": value})

    assert found.startswith("providers.p.keys[0]: has a value that looks like a reference to a variable")
    assert how == "variable" or found.endswith("; write `${MY_KEY}`")


@pytest.mark.parametrize(("value", "name"), [("$${MY_KEY}", "MY_KEY"), ("$my_api_key", "my_api_key")])
def test_an_escaped_or_lower_case_reference_is_reported(tmp_path: Path, value: str, name: str) -> None:
    [found] = of_key(tmp_path, value)

    assert found.endswith(f"is sent unchanged; write `${{{name}}}`")


@pytest.mark.parametrize(
    "value",
    [
        "/run/secrets/openai",
        "file:///run/secrets/openai",
        "vault:secret/data/openai#key",
        "op://vault/openai/credential",
        "arn:aws:secretsmanager:eu-west-1:1:secret:openai",
        "projects/p/secrets/openai/versions/latest",
    ],
)
def test_the_path_of_a_secret_is_reported(tmp_path: Path, value: str) -> None:
    [found] = of_key(tmp_path, value)

    assert found.startswith("providers.p.keys[0]: looks like a reference to a secret store")


@pytest.mark.parametrize("value", ["sk-abc123456,sk-def123456", "sk-abc123456;sk-def123456"])
def test_several_keys_in_one_value_are_reported(tmp_path: Path, value: str) -> None:
    [found] = of_key(tmp_path, "${K}", environ={"K": value})

    assert found.startswith("providers.p.keys[0]: looks like several keys in one value")


@pytest.mark.parametrize(
    "value",
    [
        "sk-abc123",
        "dummy",
        "EMPTY",
        "none",
        "a$b",
        "ollama",
        "$ecret",
        "{secret}",
        "x" * 500,
        "AIzaSyA",
        "a{b}c",
        "a,b",
        "/key",
        "$my_pass",
    ],
)
def test_a_plausible_key_is_not_reported(tmp_path: Path, value: str) -> None:
    assert of_key(tmp_path, value) == []


@pytest.mark.parametrize("value", ['"sk-abc"', "'sk-abc'", '"sk-abc', "sk-abc'", "`sk-abc`"])
def test_a_quoted_key_is_reported(tmp_path: Path, value: str) -> None:
    assert of_key(tmp_path, "${K}", environ={"K": value}) == [
        "providers.p.keys[0]: has a quotation mark at the beginning or end of its value, which is sent too; remove it"
    ]


@pytest.mark.parametrize("value", [" sk-abc", "sk-abc\n", "sk-abc \r\n", "\tsk-abc"])
def test_white_space_around_a_key_is_removed_and_reported(tmp_path: Path, value: str) -> None:
    text = yaml.safe_dump({"providers": {"p": {"base_url": LOCAL, "keys": ["${K}"]}}})

    found = loaded(tmp_path, text, {"K": value})

    [key] = found.settings.providers["p"].keys
    assert key.value.get_secret_value() == "sk-abc"  # type: ignore[union-attr]
    assert found.warnings[0].endswith("providers.p.keys[0]: has white space around its value, which is removed")


@pytest.mark.parametrize("keys", [[""], [None], [{"value": ""}], [{"value": None}], [{"value": "  "}]])
def test_an_empty_key_is_reported(tmp_path: Path, keys: list[object]) -> None:
    assert warnings(tmp_path, {"base_url": LOCAL, "keys": keys}) == [
        "providers.p.keys[0]: has an empty value; this key is not used"
    ]


@pytest.mark.parametrize(
    "value", ["sk-xxxxxxxx", "your-api-key", "YOUR_API_KEY", "changeme", "sk-...", "replace-me", "sk-your-key"]
)
def test_a_placeholder_for_a_vendors_key_is_reported(tmp_path: Path, value: str) -> None:
    [found] = of_key(tmp_path, value, OPENAI)

    assert found.startswith("providers.p.keys[0]: has a value that looks like a ")


@pytest.mark.parametrize(
    ("value", "url", "owner"),
    [
        ("sk-ant-api03-abc", OPENAI, "anthropic"),
        ("gsk_abc", OPENAI, "groq"),
        ("AIzaSyAbc", "https://api.anthropic.com/v1", "gemini"),
        ("xai-abc", "https://api.groq.com/openai/v1", "xai"),
        ("sk-or-v1-abc", OPENAI, "openrouter"),
    ],
)
def test_a_key_of_another_vendor_is_reported(tmp_path: Path, value: str, url: str, owner: str) -> None:
    [found] = of_key(tmp_path, value, url)

    assert found.startswith(f"providers.p.keys[0]: looks like a key of {owner}, but the address is that of ")


def test_one_key_under_two_ids_is_reported(tmp_path: Path) -> None:
    keys = [{"id": "a", "value": "${K}"}, {"id": "b", "value": "sk-one-key"}, {"id": "c", "value": "sk-two"}]

    assert warnings(tmp_path, {"base_url": LOCAL, "keys": keys}, {"K": "sk-one-key"}) == [
        "providers.p.keys[1]: has the same value as `p.keys.a`; a key has one set of limits, so keep only one"
    ]


@pytest.mark.parametrize(("url", "reported"), [(LOCAL, True), ("http://other:8000/v1", False)])
def test_one_key_at_two_providers_of_one_address_is_reported(tmp_path: Path, url: str, reported: bool) -> None:
    providers = {"a": {"base_url": LOCAL, "keys": ["sk-one"]}, "b": {"base_url": url, "keys": ["sk-one"]}}

    found = loaded(tmp_path, yaml.safe_dump({"providers": providers})).warnings

    assert [each.partition(": ")[2].partition(":")[0] for each in found] == (
        ["providers.b.keys[0]"] if reported else []
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("auth: {admin_token: $TOKEN_X}", "auth.admin_token"),
        ("auth: {pepper: os.environ/TOKEN_WITH_A_NAME_OF_32_BYTES}", "auth.pepper"),
        (f"providers: {{p: {{base_url: '{LOCAL}', headers: {{x-auth: $TOKEN_X}}}}}}", "providers.p.headers.x-auth"),
        (f"providers: {{p: {{base_url: '{LOCAL}', headers: {{a: Bearer $TOKEN_X}}}}}}", "providers.p.headers.a"),
    ],
)
def test_other_secrets_are_checked_too(tmp_path: Path, text: str, where: str) -> None:
    [found] = loaded(tmp_path, text).warnings

    assert f": {where}: has a value that looks like a reference" in found
    assert found.endswith(("`${TOKEN_X}`", "`${TOKEN_WITH_A_NAME_OF_32_BYTES}`"))


@pytest.mark.parametrize("environ", [{}, {"K": "sk-canary-5f3a9c'"}, {"K": " sk-canary-5f3a9c"}])
def test_no_warning_shows_a_value(tmp_path: Path, environ: dict[str, str]) -> None:
    keys = [
        {"id": "a", "value": "sk-canary-5f3a9c"},
        {"id": "b", "value": "${K}"},
        {"id": "c", "value": "sk-canary-5f3a9c"},
    ]

    found = warnings(tmp_path, {"base_url": OPENAI, "keys": keys}, environ)

    assert found
    assert "canary" not in "".join(found)


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        ("scenarios: {s: [p/a, p/b, p/a]}", "routing.scenarios.s[2]: `p/a` is repeated in this list"),
        ("scenarios: {s: [p/a, {model: p/a, set: {n: 1}}]}", "routing.scenarios.s[1]: `p/a` is repeated in this"),
        (
            "aliases: {x: p/a}\n  scenarios: {s: [p/a, x]}",
            "routing.scenarios.s[1]: `x` is repeated in this list, as `p/a`; only the first is used",
        ),
        ("scenarios: {s: [tier/low, tier/low]}", "routing.scenarios.s[1]: `tier/low` is repeated in this list"),
        ("tiers: {high: [p/b, p/b]}", "routing.tiers.high[1]: `p/b` is repeated in this list; only the first"),
    ],
)
def test_a_name_twice_in_a_list_is_reported(tmp_path: Path, routing: str, expected: str) -> None:
    models = "models: [{id: p/a, tier: low}, {id: p/b}]"

    [found] = loaded(tmp_path, f"providers: {{p: {{base_url: '{LOCAL}'}}}}\n{models}\nrouting:\n  {routing}\n").warnings

    assert found.partition(": ")[2].startswith(expected)
