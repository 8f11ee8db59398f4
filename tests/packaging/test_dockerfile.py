"""The Dockerfile and the compose file, read and not run: what they promise about users, hashes and writable places."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config.load import load

ROOT = Path(__file__).resolve().parents[2]
UID = "65532"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as pairs of a keyword and what follows it, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in lines if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    """What each FROM begins, without the ARG before the first."""
    found: list[list[tuple[str, str]]] = []
    for keyword, rest in instructions():
        if keyword == "FROM":
            found.append([])
        if found:
            found[-1].append((keyword, rest))
    return found


def last(keyword: str) -> str:
    """The value of an instruction in the stage that becomes the image."""
    return [rest for found, rest in stages()[-1] if found == keyword][-1]


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a path into the build; the last rule that matches it or a parent decides."""
    kept = True
    for rule in (ROOT / ".dockerignore").read_text().split():
        pattern = rule.removeprefix("!")
        if fnmatch(path, pattern) or path.startswith(pattern + "/"):
            kept = rule.startswith("!")
    return kept


def services() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert isinstance(found, dict)
    return found


def service() -> dict[str, Any]:
    """The one service without a profile."""
    [found] = [each for each in services().values() if "profiles" not in each]
    return found


def test_every_stage_uses_the_configurable_base_image() -> None:
    bases = [rest.split()[0] for keyword, rest in instructions() if keyword == "FROM"]

    assert instructions()[0] == ("ARG", "BASE=python:3.13-slim-bookworm")
    assert bases == ["${BASE}", "${BASE}"]


def test_only_locked_wheels_are_installed() -> None:
    [install] = [rest for keyword, rest in stages()[0] if keyword == "RUN" and " install " in rest and "-m pip" in rest]

    assert "--require-hashes" in install
    assert "--only-binary :all:" in install


def test_the_image_has_no_installer() -> None:
    commands = [rest for keyword, rest in stages()[-1] if keyword == "RUN"]

    assert "-m venv --without-pip /opt/signalbox" in " ".join(rest for _, rest in stages()[0])
    assert not any("install" in command.replace("ensurepip", "").split() for command in commands)


def test_the_image_runs_without_root_and_without_writing() -> None:
    environment = dict(part.split("=", 1) for part in last("ENV").split())

    assert last("USER") == f"{UID}:{UID}"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert last("WORKDIR") == last("VOLUME") == "/var/lib/signalbox"


def test_the_image_starts_stops_and_checks_the_proxy() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["signalbox"]
    assert json.loads(last("CMD")) == ["serve"]
    assert last("STOPSIGNAL") == "SIGTERM"
    assert json.loads(last("HEALTHCHECK").partition("CMD ")[2]) == ["signalbox", "healthcheck"]


def test_the_image_listens_on_every_interface() -> None:
    environment = dict(part.split("=", 1) for part in last("ENV").split())
    server = yaml.safe_load((ROOT / "config" / "signalbox.yaml").read_text()).get("server", {})

    assert environment["SIGNALBOX_HOST"] == "0.0.0.0"
    assert environment["SIGNALBOX_CONFIG"] == "/etc/signalbox/signalbox.yaml"
    assert server["host"] == "${SIGNALBOX_HOST:-127.0.0.1}"
    assert server["port"] == f"${{SIGNALBOX_PORT:-{last('EXPOSE')}}}"


@pytest.mark.parametrize("stage", [0, 1], ids=["builder", "image"])
def test_copied_files_exist_in_the_build_context(stage: int) -> None:
    copies = [rest.split() for keyword, rest in stages()[stage] if keyword == "COPY" and "--from=" not in rest]
    sources = [source for words in copies for source in words[:-1] if not source.startswith("--")]

    assert sources
    assert [source for source in sources if not (ROOT / source).exists() or not in_context(source)] == []


@pytest.mark.parametrize("path", [".env", "config/.env", ".git", ".venv", "tests", "config/examples", ".signalbox"])
def test_nothing_else_reaches_the_build_context(path: str) -> None:
    assert not in_context(path)


def test_compose_publishes_on_loopback_only() -> None:
    assert service()["ports"] == ["127.0.0.1:8080:8080"]
    published = {name: each["ports"] for name, each in services().items() if "ports" in each}
    assert published == {"signalbox": ["127.0.0.1:8080:8080"], "scale-nginx": ["127.0.0.1:8081:8080"]}


def test_compose_takes_every_privilege_away() -> None:
    ours = [each for each in services().values() if each.get("image") == "signalbox:local"]

    assert len(ours) == 5
    for found in ours:
        assert found["user"] == f"{UID}:{UID}"
        assert found["read_only"] is True
        assert found["cap_drop"] == ["ALL"]
        assert found["security_opt"] == ["no-new-privileges:true"]
        assert found["tmpfs"] == ["/tmp"]
    assert [name for name, each in services().items() if each["security_opt"] != ["no-new-privileges:true"]] == []


def test_compose_contains_no_password() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    environments = [each.get("environment", {}) for each in services().values()]

    assert {name for each in environments for name in each} == {
        "POSTGRES_USER",
        "POSTGRES_DB",
        "POSTGRES_PASSWORD_FILE",
    }
    assert re.findall(r"(?i)(?:password|token|secret)\s*[:=]\s*[\"']?\w+", text) == []


def test_compose_generates_passwords_once(tmp_path: Path) -> None:
    [script] = services()["scale-setup"]["command"]
    (tmp_path / "signalbox.yaml").write_text("server: {}\n")
    folder = tmp_path / "volume"
    folder.mkdir()
    script = script.replace("/var/lib/signalbox", str(folder)).replace("/etc/signalbox", str(tmp_path))

    contents = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], check=True)
        contents.append({path.name: path.read_text() for path in folder.iterdir()})

    first, second = contents
    assert first == second
    assert set(first) == {".env", "postgres-password", "redis.conf", "redis-password", "signalbox.yaml"}
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    env = dict(line.split("=", 1) for line in first[".env"].splitlines())
    settings = load(ROOT / "config" / "signalbox.yaml", env).settings
    assert settings.store == f"postgresql://signalbox:{first['postgres-password']}@scale-postgres:5432/signalbox"
    assert settings.state == f"redis://:{first['redis-password']}@scale-redis:6379/0"
    assert f"requirepass {first['redis-password']}\n" in first["redis.conf"]
    assert len(set(env.values())) == len(env) == 5


def test_replicas_start_after_the_migration_and_keep_their_journals_apart() -> None:
    found = services()
    replicas = [found["scale-1"], found["scale-2"]]

    for replica in replicas:
        assert replica["depends_on"]["scale-migrate"] == {"condition": "service_completed_successfully"}
        assert replica["command"] == ["serve"]
    data = [volume for replica in replicas for volume in replica["volumes"] if volume.endswith(":/var/lib/signalbox")]
    assert data == ["scale-1:/var/lib/signalbox", "scale-2:/var/lib/signalbox"]
    assert found["scale-migrate"]["command"] == ["migrate"]
    assert set(found["scale-nginx"]["depends_on"]) == {"scale-1", "scale-2"}


def test_every_volume_is_declared() -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    named = {
        volume.partition(":")[0]
        for each in document["services"].values()
        for volume in each.get("volumes", [])
        if not volume.startswith(".")
    }

    assert named == set(document["volumes"])


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (tests/setup.sh)")
def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    text = (ROOT / "config" / "examples" / "nginx.conf").read_text()
    assert set(re.findall(r"server (\S+):8080", text)) == {"scale-1", "scale-2"}
    file = tmp_path / "nginx.conf"
    file.write_text(re.sub(r"scale-\d", "127.0.0.1", text).replace("/tmp/", f"{tmp_path}/"))

    done = subprocess.run(["nginx", "-t", "-c", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_compose_needs_no_file_of_keys() -> None:
    assert service()["env_file"] == [{"path": path, "required": False} for path in ("config/.env", ".env")]
