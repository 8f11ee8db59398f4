"""The command `signalbox`: exit codes are the contract, messages are for people."""

from __future__ import annotations

import gc
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import httpx
import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from proxy import __version__
from proxy.cli import main
from tests.support.servers import ROOT, signalbox, signalbox_process
from tests.support.upstreams import refusing
from tests.support.waiting import PATIENCE, until

EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
DEFAULT = ROOT / "config" / "signalbox.yaml"
COMMANDS = [
    "serve",
    "check",
    "schema",
    "migrate",
    "route",
    "explain",
    "diff",
    "replay",
    "mock",
    "models",
    "healthcheck",
    "keys",
    "users",
    "teams",
    "agents",
    "conversations",
    "usage",
    "budgets",
    "provider-keys",
]
GOOD: dict[str, Any] = {
    "providers": {
        "mock": {"dialect": "mock"},
        "up": {"base_url": "http://127.0.0.1:9/v1", "keys": [{"value": "${K}"}]},
    },
    "models": [{"id": "mock/small", "tier": "low"}, {"id": "mock/large", "tier": "high"}, {"id": "up/x"}],
    "routing": {"aliases": {"nice": "mock/large"}, "scenarios": {"support": ["mock/small", "mock/large"]}},
}
HELLO = [{"role": "user", "content": "Hello"}]
TRIALS = 3  # of a port that may be taken
WRONG = "server:\n  port: 8080\n  prot: 127.0.0.1\n"


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    """The command in this process, with an environment that has nothing of ours."""
    clean = {name: None for name in os.environ if name.startswith("SIGNALBOX_") or name.endswith("_API_KEY")}
    return CliRunner(env={**clean, **(env or {})}).invoke(main, [str(argument) for argument in arguments])


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process, ended in the end."""
    popen = subprocess.Popen(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield popen
    finally:
        popen.kill()
        popen.communicate()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "signalbox.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    return path


# All commands


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_every_command_explains_itself(command: list[str], flag: str) -> None:
    result = run(*command, flag)

    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_the_commands_are_those_of_this_version() -> None:
    assert isinstance(main, click.Group)
    assert sorted(main.commands) == sorted(COMMANDS)


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = [name for name, command in main.commands.items() if not command.help]
    silent += [
        f"{name} {option.opts[0]}"
        for name, command in main.commands.items()
        for option in command.params
        if isinstance(option, click.Option) and not (option.help or option.show_default)
    ]

    assert silent == []


def test_the_version_is_told() -> None:
    result = run("--version")

    assert (result.exit_code, result.output) == (0, f"signalbox, version {__version__}\n")


@pytest.mark.parametrize("arguments", [["explode"], ["serve", "--prot", "1"], ["route"], ["mock", "--port", "x"]])
def test_a_wrong_command_line_is_exit_2(arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Error: " in result.output


@pytest.mark.parametrize("command", ["check", "serve", "route"])
def test_a_wrong_configuration_is_exit_2_with_file_and_line(command: str, wrong: Path) -> None:
    more = ["hello"] if command == "route" else []

    result = run(command, *more, "--config", wrong)

    assert result.exit_code == 2
    assert f"{wrong}:3: server.prot: unknown setting `prot`; did you mean `port`?" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["check", "serve", "route"])
def test_a_configuration_that_is_not_there_is_exit_2(command: str, tmp_path: Path) -> None:
    more = ["hello"] if command == "route" else []

    result = run(command, *more, "--config", tmp_path / "none.yaml")

    assert result.exit_code == 2
    assert f"{tmp_path / 'none.yaml'}: the configuration does not exist" in result.output


# check


@pytest.mark.parametrize("url", ["redis://:s3cret-word@x:99999/a", "redis://:s3cret-word@x/0?unknown_option=1"])
@pytest.mark.parametrize("command", ["check", "serve"])
def test_an_invalid_url_of_redis_is_exit_2(command: str, url: str, tmp_path: Path) -> None:
    file = tmp_path / "signalbox.yaml"
    file.write_text(yaml.safe_dump({**GOOD, "state": url}))

    result = run(command, "--config", file)

    assert result.exit_code == 2
    assert "state: is not a valid URL; use `redis://" in result.output
    assert "s3cret-word" not in result.output


def test_a_good_configuration_is_exit_0(good: Path) -> None:
    result = run("check", good, env={"K": "the-secret-key"})

    assert result.exit_code == 0
    assert re.fullmatch(rf"{good}: ok, 2 providers, 3 models, 1 scenarios, version [0-9a-f]{{12}}\n", result.stdout)
    assert result.stderr == ""


def test_an_unset_key_is_a_warning(good: Path) -> None:
    result = run("check", good)

    assert result.exit_code == 0
    assert "1 providers" in result.stdout
    assert re.search(rf"^warning: {good}:\d+: providers\.up\.keys\[0\]: K is not set", result.stderr)


@pytest.mark.parametrize("how", ["argument", "--config", "-c", "environment"])
def test_the_file_can_be_named_in_several_ways(good: Path, how: str) -> None:
    arguments: list[str | Path] = {"argument": [good], "environment": []}.get(how, [how, good])

    result = run("check", *arguments, env={"SIGNALBOX_CONFIG": str(good)} if how == "environment" else None)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"{good}: ok")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG + "models:\n  - id: nobody/model\nrouting:\n  aliases:\n    a: b\n    b: a\n")

    result = run("check", path)

    assert result.exit_code == 2
    assert all(f"{path}:{line}: " in result.output for line in (3, 5, 8, 9))


def test_no_secret_is_told_of_a_wrong_configuration(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    settings = {"auth": {"admin_tokn": "canary-1"}, "providers": {"a": {"keys": [{"value": ["canary-2"]}]}}}
    path.write_text(yaml.safe_dump(settings))

    result = run("check", path)

    assert result.exit_code == 2
    assert "canary" not in result.output


@pytest.mark.parametrize("path", [DEFAULT, *EXAMPLES], ids=lambda path: path.name)
def test_every_configuration_of_ours_is_good_without_any_key(path: Path) -> None:
    result = run("check", path)

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("path", [DEFAULT, *EXAMPLES], ids=lambda path: path.name)
def test_every_configuration_of_ours_is_good_with_every_key(path: Path) -> None:
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", path.read_text()), "some-value")

    result = run("check", path, env=variables)

    assert result.exit_code == 0, result.output
    assert "is not set" not in result.stderr


# schema


def test_the_schema_is_one_and_our_files_fit_it() -> None:
    result = run("schema")

    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for path in (DEFAULT, *EXAMPLES) for error in validator.iter_errors(_yaml(path))] == []
    assert list(validator.iter_errors({"serverr": {}}))


class _Yaml(yaml.SafeLoader):
    """YAML as editors read it: a date is a text."""


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(path: Path) -> Any:
    return yaml.load(path.read_text(), _Yaml)


# route


def test_a_prompt_is_routed_without_a_call(good: Path) -> None:
    result = run("route", "Hello", "--json", "--config", good)

    assert result.exit_code == 0
    decision = json.loads(result.stdout)
    assert decision["route"] == "auto"
    assert decision["chosen"] in ("mock/small", "mock/large")
    assert decision["profile"]["task"] == "chat"


@pytest.mark.parametrize(
    ("model", "chosen"), [("nice", "mock/large"), ("tier/low", "mock/small"), ("scenario/support", "mock/small")]
)
def test_any_name_can_be_routed(good: Path, model: str, chosen: str) -> None:
    result = run("route", "Hello", "--json", "--model", model, "-c", good)

    assert json.loads(result.stdout)["chosen"] == chosen


def test_options_of_the_router_can_be_given(good: Path) -> None:
    options = ("-o", "exclude=mock/small", "-o", "mode=fast", "-o", "max_latency_ms=9")
    result = run("route", "Hello", "--json", *options, "-c", good)

    decision = json.loads(result.stdout)
    assert decision["chosen"] == "mock/large"
    assert decision["constraints"]["mode"] == "fast"
    assert decision["constraints"]["max_latency_ms"] == 9


def test_a_decision_is_printed_as_a_table(good: Path) -> None:
    result = run("route", "Prove that hello is a word", "-o", "exclude=mock/small", "-c", good)

    assert result.exit_code == 0
    labels = [line.split()[0] for line in result.stdout.splitlines() if line]
    assert labels[:7] == ["route", "why", "prompt", "features", "harder", "easier", "needs"]
    assert re.search(r"^harder +prove \+0\.060$", result.stdout, re.M)
    assert re.search(r"^1 +mock/large +", result.stdout, re.M)
    assert re.search(r"^mock/small +excluded by router.exclude$", result.stdout, re.M)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HELLO},
        {"input": "Hello"},
        {"messages": HELLO, "system": "Be brief.", "max_tokens": 9},
        {"contents": [{"parts": [{"text": "Hello"}]}]},
    ],
)
def test_a_body_of_any_format_can_be_routed(good: Path, tmp_path: Path, body: dict[str, Any]) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps(body))

    result = run("route", "--body", file, "--json", "-m", "mode/fast", "-c", good)

    decision = json.loads(result.stdout)
    assert decision["route"] == "mode/fast"
    assert decision["profile"]["task"] == "chat"


def test_a_route_needs_either_a_prompt_or_a_body(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_text("{}")

    assert run("route", "-c", good).exit_code == run("route", "Hello", "--body", file, "-c", good).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "nothing"], "does not exist"),
        (["-o", "mode"], "NAME=VALUE"),
        (["-o", "mode=slow"], "`router.mode`"),
        (["-o", "colour=red"], "`router.colour`"),
        (["-m", "up/x"], "K is not set"),
    ],
)
def test_what_cannot_be_routed_is_exit_2(good: Path, arguments: list[str], message: str) -> None:
    result = run("route", "Hello", *arguments, "-c", good)

    assert result.exit_code == 2
    assert message in result.output.replace("no key is set (K)", "K is not set")


# diff


def test_the_difference_of_two_configurations_is_in_words(good: Path, tmp_path: Path) -> None:
    models = [
        {"id": "mock/small", "tier": "high", "price": {"input": 0.5, "output": 1}},
        {"id": "mock/large", "tier": "low", "latency": "2s"},
        {"id": "up/x"},
    ]
    other = tmp_path / "new.yaml"
    other.write_text(yaml.safe_dump({**GOOD, "models": models, "routing": {"aliases": {"nice": "mock/small"}}}))

    result = run("diff", good, other)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "`tier/low` begins with mock/large instead of mock/small.",
        "`tier/high` begins with mock/small instead of mock/large.",
        "`nice` begins with mock/small instead of mock/large.",
        "Model mock/small: moves from tier low to tier high.",
        "Model mock/small: `price` is set to input=0.5 output=1.",
        "Model mock/large: moves from tier high to tier low.",
        "Model mock/large: `latency` is set to 2 s.",
        "Alias nice stands for mock/small instead of mock/large.",
        "Scenario support is removed; it was mock/small, mock/large.",
    ]
    assert [change["text"] for change in json.loads(run("diff", good, other, "--json").stdout)["data"]] == (
        result.stdout.splitlines()
    )


def test_equal_configurations_have_no_difference(good: Path) -> None:
    assert "same effect" in run("diff", good, good).stdout


# healthcheck


def test_a_service_that_is_well_is_exit_0(good: Path, tmp_path: Path) -> None:
    with signalbox(GOOD, tmp_path) as running:
        result = run("healthcheck", "--url", running.url)

    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "ok"


def test_the_service_of_the_configuration_is_asked(tmp_path: Path) -> None:
    with signalbox(GOOD, tmp_path) as running:
        port = int(running.url.rpartition(":")[2])
        path = tmp_path / "other.yaml"
        path.write_text(yaml.safe_dump({**GOOD, "server": {"port": port, "host": "0.0.0.0"}}))
        result = run("healthcheck", "--config", path)

    assert result.exit_code == 0


def alone(folder: Path) -> dict[str, str]:
    """An environment in which no other service of this machine is found."""
    return {"TMPDIR": str(folder)}


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same for the command in this process."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return alone(tmp_path)


BROKEN = {
    "unknown setting": "server:\n  prot: 1\n",
    "no YAML": "server: [\n",
    "empty": "",
    "another port": "server: {port: 9}\nproviders: {m: {dialect: mock}}\n",
}


@pytest.mark.parametrize("edit", BROKEN)
def test_healthcheck_asks_the_process_after_a_bad_edit(tmp_path: Path, hidden: dict[str, str], edit: str) -> None:
    with signalbox_process(GOOD, tmp_path, hidden):
        (tmp_path / "signalbox.yaml").write_text(BROKEN[edit])
        result = run("healthcheck", "--config", tmp_path / "signalbox.yaml")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "ok"


@pytest.mark.parametrize("how", ["option", "variable", "relative path", "deleted"])
def test_healthcheck_finds_a_port_from_the_command_line(
    tmp_path: Path, hidden: dict[str, str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signalbox.yaml"
    monkeypatch.chdir(tmp_path)
    with signalbox_process({**GOOD, "server": {"port": 9}}, tmp_path, hidden):
        if how == "deleted":
            path.unlink()
        if how == "variable":
            result = run("healthcheck", env={"SIGNALBOX_CONFIG": str(path)})
        else:
            result = run("healthcheck", "--config", "signalbox.yaml" if how == "relative path" else path)

    assert result.exit_code == 0


def test_healthcheck_without_a_name_asks_the_only_service(tmp_path: Path, hidden: dict[str, str]) -> None:
    with signalbox_process(GOOD, tmp_path, hidden):
        assert run("healthcheck").exit_code == 0


def test_healthcheck_never_asks_the_service_of_another_file(tmp_path: Path, hidden: dict[str, str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**GOOD, "server": {"port": 9}}))

    with signalbox_process(GOOD, tmp_path, hidden):
        named = run("healthcheck", "--config", other)
        variable = run("healthcheck", env={"SIGNALBOX_CONFIG": str(other)})

    assert (named.exit_code, variable.exit_code) == (1, 1)


def test_a_service_that_was_killed_is_exit_1(tmp_path: Path, hidden: dict[str, str]) -> None:
    with signalbox_process({**GOOD, "server": {"port": 9}}, tmp_path, hidden):
        pass  # it is killed, and leaves its runtime file

    result = run("healthcheck", "--config", tmp_path / "signalbox.yaml")

    assert result.exit_code == 1
    assert "http://127.0.0.1:9" in result.output


def test_an_orderly_end_removes_the_runtime_file(tmp_path: Path, hidden: dict[str, str]) -> None:
    with signalbox_process(GOOD, tmp_path, hidden) as running:
        before = list(tmp_path.glob("signalbox-*/*"))
        running.popen.terminate()
        running.popen.wait(PATIENCE)
        after = list(tmp_path.glob("signalbox-*/*"))

    assert (len(before), len(after)) == (1, 0)


def test_the_health_check_works_without_a_usable_configuration(wrong: Path, hidden: dict[str, str]) -> None:
    with refusing() as url:
        port = url.removesuffix("/v1").rpartition(":")[2]
        result = run("healthcheck", "--config", wrong, env={"SIGNALBOX_PORT": port})

    assert result.exit_code == 1
    assert f"http://127.0.0.1:{port}: " in result.output
    assert f"{wrong}:3: server.prot: unknown setting" in result.output


def test_the_variable_for_the_url_is_used(tmp_path: Path, hidden: dict[str, str]) -> None:
    with signalbox(GOOD, tmp_path) as running:
        result = run("healthcheck", env={"SIGNALBOX_URL": running.url})

    assert result.exit_code == 0


def test_a_service_that_is_not_there_is_exit_1() -> None:
    with refusing() as url:
        result = run("healthcheck", "--url", url.removesuffix("/v1"))

    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_the_health_check_of_a_draining_service_exits_1(tmp_path: Path) -> None:
    with signalbox(GOOD, tmp_path) as running:
        running.service.gate.close()
        result = run("healthcheck", "--url", running.url)

    code, output = result.exit_code, result.output
    del result
    gc.collect()  # an open socket would be a warning, and with that an error, here
    assert code == 1
    assert "503" in output


@pytest.mark.parametrize("url", ["http://", "http://["])
def test_what_is_no_service_is_exit_1(url: str) -> None:
    assert run("healthcheck", "--url", url).exit_code == 1


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "file:///etc/passwd"])
def test_what_is_no_web_address_is_exit_2(url: str) -> None:
    result = run("healthcheck", "--url", url)

    assert result.exit_code == 2
    assert "root:" not in result.output


# mock and serve, as processes


def test_the_mock_serves() -> None:
    found = next(filter(None, (answer_of_a_mock("--tokens", "5") for _ in range(TRIALS))), None)

    assert found is not None
    assert found["usage"]["completion_tokens"] == 5


def answer_of_a_mock(*options: str) -> dict[str, Any] | None:
    """What a mock on a free port answers; None if it ended, since another process has taken the port."""
    port = free_port()
    url, body = f"http://127.0.0.1:{port}/v1/chat/completions", {"model": "small", "messages": HELLO}

    def ask() -> bool:
        with suppress(httpx.TransportError):
            answers.append(http.post(url, json=body).json())
        return bool(answers) or popen.poll() is not None

    answers: list[dict[str, Any]] = []
    with (
        process("mock", "--port", str(port), *options) as popen,
        httpx.Client(trust_env=False, timeout=PATIENCE) as http,
    ):
        until(ask)
    return answers[0] if answers else None


@pytest.mark.parametrize(
    "arguments", [["--latency", "soon"], ["--failure-rate", "2"], ["--fault", "flood"], ["--tokens", "0"]]
)
def test_the_mock_takes_no_nonsense(arguments: list[str]) -> None:
    result = run("mock", *arguments)

    assert result.exit_code == 2
    assert arguments[0] in result.output


def test_the_default_configuration_serves_without_any_key(tmp_path: Path) -> None:
    body = {"model": "mock/small", "messages": HELLO}

    with (
        signalbox_process(None, tmp_path) as served,
        httpx.Client(base_url=served.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        answer = http.post("/v1/chat/completions", json=body)

    assert answer.json()["choices"][0]["message"]["content"].startswith("[MOCK]")
    assert [json.loads(line)["level"] for line in served.log.read_text().splitlines()].count("error") == 0


def test_a_port_that_is_taken_is_told_and_not_exit_0(good: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with process("serve", "--config", str(good), "--port", str(port)) as popen:
            output, errors = popen.communicate(timeout=PATIENCE)

    assert popen.returncode == 1
    assert "in use" in output + errors
    assert "Traceback" not in output + errors


def test_a_wrong_configuration_does_not_serve(wrong: Path) -> None:
    with process("serve", "--config", str(wrong)) as popen:
        output, errors = popen.communicate(timeout=PATIENCE)

    assert popen.returncode == 2
    assert output == ""
    assert f"{wrong}:3: " in errors
