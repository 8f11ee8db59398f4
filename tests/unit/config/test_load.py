"""From the file to settings, and everything that can be wrong on the way."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.config.errors import ConfigError
from proxy.config.load import MAX_BYTES, Loaded, default_path, load
from proxy.config.providers import Unset

SECRET = "sk-canary-5f3a9c"


def write(folder: Path, text: str | bytes, name: str = "signalbox.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    return load(write(folder, text), environ or {})


def problems(folder: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    """The error's lines, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), environ or {})
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    return [line.removeprefix(f"{folder}/") for line in lines]


MODELS = """
providers:
  openai: {base_url: https://api.openai.com/v1}
  open: {base_url: https://open.example/v1, any_model: true}
models:
  - id: openai/gpt-4o
  - id: openai/gpt-4o-mini
"""  # 7 lines


def routing(text: str) -> str:
    """A file with two models, and routing from line 9 on."""
    return f"{MODELS}routing:\n{text}\n"


def test_everything_has_a_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "server:\n").settings

    assert (settings.server.host, settings.server.port, settings.server.max_body) == ("127.0.0.1", 8080, 20 * 1024**2)
    assert settings.resilience.breaker.max_open == 1800.0
    assert settings.providers == {}


def test_units_numbers_and_texts_are_read(tmp_path: Path) -> None:
    text = """
server: {drain: 1m, max_body: 64KiB, keep_alive: 5, port: "8081"}
providers:
  azure:
    base_url: https://x.openai.azure.com/openai/deployments/{model}//
    api_version: 2024-10-21
    auth_header: API-Key
    keys: [{id: 1, value: 0123456789}]
    headers: {X-Number: 7}
models:
  - {id: azure/gpt, price: {input: 0.075, output: "1.10"}, latency: 800ms}
"""
    settings = loaded(tmp_path, text).settings

    assert (settings.server.drain, settings.server.max_body, settings.server.keep_alive) == (60.0, 65536, 5.0)
    assert settings.server.port == 8081
    azure = settings.providers["azure"]
    assert azure.base_url == "https://x.openai.azure.com/openai/deployments/{model}"
    assert (azure.api_version, azure.auth_header, azure.keys[0].id) == ("2024-10-21", "api-key", "1")
    assert isinstance(azure.keys[0].value, SecretStr)
    assert azure.keys[0].value.get_secret_value() == "0123456789"
    assert azure.headers["x-number"].get_secret_value() == "7"
    price = settings.models[0].price
    assert price is not None
    assert (str(price.input), str(price.output)) == ("0.075", "1.10")


# --- variables ------------------------------------------------------------------------------------------------------


def test_a_variable_alone_is_read_again_as_yaml(tmp_path: Path) -> None:
    text = """
server: {port: "${PORT:-9000}", host: "${HOST:-0.0.0.0}", trusted_proxies: "${PROXIES:-[]}", drain: "${DRAIN}"}
mock_when_no_keys: ${MOCK}
"""
    settings = loaded(tmp_path, text, {"MOCK": "true", "DRAIN": "5s"}).settings

    assert (settings.server.port, settings.server.host, settings.server.drain) == (9000, "0.0.0.0", 5.0)
    assert settings.server.trusted_proxies == ()
    assert settings.mock_when_no_keys is True


def test_a_variable_can_hold_a_whole_section(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "server: ${SERVER}\n", {"SERVER": "{port: 1, host: '${NOT_AGAIN}'}"}).settings

    assert settings.server.port == 1
    assert settings.server.host == "${NOT_AGAIN}"


@pytest.mark.parametrize(
    "value", ["1234", "null", "true", "1e5", "a: b", "*x", "!y", "[1", "0x10", "'quoted'", "~", "#x"]
)
def test_a_secret_keeps_its_characters_whatever_they_look_like(tmp_path: Path, value: str) -> None:
    text = """
auth: {admin_token: "${T}"}
providers: {p: {base_url: http://x, keys: [{value: "${K}"}], headers: {h: "${T}"}}}
"""
    settings = loaded(tmp_path, text, {"T": value, "K": value.replace(" ", "")}).settings

    key = settings.providers["p"].keys[0].value
    assert isinstance(key, SecretStr)
    assert key.get_secret_value() == value.replace(" ", "")
    assert settings.auth.admin_token is not None
    assert settings.auth.admin_token.get_secret_value() == value
    assert settings.providers["p"].headers["h"].get_secret_value() == value


def test_a_text_takes_a_variable_that_looks_like_something_else(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "data_dir: ${D}\n", {"D": "2026"}).settings

    assert settings.data_dir == "2026"


def test_variables_inside_a_text_stay_text_and_a_doubled_dollar_is_literal(tmp_path: Path) -> None:
    text = "data_dir: ${A}/x/$${B}\nproviders: {p: {base_url: 'http://${H}:${P}/v1'}}\n"
    settings = loaded(tmp_path, text, {"A": "/data", "H": "host", "P": "81"}).settings

    assert settings.data_dir == "/data/x/${B}"
    assert settings.providers["p"].base_url == "http://host:81/v1"


def test_keys_are_not_expanded(tmp_path: Path) -> None:
    found = problems(tmp_path, "${A}: 1\n", {"A": "server"})

    assert found == ["signalbox.yaml:1: …: unknown setting `…`"]


def test_an_optional_secret_may_be_empty(tmp_path: Path) -> None:
    text = "auth: {admin_token: '${T:-}', pepper: '${P:-}'}\nproviders: {p: {base_url: http://x, proxy: '${X:-}'}}\n"
    settings = loaded(tmp_path, text, {"P": ""}).settings

    assert settings.auth.admin_token is None
    assert settings.auth.pepper is None
    assert settings.providers["p"].proxy is None


@pytest.mark.parametrize("environ", [{}, {"K2": ""}, {"K2": "  "}])
def test_an_unset_key_is_disabled_with_one_warning(tmp_path: Path, environ: dict[str, str]) -> None:
    text = """
providers:
  p:
    base_url: http://x
    keys:
      - {id: one, value: "${K1}"}
      - {id: two, value: "${K2}"}
"""
    found = loaded(tmp_path, text, {"K1": SECRET, **environ})

    assert found.settings.providers["p"].keys[1].value == Unset(("K2",))
    assert isinstance(found.settings.providers["p"].keys[0].value, SecretStr)
    where = f"{tmp_path}/signalbox.yaml:7: providers.p.keys[1]"
    assert found.warnings == (f"{where}: K2 is not set; this key is not used",)


@pytest.mark.parametrize("value", ["'${K:-}'", "''", "null", "", "'prefix-${K}'"])
def test_a_key_without_a_value_is_disabled(tmp_path: Path, value: str) -> None:
    settings = loaded(
        tmp_path, f"providers:\n  p:\n    base_url: http://x\n    keys:\n      - value: {value}\n"
    ).settings

    assert isinstance(settings.providers["p"].keys[0].value, Unset)


def test_an_unset_variable_elsewhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    found = problems(tmp_path, "server:\n  port: ${PORT}\n  host: x${HOST}${HOST}\n")

    assert found == [
        "signalbox.yaml:2: server.port: PORT is not set; set it, or give a default: `${PORT:-...}`",
        "signalbox.yaml:3: server.host: HOST is not set; set it, or give a default: `${HOST:-...}`",
    ]


def test_an_unset_variable_brings_no_second_problem(tmp_path: Path) -> None:
    found = problems(tmp_path, "providers:\n  p:\n    base_url: ${URL}\n")

    assert found == ["signalbox.yaml:3: providers.p.base_url: URL is not set; set it, or give a default: `${URL:-...}`"]


def test_a_malformed_variable_is_an_error(tmp_path: Path) -> None:
    [found] = problems(tmp_path, "data_dir: a${B\n")

    assert found.startswith("signalbox.yaml:1: data_dir: has a `${` that is no `${VAR}`")


def test_the_env_file_beside_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    write(tmp_path, 'A=from-file\nB="with space"\nC=$${A} ${A}\nexport D=4\n', ".env")
    text = "server: {host: '${A}'}\ndata_dir: ${B}\nauth: {pepper: '${C}', admin_token: '${D}'}\n"

    found = loaded(tmp_path, text, {"A": "from-environment"})

    assert found.env_file == tmp_path / ".env"
    assert (found.settings.server.host, found.settings.data_dir) == ("from-environment", "with space")
    assert found.settings.auth.pepper is not None
    assert found.settings.auth.pepper.get_secret_value() == "$${A} ${A}"
    assert found.settings.auth.admin_token is not None
    assert found.settings.auth.admin_token.get_secret_value() == "4"


def test_without_an_env_file_there_is_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, "server: {}\n").env_file is None


def test_an_env_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, b"A=1\nB=\xff\n", ".env")

    assert problems(tmp_path, "server: {}\n") == [".env:2: is not UTF-8; save it in that encoding"]


# --- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "signalbox.yaml: is empty; begin with a section such as `server:` or `providers:`"),
        ("# nothing\n", "signalbox.yaml: is empty; begin with a section such as `server:` or `providers:`"),
        ("- a\n", "signalbox.yaml: must be a mapping of settings; begin with a section such as"),
        ("text\n", "signalbox.yaml: must be a mapping of settings; begin with a section such as"),
        (b"server:\n  host: \xff\n", "signalbox.yaml:2: is not UTF-8; save it in that encoding"),
        ("server: [1\nmodels: 2\n", "signalbox.yaml:2: is not valid YAML: "),
        ("a: &a [1]\nb: *c\n", "signalbox.yaml:2: an alias has no anchor before it"),
        ("#" * (MAX_BYTES + 1), "signalbox.yaml: the configuration is larger than 1 MiB"),
    ],
)
def test_a_file_that_holds_no_configuration_is_a_clear_error(tmp_path: Path, text: str | bytes, expected: str) -> None:
    [found] = problems(tmp_path, text)

    assert found.startswith(expected)


def test_a_missing_file_and_a_folder_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there; name one with `--config`"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="this is a folder"):
        load(tmp_path, {})


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfserver: {port: 1}\n")

    assert load(path, {}).settings.server.port == 1


def test_duplicate_keys_are_errors_at_the_second(tmp_path: Path) -> None:
    found = problems(tmp_path, "server:\n  port: 1\n  host: a\n  port: 2\nserver: {}\n")

    assert found == [
        "signalbox.yaml:4: server.port: stands here a second time, the first one is on line 2; remove one of them",
        "signalbox.yaml:5: server: stands here a second time, the first one is on line 1; remove one of them",
    ]


def test_anchors_aliases_and_merges_work(tmp_path: Path) -> None:
    text = """
providers:
  a: &a {base_url: http://a, timeouts: &t {connect: 1s, idle: 2s}}
  b: {<<: *a, base_url: http://b}
  c: {base_url: http://c, timeouts: {<<: [{idle: 9s}, *t], total: 3s}}
"""
    providers = loaded(tmp_path, text).settings.providers

    assert (providers["b"].base_url, providers["b"].timeouts.connect) == ("http://b", 1.0)
    timeouts = providers["c"].timeouts
    assert (timeouts.connect, timeouts.idle, timeouts.total) == (1.0, 9.0, 3.0)


def test_a_merge_of_something_else_is_an_error(tmp_path: Path) -> None:
    [found] = problems(tmp_path, "server:\n  <<: 3\n")

    assert found == "signalbox.yaml:2: server: `<<` merges mappings only, such as `<<: *defaults`"


def test_a_key_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    [found] = problems(tmp_path, "server:\n  [a, b]: 3\n")

    assert found == "signalbox.yaml:2: server: has a key that is a list or a mapping; keys are texts"


@pytest.mark.parametrize("merge", [False, True])
def test_an_anchor_bomb_does_not_hang(tmp_path: Path, merge: bool) -> None:
    lines = ["x0: &x0 {a: 1}" if merge else "x0: &x0 [1]"]
    for level in range(1, 40):
        inside = ", ".join([f"*x{level - 1}"] * 10)
        lines.append(f"x{level}: &x{level} {{<<: [{inside}]}}" if merge else f"x{level}: &x{level} [{inside}]")

    [found] = problems(tmp_path, "\n".join(lines))

    assert "unfolds to more than 100000 values" in found


# --- problems -------------------------------------------------------------------------------------------------------

PROVIDER = "providers:\n  p: {base_url: http://x, %s}\n"
MODEL = "providers: {p: {base_url: http://x}}\nmodels:\n  - {id: p/m, %s}\n"

WRONG = [
    # unknown settings
    ("sever: {}", "1: sever: unknown setting `sever`; did you mean `server`?"),
    ("server:\n  prot: 1", "2: server.prot: unknown setting `prot`; did you mean `port`?"),
    ("logs: {zzz: 1}", "1: logs.zzz: unknown setting `zzz`; known here: `access`, `requests`"),
    (PROVIDER % "dialekt: x", "2: providers.p.dialekt: unknown setting `dialekt`; did you mean `dialect`?"),
    (MODEL % "teir: low", "3: models[0].teir: unknown setting `teir`; did you mean `tier`?"),
    # types
    ("server: 3", "1: server: must be a mapping of settings"),
    ("server: {port: x}", "1: server.port: must be a whole number"),
    ("server: {port: true}", "1: server.port: must be a number"),
    ("server: {port: 1.5}", "1: server.port: must be a whole number"),
    ("server: {host: [a]}", "1: server.host: must be a text"),
    ("server: {drain: soon}", "1: server.drain: must be a duration such as `500ms`, `30s`, `10m` or `1d`"),
    ("server: {max_body: big}", "1: server.max_body: must be a size such as `20MiB`, `1GB` or `65536`"),
    ("logs: {access: maybe}", "1: logs.access: must be `true` or `false`"),
    ("models: {}", "1: models: must be a list"),
    ("providers: []", "1: providers: must be a mapping of names to values"),
    ("providers: {p: x}", "1: providers.p: must be a mapping of settings"),
    (PROVIDER % "headers: [a]", "2: providers.p.headers: must be a mapping of names to values"),
    (
        PROVIDER % "dialect: opnai",
        "2: providers.p.dialect: must be `openai`, `anthropic`, `gemini` or `mock`; did you mean",
    ),
    (MODEL % "tier: hihg", "3: models[0].tier: must be `low`, `medium` or `high`; did you mean `high`?"),
    (MODEL % "price: {input: a, output: 1}", "3: models[0].price.input: must be an amount in USD such as `0.15`"),
    (MODEL % "price: {input: 1}", "3: models[0].price.output: is missing"),
    (MODEL % "capabilities: tools", "3: models[0].capabilities: must be a list"),
    ("models:\n  - tier: low", "2: models[0].id: is missing"),
    # bounds
    ("server: {port: 65536}", "1: server.port: must be at most 65535"),
    ("server: {port: -1}", "1: server.port: must be at least 0"),
    ("server: {drain: -1s}", "1: server.drain: must be a duration such as `500ms`, `30s`, `10m` or `1d`, not negative"),
    ("server: {max_in_flight: 0}", "1: server.max_in_flight: must be at least 1"),
    ("server: {host: ''}", "1: server.host: must not be empty"),
    ("resilience: {retry: {attempts: 0}}", "1: resilience.retry.attempts: must be at least 1"),
    ("resilience: {retry: {same_target: -1}}", "1: resilience.retry.same_target: must be at least 0"),
    ("resilience: {breaker: {consecutive: 0}}", "1: resilience.breaker.consecutive: must be at least 1"),
    ("resilience: {breaker: {window_failures: 0}}", "1: resilience.breaker.window_failures: must be at least 1"),
    ("resilience: {breaker: {half_open: 0}}", "1: resilience.breaker.half_open: must be at least 1"),
    ("resilience: {breaker: {open: 2h}}", "1: resilience.breaker: `max_open` must be at least as long as `open`"),
    ("resilience: {deadline: {hard: 0s}}", "1: resilience.deadline.hard: must be longer than 0"),
    ("routing: {weights: {cost: -1}}", "1: routing.weights.cost: must be at least 0"),
    ("routing: {weights: {cost: .inf}}", "1: routing.weights.cost: must be a finite number"),
    ("routing: {weights: {price: 1}}", "1: routing.weights.price: unknown setting `price`"),
    (PROVIDER % "timeouts: {connect: 0s}", "2: providers.p.timeouts.connect: must be longer than 0"),
    (PROVIDER % "keys: [{value: x, weight: 0}]", "2: providers.p.keys[0].weight: must be at least 1"),
    (MODEL % "price: {input: -1, output: 1}", "3: models[0].price.input: must be at least 0"),
    (MODEL % "price: {input: .nan, output: 1}", "3: models[0].price.input: must be an amount in USD such as `0.15`"),
    (MODEL % "context_window: 0", "3: models[0].context_window: must be at least 1"),
    (MODEL % "quality: 1.1", "3: models[0].quality: must be at most 1"),
    (MODEL % "quality: -0.1", "3: models[0].quality: must be at least 0"),
    # providers
    ("providers: {p: {}}", "1: providers.p: needs a `base_url`, such as `https://api.openai.com/v1`"),
    ("providers: {p: {base_url: 'ftp://x'}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: x.example}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: 'http://'}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: 'http://x:99999'}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: 'http://x/a b'}}", "1: providers.p.base_url: must be an http or https URL"),
    ("providers: {p: {base_url: 'http://u:pw@x'}}", "1: providers.p.base_url: must not hold a user name or password"),
    ("providers: {p: {base_url: 'http://x?v=1'}}", "1: providers.p.base_url: must not have a query or a fragment"),
    (
        "providers: {p: {base_url: 'http://x/{deployment}'}}",
        "1: providers.p.base_url: may hold the placeholder `{model}`",
    ),
    ("providers: {p: {base_url: 'http://{model}/'}}", "1: providers.p.base_url: may hold the placeholder `{model}`"),
    ("providers: {a/b: {base_url: http://x}}", "1: providers.a/b: must begin with a letter or digit and hold only"),
    ("providers: {-a: {base_url: http://x}}", "1: providers.-a: must begin with a letter or digit and hold only"),
    (PROVIDER % "auth_header: 'a b'", "2: providers.p.auth_header: must be the name of a header"),
    (PROVIDER % "headers: {'a b': x}", "2: providers.p.headers: has a name that no header can have"),
    (PROVIDER % 'headers: {a: "x\\ny"}', "2: providers.p.headers: has a value under `a` that no header can carry"),
    (PROVIDER % "headers: {Content-Length: 1}", "2: providers.p.headers: must not set `content-length`"),
    (PROVIDER % "headers: {a: x, A: y}", "2: providers.p.headers: names one header twice"),
    (PROVIDER % "proxy: socks5://x", "2: providers.p.proxy: must be the URL of a proxy"),
    (PROVIDER % "seed: 1", "2: providers.p: `seed` is for `dialect: mock` only; remove it"),
    (PROVIDER % "keys: [x]", "2: providers.p.keys[0]: must be a mapping of settings"),
    (PROVIDER % "keys: [{id: 'a b', value: x}]", "2: providers.p.keys[0].id: must begin with a letter or digit"),
    (PROVIDER % "keys: [{id: a}]", "2: providers.p.keys[0].value: is missing"),
    (PROVIDER % "keys: [{value: [x]}]", "2: providers.p.keys[0].value: must be a text, such as `${OPENAI_API_KEY}`"),
    (PROVIDER % "keys: [{value: a b}]", "2: providers.p.keys[0].value: holds a space or a character that no header"),
    (PROVIDER % "keys: [{value: ключ}]", "2: providers.p.keys[0].value: holds a space or a character that no header"),
    (
        PROVIDER % "keys: [{value: x}, {value: y}]",
        "2: providers.p.keys[1].id: a second key with the id `main`; ids are unique within a provider",
    ),
    ("providers: {m: {dialect: mock, failure_rate: 2}}", "1: providers.m.failure_rate: must be at most 1"),
    (
        "providers: {m: {dialect: mock, faults: [eror]}}",
        "1: providers.m.faults[0]: must be `error`, `timeout`, `slow`, `cut`",
    ),
    ("providers: {m: {dialect: mock, faults: []}}", "1: providers.m.faults: must not be empty"),
    (
        "providers: {tier: {dialect: mock}}",
        "1: providers.tier: `tier` is reserved for routes; give the provider another",
    ),
    ("providers: {auto: {dialect: mock}}", "1: providers.auto: `auto` is reserved for routes"),
    # models
    ("models: [{id: gpt-4o}]", "1: models[0].id: must be `provider/model`, such as `openai/gpt-4o`"),
    ("models: [{id: 'p/a b'}]\nproviders: {p: {dialect: mock}}", "1: models[0].id: must be `provider/model`"),
    (
        "models:\n  - {id: opnai/x}\nproviders: {openai: {base_url: http://x}}",
        "2: models[0].id: unknown provider `opnai`",
    ),
    ("models: [{id: new/x}]", "1: models[0].id: unknown provider `new`; add it under `providers.new`"),
    (MODEL % "tier: low}\n  - {id: p/m", "4: models[1].id: `p/m` is listed a second time; keep one"),
    # routing
    (
        routing("  default: gpt-4o"),
        "9: routing.default: unknown model or route `gpt-4o`; did you mean `openai/gpt-4o`?",
    ),
    (routing("  default: tier/lo"), "9: routing.default: unknown tier `tier/lo`; did you mean `tier/low`?"),
    (routing("  default: mode/fats"), "9: routing.default: unknown mode `mode/fats`; did you mean `mode/fast`?"),
    (routing("  default: scenario/x"), "9: routing.default: unknown scenario `scenario/x`; there is none"),
    (routing("  default: agent/x"), "9: routing.default: `agent/x`: agents are not available in this version yet"),
    (routing("  mode: quick"), "9: routing.mode: must be `fast`, `balanced` or `accurate`"),
    (
        routing("  aliases: {a: openai/gpt-40}"),
        "9: routing.aliases.a: unknown model or route `openai/gpt-40`; did you mean",
    ),
    (routing("  aliases: {a: a}"), "9: routing.aliases.a: is a loop: `a` -> `a`"),
    (routing("  aliases: {mode: openai/gpt-4o}"), "9: routing.aliases.mode: `mode` is reserved for routes"),
    (routing("  aliases: {tier/x: openai/gpt-4o}"), "9: routing.aliases.tier/x: `tier` is reserved for routes"),
    (routing("  aliases: {'': openai/gpt-4o}"), "9: routing.aliases.: must have a name"),
    (
        routing("  aliases: {openai/x: openai/gpt-4o}"),
        "9: routing.aliases.openai/x: would hide models of the provider `openai`",
    ),
    (routing("  tiers: {low: []}"), "9: routing.tiers.low: is empty; name at least one model, or remove it"),
    (routing("  tiers:\n    low:"), "10: routing.tiers.low: is empty; name at least one model, or remove it"),
    (routing("  tiers: {lo: [openai/gpt-4o]}"), "9: routing.tiers.lo: unknown setting `lo`; did you mean `low`?"),
    (routing("  tiers:\n    low:\n      - openai/gpt-5"), "11: routing.tiers.low[0]: unknown model `openai/gpt-5`"),
    (routing("  tiers: {low: [tier/high]}"), "9: routing.tiers.low[0]: a tier lists models, not `tier/high`"),
    (routing("  scenarios:\n    s: []"), "10: routing.scenarios.s: is empty; name at least one model, or remove it"),
    (routing("  scenarios:\n    s:"), "10: routing.scenarios.s: is empty; name at least one model, or remove it"),
    (routing("  scenarios: {a/b: [openai/gpt-4o]}"), "9: routing.scenarios.a/b: must have a name without `/`"),
    (routing("  scenarios: {s: openai/gpt-4o}"), "9: routing.scenarios.s: must be a list"),
    (routing("  scenarios: {s: [3]}"), "9: routing.scenarios.s[0]: unknown model `3`"),
    (routing("  scenarios: {s: [null]}"), "9: routing.scenarios.s[0]: must be a mapping of settings"),
    (
        routing("  scenarios:\n    support:\n      - opnai/gpt-4o"),
        "11: routing.scenarios.support[0]: unknown model `opnai/gpt-4o`; did you mean `openai/gpt-4o`?",
    ),
    (
        routing("  scenarios:\n    s:\n      - {model: gpt-4o-mini}"),
        "11: routing.scenarios.s[0]: unknown model `gpt-4o-mini`; did you mean `openai/gpt-4o-mini`?",
    ),
    (
        routing("  aliases: {cheap: tier/low}\n  scenarios: {s: [cheap]}"),
        "10: routing.scenarios.s[0]: a scenario lists models, not the alias `cheap`, which stands for `tier/low`",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {stream: true}}]}"),
        "9: routing.scenarios.s[0].set: must not",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {model: x}}]}"),
        "9: routing.scenarios.s[0].set: must not set",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {messages: x}}]}"),
        "9: routing.scenarios.s[0].set: must not",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {router: x}}]}"),
        "9: routing.scenarios.s[0].set: must not",
    ),
    (
        routing("  scenarios: {s: [{model: openai/gpt-4o, set: {a: [.inf]}}]}"),
        "9: routing.scenarios.s[0].set: has a value",
    ),
    (routing("  scenarios: {s: [{model: openai/gpt-4o, prio: 1}]}"), "9: routing.scenarios.s[0].prio: unknown setting"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[expected.split(":")[1].strip() for _, expected in WRONG])
def test_a_mistake_is_found_where_it_is_and_says_what_to_do(tmp_path: Path, text: str, expected: str) -> None:
    [found] = problems(tmp_path, text)

    assert found.startswith(f"signalbox.yaml:{expected}")


def test_a_loop_of_aliases_is_reported_at_each_of_them_and_nowhere_else(tmp_path: Path) -> None:
    text = "  aliases:\n    a: b\n    b: c\n    c: a\n    d: a\n  scenarios: {s: [a, d]}"
    found = problems(tmp_path, routing(text))

    assert found == [
        "signalbox.yaml:10: routing.aliases.a: is a loop: `a` -> `b` -> `c` -> `a`",
        "signalbox.yaml:11: routing.aliases.b: is a loop: `b` -> `c` -> `a` -> `b`",
        "signalbox.yaml:12: routing.aliases.c: is a loop: `c` -> `a` -> `b` -> `c`",
    ]


def test_all_problems_of_a_file_are_reported_at_once_in_their_order(tmp_path: Path) -> None:
    text = """server:
  prot: 1
  workers: 2
  workers: 2
  drain: ${DRAIN}
providers:
  p: {base_url: http://x}
models:
  - {id: p/m, tier: hihg}
  - {id: q/m}
routing:
  scenarios:
    s: [p/n]
budgets: [{scope: total, usd: 3}]
"""
    found = problems(tmp_path, text)

    assert [line.split(": ")[0] + ": " + line.split(": ")[1] for line in found] == [
        "signalbox.yaml:2: server.prot",
        "signalbox.yaml:4: server.workers",
        "signalbox.yaml:5: server.drain",
        "signalbox.yaml:9: models[0].tier",
        "signalbox.yaml:10: models[1].id",
        "signalbox.yaml:13: routing.scenarios.s[0]",
        "signalbox.yaml:14: budgets",
    ]


def test_a_problem_has_its_parts(tmp_path: Path) -> None:
    path = write(tmp_path, "server: {prot: 1}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})

    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.where) == (str(path), 1, "server.prot")
    assert problem.message == "unknown setting `prot`; did you mean `port`?"


@pytest.mark.parametrize(
    "text",
    [
        "  default: open/anything\n  scenarios: {s: [open/a/b:c]}\n  aliases: {x: open/y}\n  tiers: {low: [open/z, x]}",
        "  default: auto",
        "  default: tier/high",
        "  default: mode/fast",
        "  default: scenario/s\n  scenarios: {s: [{model: a, priority: 3, set: {temperature: 0, stop: [a]}}]}\n"
        "  aliases: {a: b, b: openai/gpt-4o, c: tier/low, d: c, e: auto, vendor/f: scenario/s}",
        "  default: a\n  aliases: {a: openai/gpt-4o}",
        "  default: reject\n  tiers: {low: [openai/gpt-4o], high: [openai/gpt-4o-mini, openai/gpt-4o]}",
    ],
)
def test_names_that_fit_are_accepted(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, routing(text)).settings.models[0].id == "openai/gpt-4o"


def test_empty_sections_are_as_if_absent(tmp_path: Path) -> None:
    text = "server:\nproviders:\nmodels:\nrouting:\n  scenarios:\n  aliases:\n  tiers:\nresilience:\n  breaker:\n"

    assert loaded(tmp_path, text).settings.routing.scenarios == {}


# --- secrets --------------------------------------------------------------------------------------------------------

LEAKS = [
    f"auth: {{admin_token: [{SECRET}]}}",
    f"auth: {{pepper: {{{SECRET}: 1}}}}",
    f"auth: {{encryption_key: {SECRET}, mode: {SECRET}}}",
    f"providers: {{p: {{base_url: http://x, keys: [{SECRET}]}}}}",
    f"providers: {{p: {{base_url: http://x, keys: {SECRET}}}}}",
    f"providers: {{p: {{base_url: http://x, keys: [{{value: {SECRET} x}}]}}}}",
    f"providers: {{p: {{base_url: http://x, keys: [{{value: [{SECRET}]}}]}}}}",
    f"providers: {{p: {{base_url: http://x, keys: [{{value: x, {SECRET}-{'x' * 30}}}]}}}}",
    f'providers: {{p: {{base_url: http://x, headers: {{authorization: "{SECRET}\\n"}}}}}}',
    f"providers: {{p: {{base_url: http://x, headers: {SECRET}}}}}",
    f"providers: {{p: {{base_url: http://x, proxy: ftp://u:{SECRET}@x}}}}",
    f"providers: {{p: {{base_url: 'https://u:{SECRET}@x'}}}}",
    f"providers: {{p: {{base_url: {SECRET}}}}}",
    f"server: {{port: {SECRET}, drain: {SECRET}, max_body: {SECRET}}}",
    f"store: postgresql://u:{SECRET}@db/x\nstate: redis://:{SECRET}@r\n",
    f"store: {SECRET}",
    f"auth: {{pepper: *{SECRET}}}",
    f"auth: {{pepper: !{SECRET} x}}",
    f"auth: {{pepper: '{SECRET}",
    "server: {port: '${K}', host: ['${K}']}",
    "auth: {mode: '${K}'}\nlogs: {access: '${K}'}\nmodels: '${K}'",
    "providers: {p: {base_url: '${K}', auth_header: '${K} x', keys: [{value: '${K} x'}]}}",
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_secret_is_ever_part_of_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), {"K": SECRET})

    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_no_secret_is_part_of_a_repr(tmp_path: Path) -> None:
    text = f"""
auth: {{admin_token: {SECRET}, pepper: {SECRET}, encryption_key: {SECRET}}}
providers:
  p: {{base_url: http://x, proxy: "http://u:{SECRET}@x", headers: {{h: {SECRET}}}, keys: [{{value: {SECRET}}}]}}
"""
    found = loaded(tmp_path, text)

    assert SECRET not in repr(found)
    assert SECRET not in str(found.settings)
    assert SECRET not in found.settings.model_dump_json(exclude={"providers"})


# --- the default file -----------------------------------------------------------------------------------------------


def test_the_default_file_is_the_one_here_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    write(tmp_path / "config", "server: {}\n")
    monkeypatch.chdir(tmp_path)

    assert default_path() == Path("config/signalbox.yaml")


def test_the_default_file_is_else_the_one_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    path = default_path()

    assert path.is_absolute()
    assert load(path, {}).settings.mock_when_no_keys is True
