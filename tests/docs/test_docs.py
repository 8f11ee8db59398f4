"""The documentation names everything there is, its links lead somewhere, and what the README shows works."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest
import yaml

from proxy.admission.gate import Gate
from proxy.admission.memory import ProcessMemory, Reading
from proxy.admission.watermark import Watermark, memory_families
from proxy.cli import main
from proxy.config.settings.describe import setting_names
from proxy.core import errors
from proxy.core.budgets import BudgetRule
from proxy.core.call import RouterOptions
from proxy.core.clock import SystemClock
from proxy.core.failures import FailureKind
from proxy.mock.answer import FAULTS
from proxy.observe import live as families
from proxy.observe.budgets import budget_amounts, budget_counts
from proxy.observe.metrics import Metrics
from proxy.observe.process import process_families
from proxy.surfaces.options import _PLANNED
from proxy.surfaces.table import SURFACES
from proxy.workers.questions import worker_families
from tests.support.calls import live, snapshot
from tests.support.ledgers import MemoryStore, ledger
from tests.support.servers import ROOT, signalbox_process
from tests.support.waiting import PATIENCE

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SOURCES = sorted((ROOT / "proxy").rglob("*.py"))

_FENCE = re.compile(r"^(?P<mark><!-- test -->\n)?```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def named(page: str) -> set[str]:
    """Every word that stands in backticks on a page."""
    spans = _SPAN.findall(prose(DOCS / page))
    words = {word.strip(",;:()[]\"'") for span in spans for word in re.split(r"[\s{}=]+", span)}
    return {*spans, *words}


def missing(page: str, names: Iterator[str] | list[str] | set[str]) -> list[str]:
    """The names that a page does not have."""
    there = named(page)
    return sorted(name for name in set(names) if name not in there)


# Everything is named


def test_every_setting_is_documented() -> None:
    assert missing("configuration.md", setting_names()) == []


def test_no_setting_is_documented_that_is_not_there() -> None:
    sections = {name.partition(".")[0].partition("[")[0] for name in setting_names()}
    rows = re.findall(r"^\| `([a-z0-9_.*\[\]]+)` \|", prose(DOCS / "configuration.md"), re.M)
    looks_like_one = [name for name in rows if re.split(r"[.\[]", name)[0] in sections and re.search(r"[.\[]", name)]

    assert sorted(set(looks_like_one) - set(setting_names())) == []
    assert len(looks_like_one) > 50


def test_every_variable_of_the_environment_is_documented() -> None:
    text = (ROOT / "config" / "signalbox.yaml").read_text()
    variables = {"SIGNALBOX_CONFIG", *re.findall(r"\$\{(\w+)", text)}

    assert missing("configuration.md", variables) == []


def logged(path: Path) -> Iterator[str]:
    """The events that a module logs."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id in ("_LOG", "_ACCESS", "logger"):
            assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: an event is a fixed text"
            yield str(node.args[0].value)


def test_every_log_event_is_documented() -> None:
    events = {event for path in (ROOT / "proxy").rglob("*.py") for event in logged(path)}
    text = (ROOT / "docs" / "metrics.md").read_text()

    assert len(events) > 10
    assert [event for event in sorted(events) if f"`{event}`" not in text] == []


def watch(metrics: Metrics) -> None:
    """Add the families whose values are kept elsewhere."""
    metrics.watch(lambda: [families.breakers([], snapshot()), families.cooldowns([], snapshot())])
    metrics.watch(lambda: [families.retries_refused(0), families.providers(snapshot()), families.lag(0.0)])
    metrics.watch(lambda: [families.store(degraded=False), families.state(degraded=False)])
    metrics.watch(lambda: [families.key_look_ups(0), families.classifications({"asked": 0})])
    metrics.watch(lambda: [families.judgements({("judge", "done"): 0})])
    metrics.watch(lambda: budget_amounts([(BudgetRule("total", "", 1), 0, 0)]))
    metrics.watch(lambda: budget_counts({}, {}, {}))
    metrics.watch(process_families)
    gate = Gate(live(max_in_flight=1))
    watermark = Watermark(ProcessMemory(1), gate, SystemClock())
    watermark.last = Reading(0, 1)
    metrics.watch(lambda: memory_families(watermark, gate))
    metrics.watch(lambda: worker_families(2, 0))
    metrics.watch(ledger(Path("nowhere"), MemoryStore(), SystemClock()).families)


def test_every_metric_is_documented_with_its_labels() -> None:
    metrics = Metrics()
    watch(metrics)
    names = [family.name for family in metrics.families()]
    labels = [label for instrument in vars(metrics).values() for label in getattr(instrument, "label_names", ())]

    assert len(names) >= 10
    assert missing("metrics.md", [*names, *labels]) == []


def test_no_metric_is_documented_that_is_not_there() -> None:
    metrics = Metrics()
    watch(metrics)
    names = {family.name for family in metrics.families()}
    rows = re.findall(r"^\| `((?:signalbox|process|python)_\w+)` \|", prose(DOCS / "metrics.md"), re.M)

    assert set(rows) == names


def test_every_error_code_is_documented() -> None:
    assert missing("errors.md", set(_codes())) == []


def test_every_error_type_and_status_is_documented() -> None:
    classes = list(_error_classes())
    page = prose(DOCS / "errors.md")

    assert missing("errors.md", {cls.type for cls in classes}) == []
    assert sorted({cls.status for cls in classes if not re.search(rf"\b{cls.status}\b", page)}) == []


def _error_classes() -> Iterator[type[errors.ProxyError]]:
    for _, value in inspect.getmembers(errors, inspect.isclass):
        if issubclass(value, errors.ProxyError):
            yield value


def _codes() -> Iterator[str]:
    """The codes of the classes, and those that are given where an error is raised."""
    yield from (cls.code for cls in _error_classes() if cls.code)
    for path in SOURCES:
        text = path.read_text()
        yield from re.findall(r"""\bcode=["']([a-z_]+)["']""", text)
        for constant in re.findall(r"\bcode=(_[A-Z]+)\b", text):
            yield from re.findall(rf"""^{constant} = ["']([a-z_]+)["']""", text, re.M)


def commands_of(name: str) -> Iterator[click.Command]:
    """A command of `signalbox`, or the commands of a group."""
    command = main.commands[name]
    if not isinstance(command, click.Group):
        yield command
        return
    context = click.Context(command)
    for each in command.list_commands(context):
        found = command.get_command(context, each)
        assert found is not None
        yield found


def test_every_command_and_option_is_documented() -> None:
    names = [f"signalbox {name}" for name in main.commands]
    for command in [command for name in main.commands for command in commands_of(name)]:
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                names += [*parameter.opts, *parameter.secondary_opts]
            else:
                names.append(parameter.human_readable_name)

    assert missing("cli.md", names) == []


def test_every_option_of_a_command_is_under_that_command() -> None:
    sections = re.split(r"^## `signalbox ([\w-]+)`", prose(DOCS / "cli.md"), flags=re.M)
    texts = dict(zip(sections[1::2], sections[2::2], strict=True))

    assert set(texts) == set(main.commands)
    assert [
        f"{name} {command.name} {option}"
        for name in main.commands
        for command in commands_of(name)
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if f"`{option}`" not in texts[name]
    ] == []


def test_every_router_option_is_documented() -> None:
    assert missing("routing.md", list(RouterOptions.__dataclass_fields__)) == []
    assert missing("api.md", [f"router.{name}" for name in _PLANNED]) == []


def test_every_header_of_ours_is_documented() -> None:
    text = "".join(path.read_text() for path in SOURCES)
    headers = set(
        re.findall(r"""["'](x-router-[a-z-]*[a-z]|x-request-id|x-should-retry|retry-after[a-z-]*)["']""", text)
    )
    headers |= {"openai-processing-ms", "cache-control", "x-accel-buffering"}

    assert len(headers) > 10
    assert missing("api.md", headers) == []


def test_every_path_is_documented() -> None:
    routes = (ROOT / "proxy" / "http" / "routes.py").read_text()
    found = re.findall(r'(?:Route|identified|open_to_all)\("(/[^"]*)"', routes)
    paths = [path.replace(":path}", "}") for path in found]
    admin = "".join(path.read_text() for path in (ROOT / "proxy" / "admin").glob("*.py"))
    found = re.findall(r'(?:Route|reads|writes)\((?:"[A-Z]+", )?"(/[^"]*)"', admin)
    paths += [f"/admin{path}".replace(":path}", "}") for path in found]
    paths += [path for path in SURFACES if "{" not in path]
    paths += [f":{path.rpartition(':')[2]}" for path in SURFACES if "{" in path]  # after a model's name
    page = prose(DOCS / "api.md")

    assert len(paths) >= 10
    assert [path for path in paths if path != "/admin" and not re.search(rf"(^|[ `}}]){re.escape(path)}`", page)] == []


def test_every_failure_and_every_fault_of_the_mock_is_documented() -> None:
    assert missing("resilience.md", [kind.value for kind in FailureKind]) == []
    assert missing("mock.md", list(FAULTS)) == []


# Links


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from their text."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            dead.append(target)

    assert dead == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    rest = [ROOT / "README.md"]
    while rest:
        page = rest.pop()
        if page in seen or not page.is_file() or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s:]+)", page.read_text())
        rest += [(page.parent / link).resolve() for link in links]

    assert sorted(page.name for page in set(DOCS.glob("*.md")) - seen) == []


# What is shown works


def _snippets(page: Path) -> list[tuple[str, str]]:
    return [(match["language"], match["code"]) for match in _FENCE.finditer(page.read_text()) if match["mark"]]


README = _snippets(ROOT / "README.md")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The default configuration, in a folder where no `.env` with real keys can be."""
    default = yaml.safe_load((ROOT / "config" / "signalbox.yaml").read_text())
    with signalbox_process(default, tmp_path_factory.mktemp("readme")) as process:
        yield process.url


def test_the_readme_shows_curl_and_the_sdk() -> None:
    languages = [language for language, _ in README]

    assert languages.count("sh") >= 1
    assert languages.count("python") >= 1
    assert all("http://127.0.0.1:8080" in code for _, code in README)


@pytest.mark.parametrize(("language", "code"), README, ids=[f"{n}-{s[0]}" for n, s in enumerate(README, 1)])
def test_a_snippet_of_the_readme_works(url: str, language: str, code: str) -> None:
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    program = {"sh": ["sh", "-euc"], "python": [sys.executable, "-c"]}[language]
    here = code.replace("http://127.0.0.1:8080", url)

    done = subprocess.run([*program, here], cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '{"error"' not in done.stdout


def test_the_commands_of_the_readme_make_a_key_with_a_cap(tmp_path: Path) -> None:
    [commands] = [
        found["code"] for found in _FENCE.finditer((ROOT / "README.md").read_text()) if "keys" in found["code"]
    ]
    data = {"SIGNALBOX_DATA_DIR": str(tmp_path / "data")}
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "config" / "signalbox.yaml", tmp_path / "config")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shell = ["bash", "-euo", "pipefail", "-c", commands.replace("make run", ".venv/bin/signalbox budgets")]

    done = subprocess.run(shell, cwd=tmp_path, env={**os.environ, **data}, capture_output=True, text=True, check=False)
    [key] = re.findall(r"^sb-\w+$", done.stdout, re.M) or [done.stderr]
    environ = dict(line.split("=") for line in (tmp_path / "config" / ".env").read_text().splitlines())
    default = yaml.safe_load((tmp_path / "config" / "signalbox.yaml").read_text())
    with signalbox_process(default, tmp_path, {**environ, **data}) as process:
        ask = {"model": "mock/small", "messages": [{"role": "user", "content": "hi"}]}
        answers = [
            httpx.post(f"{process.url}/v1/chat/completions", json=ask, headers={"x-api-key": credential})
            for credential in (key, "any")
        ]

    assert re.search(r"^user +ada +5 +month", done.stdout, re.M)
    assert [answer.status_code for answer in answers] == [200, 401]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "60"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_on_a_page_can_be_read(page: Path) -> None:
    blocks = [match["code"] for match in _FENCE.finditer(page.read_text()) if match["language"] == "yaml"]

    for block in blocks:
        list(yaml.safe_load_all(block))
