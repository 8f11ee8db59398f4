"""Users' own provider keys over HTTP and from the shell: no answer, log or file contains one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import ROOT, Process, signalbox_process

TOKEN = "canary-admin-token-1f2e"
SECRET = "sk-canary-own-key-0123456789abcdef"
OLD, NEW = "o" * 32, "n" * 32
ADMIN = {"authorization": f"Bearer {TOKEN}"}


def config(**auth: Any) -> dict[str, Any]:
    return {
        "store": "sqlite",
        "auth": {"admin_token": TOKEN, "encryption_key": "${KEK}", **auth},
        "providers": {
            "acme": {"base_url": "http://127.0.0.1:9/v1", "keys": [{"value": "sk-pooled-0123456789"}]},
            "local": {"base_url": "http://127.0.0.1:9/v1"},
        },
        "models": [{"id": "acme/m"}, {"id": "local/m"}],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("box")


@pytest.fixture(scope="module")
def box(folder: Path) -> Iterator[Process]:
    with signalbox_process(config(), folder, {"KEK": OLD}) as process:
        yield process


@pytest.fixture
def http(box: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=box.url, headers=ADMIN, timeout=10) as client:
        yield client


def shell(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", "provider-keys", *arguments, "--config", str(folder / "signalbox.yaml")]
    env = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def put(http: httpx.Client, user: str = "ann", **body: Any) -> httpx.Response:
    return http.put("/admin/provider-keys", json={"user": user, "provider": "acme", "value": SECRET, **body})


def user(http: httpx.Client, id: str = "ann") -> None:
    assert http.post("/admin/users", json={"id": id}).status_code == 201


def test_key_is_stored_listed_and_deleted_without_being_shown(http: httpx.Client, box: Process, folder: Path) -> None:
    user(http)

    created, replaced = put(http), put(http)
    listed = http.get("/admin/provider-keys", params={"user": "ann"})
    deleted = http.delete(f"/admin/provider-keys/{created.json()['id']}")

    assert [answer.status_code for answer in (created, replaced, listed, deleted)] == [201, 200, 200, 200]
    assert listed.json()["data"] == [replaced.json()]
    assert http.get("/admin/provider-keys").json()["data"] == []
    audit = http.get("/admin/audit")
    sinks = [answer.text for answer in (created, replaced, listed, deleted, audit)] + [box.log.read_text()]
    assert [text for text in sinks if SECRET[3:] in text] == []
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET[3:].encode() in path.read_bytes()] == []
    assert any(path.suffix == ".db" for path in files)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"provider": "acne"}, "provider", "Did you mean `acme`?"),
        ({"provider": "local"}, "provider", "is called without a key"),
        ({"value": "short"}, "value", "16 to"),
        ({"value": 5}, "value", "string"),
        ({"key": SECRET}, "key", "there is no such field"),
    ],
)
def test_invalid_key_is_a_400_that_names_the_field(
    http: httpx.Client, body: dict[str, Any], param: str, words: str
) -> None:
    answer = put(http, **body)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert words in error["message"]
    assert SECRET not in answer.text


def test_caller_without_a_user_has_no_keys(http: httpx.Client) -> None:
    answers = [
        http.get("/v1/provider-keys"),
        http.put("/v1/provider-keys", json={"provider": "acme", "value": SECRET}),
        http.delete("/v1/provider-keys/pk_1"),
    ]

    assert {answer.status_code for answer in answers} == {403}


def test_encryption_key_is_rotated_while_serving(http: httpx.Client, folder: Path) -> None:
    user(http, "bob")
    row = put(http, "bob").json()
    with_both = (folder / "signalbox.yaml").read_text().replace("${KEK}", "${NEW}")
    (folder / "new").mkdir()
    (folder / "new" / "signalbox.yaml").write_text(
        with_both.replace("auth:\n", "auth:\n  previous_encryption_keys: ['${KEK}']\n")
    )

    alone = shell(folder, "rotate", KEK=NEW)
    rotated = shell(folder / "new", "rotate", KEK=OLD, NEW=NEW)
    again = shell(folder, "rotate", KEK=NEW)
    listed = shell(folder, "list", KEK=NEW)

    assert (alone.returncode, "auth.previous_encryption_keys" in alone.stderr) == (1, True)
    assert (rotated.returncode, rotated.stdout[:2]) == (0, "1 ")
    assert (again.returncode, again.stdout[:2]) == (0, "0 ")
    assert row["fingerprint"] in listed.stdout
    assert http.get("/admin/provider-keys").json()["data"] == [row]
    assert SECRET not in alone.stderr + rotated.stdout + listed.stdout


def test_rotation_needs_an_encryption_key(tmp_path: Path) -> None:
    (tmp_path / "signalbox.yaml").write_text(f"data_dir: {tmp_path}/data\n")

    done = shell(tmp_path, "rotate")

    assert done.returncode == 2
    assert "auth.encryption_key" in done.stderr
