"""Codex CLI, Claude Code and Gemini CLI, unmodified, over targets of three dialects: whole turns with a tool call.

`tests/setup.sh` installs them from npm; without them the tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import ROOT, serving, signalbox, without_breakers
from tests.support.tool_upstream import PRINTED, TEXT, ToolUpstream
from tests.support.waiting import PATIENCE

BIN = ROOT / ".cache" / "agents" / "node_modules" / ".bin"
TASK = "Run a command that prints the answer, and tell me the answer."
PROVIDERS = ("chat", "claude", "gemini")


@dataclass(frozen=True)
class Ended:
    """How an agent has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Agent:
    """The environment of one run: Signalbox's URL, and a folder of its own."""

    url: str
    folder: Path

    def run(self, name: str, *arguments: str, **environ: str) -> Ended:
        """Run a program to its end."""
        work = self.folder / "work"
        work.mkdir()
        plain = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "CI": "1",
            "NO_COLOR": "1",
            "TMPDIR": str(self.folder),
        }
        ended = subprocess.run(
            [str(BIN / name), *arguments],
            cwd=work,
            env={**plain, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 4,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)


def codex(agent: Agent, model: str, *more: str) -> Ended:
    """A turn of Codex CLI: the Responses API. `more` are lines of its provider."""
    provider = {"name": "box", "base_url": f"{agent.url}/v1", "env_key": "BOX_KEY", "wire_api": "responses"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in provider.items()]
    lines += ["stream_max_retries = 1", "request_max_retries = 1", *more]
    settings = "\n".join(['model_provider = "box"', "[model_providers.box]", *lines])
    home = agent.folder / ".codex"
    home.mkdir()
    (home / "config.toml").write_text(settings)
    options = ("exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "-m", model)
    return agent.run("codex", *options, TASK, CODEX_HOME=str(home), BOX_KEY="sk-box")


def codex_websocket(agent: Agent, model: str) -> Ended:
    """The same over WebSocket."""
    return codex(agent, model, "supports_websockets = true")


def claude(agent: Agent, model: str) -> Ended:
    """A turn of Claude Code: the Messages API."""
    return agent.run(
        "claude",
        *("-p", TASK, "--allowedTools", "Bash"),
        ANTHROPIC_BASE_URL=agent.url,
        ANTHROPIC_AUTH_TOKEN="sk-box",
        ANTHROPIC_MODEL=model,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        CLAUDE_CODE_MAX_RETRIES="1",
    )


def gemini(agent: Agent, model: str) -> Ended:
    """A turn of Gemini CLI: Google's API."""
    home = agent.folder / ".gemini"
    home.mkdir()
    (home / "settings.json").write_text('{"security": {"auth": {"selectedType": "gemini-api-key"}}}')
    options = ("-m", model, "--skip-trust", "--approval-mode", "yolo", "-p", TASK)
    return agent.run("gemini", *options, GOOGLE_GEMINI_BASE_URL=agent.url, GEMINI_API_KEY="sk-box")


TURNS: dict[str, Callable[[Agent, str], Ended]] = {
    "codex": codex,
    "codex-websocket": codex_websocket,
    "claude": claude,
    "gemini": gemini,
}
pytestmark = pytest.mark.xdist_group("coding agents")


@pytest.fixture(params=TURNS)
def turn(request: pytest.FixtureRequest) -> Callable[[Agent, str], Ended]:
    """A turn of one agent."""
    if not (BIN / request.param.partition("-")[0]).exists():
        pytest.skip(f"{request.param} is not installed: it comes from npm")
    return TURNS[request.param]


@pytest.fixture
def upstream() -> ToolUpstream:
    return ToolUpstream()


@pytest.fixture
def agent(upstream: ToolUpstream, tmp_path: Path) -> Iterator[Agent]:
    folder = tmp_path / "agent"
    folder.mkdir()
    with serving(upstream.app) as url:
        keys = [{"id": "main", "value": "sk-upstream"}]
        settings = {
            "auth": {"encryption_key": "k" * 43 + "="},
            "providers": {
                "chat": {"base_url": f"{url}/v1"},
                "claude": {"dialect": "anthropic", "base_url": url, "keys": keys},
                "gemini": {"dialect": "gemini", "base_url": url, "keys": keys},
            },
            "models": [
                {"id": f"{provider}/{model}"} for provider in PROVIDERS for model in ("good", "dying", "cut", "limited")
            ],
            "routing": {"scenarios": {provider: [f"{provider}/dying", f"{provider}/good"] for provider in PROVIDERS}},
            "resilience": without_breakers(same_target=0),
        }
        with signalbox(settings, tmp_path) as box:
            yield Agent(box.url, folder)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_agent_runs_a_tool_and_answers(
    turn: Callable[[Agent, str], Ended], agent: Agent, upstream: ToolUpstream, provider: str
) -> None:
    ended = turn(agent, f"{provider}/good")

    assert ended.code == 0, ended
    assert TEXT in ended.out
    assert upstream.saw_the_result


def test_an_agent_does_not_see_a_target_that_dies(
    turn: Callable[[Agent, str], Ended], agent: Agent, upstream: ToolUpstream
) -> None:
    ended = turn(agent, "scenario/claude")

    assert ended.code == 0, ended
    assert TEXT in ended.out
    assert upstream.models == ["dying", "good", "dying", "good"]
    assert upstream.saw_the_result


def test_an_agent_reports_an_answer_that_breaks_off(turn: Callable[[Agent, str], Ended], agent: Agent) -> None:
    ended = turn(agent, "chat/cut")

    assert ended.code != 0
    assert PRINTED not in ended.out


@pytest.mark.parametrize("name", ["codex", "codex-websocket", "claude"])  # Gemini CLI retries for minutes
def test_an_agent_reports_a_rate_limit(name: str, agent: Agent, upstream: ToolUpstream) -> None:
    if not (BIN / name.partition("-")[0]).exists():
        pytest.skip(f"{name} is not installed: it comes from npm")

    ended = TURNS[name](agent, "chat/limited")

    assert ended.code != 0
    assert len(upstream.models) >= 2
    assert "429" in ended.out + ended.err or "limit" in (ended.out + ended.err).lower()
