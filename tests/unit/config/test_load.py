"""Loading a file to settings, and the errors of each step."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.config.source import MAX_BYTES, default_path
from proxy.config.yaml.expand import Unset
from tests.unit.config.files import loaded, problems, write

SECRET = "sk-canary-5f3a9c"


def test_everything_has_a_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "server:\n").settings

    assert (settings.server.host, settings.server.port, settings.server.max_body) == ("127.0.0.1", 8080, 32 * 1024**2)
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
def test_a_secret_that_looks_like_a_number_stays_text(tmp_path: Path, value: str) -> None:
    text = """
auth: {admin_token: "${T}"}
providers: {p: {base_url: http://x/v1, keys: [{value: "${K}"}], headers: {h: "${T}"}}}
"""
    settings = loaded(tmp_path, text, {"T": value, "K": value.replace(" ", "")}).settings

    key = settings.providers["p"].keys[0].value
    assert isinstance(key, SecretStr)
    assert key.get_secret_value() == value.replace(" ", "")
    assert settings.auth.admin_token is not None
    assert settings.auth.admin_token.get_secret_value() == value
    assert settings.providers["p"].headers["h"].get_secret_value() == value


def test_a_text_takes_variables_that_look_like_other_types(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "data_dir: ${D}\n", {"D": "2026"}).settings

    assert settings.data_dir == "2026"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("[1", "[1"), ("a: b", "a: b"), ("*x", "*x"), ("- x", "- x"), ("'quoted'", "quoted"), ("1e5", "1e5")],
)
def test_a_text_takes_variables_that_are_not_valid_yaml(tmp_path: Path, value: str, expected: str) -> None:
    assert loaded(tmp_path, "data_dir: ${D}\n", {"D": value}).settings.data_dir == expected


@pytest.mark.parametrize("value", ["", "null", "~"])
def test_an_optional_text_with_an_empty_variable_is_absent(tmp_path: Path, value: str) -> None:
    text = "providers: {p: {base_url: http://x/v1, api_version: '${V}'}}\n"

    assert loaded(tmp_path, text, {"V": value}).settings.providers["p"].api_version is None


def test_variables_inside_text_and_escaped_dollars(tmp_path: Path) -> None:
    text = "data_dir: ${A}/x/$${B}\nproviders: {p: {base_url: 'http://${H}:${P}/v1'}}\n"
    settings = loaded(tmp_path, text, {"A": "/data", "H": "host", "P": "81"}).settings

    assert settings.data_dir == "/data/x/${B}"
    assert settings.providers["p"].base_url == "http://host:81/v1"


def test_keys_are_not_expanded(tmp_path: Path) -> None:
    found = problems(tmp_path, "${A}: 1\n", {"A": "server"})

    assert found == ["signalbox.yaml:1: …: unknown setting `…`"]


def test_an_optional_secret_may_be_empty(tmp_path: Path) -> None:
    text = "auth: {admin_token: '${T:-}', pepper: '${P:-}'}\nproviders: {p: {base_url: http://x/v1, proxy: '${X:-}'}}\n"
    settings = loaded(tmp_path, text, {"P": ""}).settings

    assert settings.auth.admin_token is None
    assert settings.auth.pepper is None
    assert settings.providers["p"].proxy is None


@pytest.mark.parametrize("environ", [{}, {"K2": ""}, {"K2": "  "}])
def test_an_unset_key_is_disabled_with_one_warning(tmp_path: Path, environ: dict[str, str]) -> None:
    text = """
providers:
  p:
    base_url: http://x/v1
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
        tmp_path, f"providers:\n  p:\n    base_url: http://x/v1\n    keys:\n      - value: {value}\n"
    ).settings

    assert isinstance(settings.providers["p"].keys[0].value, Unset)


def test_an_unset_variable_elsewhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    found = problems(tmp_path, "server:\n  port: ${PORT}\n  host: x${HOST}${HOST}\n")

    assert found == [
        "signalbox.yaml:2: server.port: PORT is not set; set it, or add a default: `${PORT:-...}`",
        "signalbox.yaml:3: server.host: HOST is not set; set it, or add a default: `${HOST:-...}`",
    ]


def test_an_unset_variable_causes_one_problem_only(tmp_path: Path) -> None:
    found = problems(tmp_path, "providers:\n  p:\n    base_url: ${URL}\n")

    assert found == ["signalbox.yaml:3: providers.p.base_url: URL is not set; set it, or add a default: `${URL:-...}`"]


def test_a_malformed_variable_is_an_error(tmp_path: Path) -> None:
    [found] = problems(tmp_path, "data_dir: a${B\n")

    assert found.startswith("signalbox.yaml:1: data_dir: has an invalid `${`")


def test_the_env_file_beside_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    write(tmp_path, 'A=from-file\nB="with space"\nC=$${A} ${A} and much more to be long\nexport D=4\n', ".env")
    text = "server: {host: '${A}'}\ndata_dir: ${B}\nauth: {pepper: '${C}', admin_token: '${D}'}\n"

    found = loaded(tmp_path, text, {"A": "from-environment"})

    assert (found.settings.server.host, found.settings.data_dir) == ("from-environment", "with space")
    assert found.settings.auth.pepper is not None
    assert found.settings.auth.pepper.get_secret_value() == "$${A} ${A} and much more to be long"
    assert found.settings.auth.admin_token is not None
    assert found.settings.auth.admin_token.get_secret_value() == "4"


def test_an_env_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, b"A=1\nB=\xff\n", ".env")

    assert problems(tmp_path, "server: {}\n") == [".env:2: is not UTF-8; save it in UTF-8"]


# --- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "signalbox.yaml: is empty; start with a section such as `server:` or `providers:`"),
        ("# nothing\n", "signalbox.yaml: is empty; start with a section such as `server:` or `providers:`"),
        ("- a\n", "signalbox.yaml: must be a mapping of settings; start with a section such as"),
        ("text\n", "signalbox.yaml: must be a mapping of settings; start with a section such as"),
        (b"server:\n  host: \xff\n", "signalbox.yaml:2: is not UTF-8; save it in UTF-8"),
        ("server: [1\nmodels: 2\n", "signalbox.yaml:2: is not valid YAML: "),
        ("a: &a [1]\nb: *c\n", "signalbox.yaml:2: has an alias without an anchor before it"),
        ("#" * (MAX_BYTES + 1), "signalbox.yaml: the configuration is larger than 1 MiB"),
    ],
)
def test_a_file_without_a_configuration_is_an_error(tmp_path: Path, text: str | bytes, expected: str) -> None:
    [found] = problems(tmp_path, text)

    assert found.startswith(expected)


def test_a_missing_file_or_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; set its path with `--config`"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="not a directory"):
        load(tmp_path, {})


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfserver: {port: 1}\n")

    assert load(path, {}).settings.server.port == 1


def test_duplicate_keys_are_errors_at_the_second(tmp_path: Path) -> None:
    found = problems(tmp_path, "server:\n  port: 1\n  host: a\n  port: 2\nserver: {}\n")

    assert found == [
        "signalbox.yaml:4: server.port: is repeated, the first one is on line 2; remove one of them",
        "signalbox.yaml:5: server: is repeated, the first one is on line 1; remove one of them",
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


def test_a_merge_of_a_non_mapping_is_an_error(tmp_path: Path) -> None:
    [found] = problems(tmp_path, "server:\n  <<: 3\n")

    assert found == "signalbox.yaml:2: server: has a `<<` that does not merge a mapping; write `<<: *defaults`"


def test_a_key_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    [found] = problems(tmp_path, "server:\n  [a, b]: 3\n")

    assert found == "signalbox.yaml:2: server: has a key that is a list or a mapping; keys must be strings"


@pytest.mark.parametrize("merge", [False, True])
def test_aliases_of_aliases_do_not_exhaust_the_stack(tmp_path: Path, merge: bool) -> None:
    key = "<<" if merge else "y"
    lines = [f"x{level}: &x{level} {{{key}: *x{level - 1}}}" for level in range(1, 3000)]

    [found] = problems(tmp_path, "\n".join(["x0: &x0 {a: 1}", *lines]))

    assert "expands to more than 64 levels" in found


@pytest.mark.parametrize("merge", [False, True])
def test_an_anchor_bomb_does_not_hang(tmp_path: Path, merge: bool) -> None:
    lines = ["x0: &x0 {a: 1}" if merge else "x0: &x0 [1]"]
    for level in range(1, 40):
        inside = ", ".join([f"*x{level - 1}"] * 10)
        lines.append(f"x{level}: &x{level} {{<<: [{inside}]}}" if merge else f"x{level}: &x{level} [{inside}]")

    [found] = problems(tmp_path, "\n".join(lines))

    assert "expands to more than 100000 values" in found


# --- problems -------------------------------------------------------------------------------------------------------


def test_all_problems_of_a_file_are_reported_in_order(tmp_path: Path) -> None:
    text = """server:
  prot: 1
  workers: 2
  workers: 2
  drain: ${DRAIN}
providers:
  p: {base_url: http://x/v1}
models:
  - {id: p/m, tier: hihg}
  - {id: q/m}
routing:
  scenarios:
    s: [p/n]
budgets: [{scope: total, usd: -3}]
"""
    found = problems(tmp_path, text)

    assert [line.split(": ")[0] + ": " + line.split(": ")[1] for line in found] == [
        "signalbox.yaml:2: server.prot",
        "signalbox.yaml:4: server.workers",
        "signalbox.yaml:5: server.drain",
        "signalbox.yaml:9: models[0].tier",
        "signalbox.yaml:10: models[1].id",
        "signalbox.yaml:13: routing.scenarios.s[0]",
        "signalbox.yaml:14: budgets[0].usd",
    ]


def test_a_problem_has_its_parts(tmp_path: Path) -> None:
    path = write(tmp_path, "server: {prot: 1}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})

    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.where) == (str(path), 1, "server.prot")
    assert problem.message == "unknown setting `prot`; did you mean `port`?"


def test_empty_sections_equal_absent_ones(tmp_path: Path) -> None:
    text = "server:\nproviders:\nmodels:\nrouting:\n  scenarios:\n  aliases:\n  tiers:\nresilience:\n  breaker:\n"

    assert loaded(tmp_path, text).settings.routing.scenarios == {}


# --- secrets --------------------------------------------------------------------------------------------------------

LEAKS = [
    f"auth: {{admin_token: [{SECRET}]}}",
    f"auth: {{pepper: {{{SECRET}: 1}}}}",
    f"auth: {{encryption_key: {SECRET}, mode: {SECRET}}}",
    f"providers: {{p: {{base_url: http://x/v1, keys: [{SECRET} x]}}}}",
    f"providers: {{p: {{base_url: http://x/v1, keys: {SECRET} x}}}}",
    f"providers: {{p: {{base_url: http://x/v1, keys: [{{value: {SECRET} x}}]}}}}",
    f"providers: {{p: {{base_url: http://x/v1, keys: [{{value: [{SECRET}]}}]}}}}",
    f"providers: {{p: {{base_url: http://x/v1, keys: [{{value: x, {SECRET}-{'x' * 30}}}]}}}}",
    f'providers: {{p: {{base_url: http://x/v1, headers: {{authorization: "{SECRET}\\n"}}}}}}',
    f"providers: {{p: {{base_url: http://x/v1, headers: {SECRET}}}}}",
    f"providers: {{p: {{base_url: http://x/v1, proxy: ftp://u:{SECRET}@x}}}}",
    f"providers: {{p: {{base_url: 'https://u:{SECRET}@x'}}}}",
    f"providers: {{p: {{base_url: {SECRET}}}}}",
    f"server: {{port: {SECRET}, drain: {SECRET}, max_body: {SECRET}}}",
    f"store: postgresql:/u:{SECRET}@db/x\nstate: redis:/:{SECRET}@r\n",
    f"store: {SECRET}",
    f"auth: {{pepper: *{SECRET}}}",
    f"auth: {{pepper: !{SECRET} x}}",
    f"auth: {{pepper: '{SECRET}",
    "server: {port: '${K}', host: ['${K}']}",
    "auth: {mode: '${K}'}\nlogs: {access: '${K}'}\nmodels: '${K}'",
    "routing: {default: '${K}', aliases: {a: '${K}'}, tiers: {low: ['x/${K}']}}",
    "routing: {scenarios: {s: ['${K}', {model: '${K}'}]}}",
    "models: [{id: '${K}/x'}, {id: '${K}/x'}]",
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
auth: {{admin_token: {SECRET}, pepper: {2 * SECRET}, encryption_key: {2 * SECRET}}}
providers:
  p: {{base_url: http://x/v1, proxy: "http://u:{SECRET}@x", headers: {{h: {SECRET}}}, keys: [{{value: {SECRET}}}]}}
"""
    found = loaded(tmp_path, text)

    assert SECRET not in repr(found)
    assert SECRET not in str(found.settings)
    assert SECRET not in found.settings.model_dump_json(exclude={"providers"})


# --- the default file -----------------------------------------------------------------------------------------------


def test_the_default_file_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    write(tmp_path / "config", "server: {}\n")
    monkeypatch.chdir(tmp_path)

    assert default_path() == Path("config/signalbox.yaml")


def test_without_it_the_default_file_is_that_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    path = default_path()

    assert path.is_absolute()
    assert load(path, {}).settings.mock_when_no_keys is True
