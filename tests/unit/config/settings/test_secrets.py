"""Encryption keys: as text or from a file, and long enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.settings.redact import redacted
from proxy.config.settings.secrets import MAX_BYTES
from tests.unit.config.files import loaded, problems

KEY, OLD = "k" * 32, "o" * 40
TEXT = """
auth:
  encryption_key: ${KEY:-}
  previous_encryption_keys: ["${OLD}"]
"""


def test_key_is_a_text_or_the_content_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "kek").write_text(f"{KEY}\n")

    auth = loaded(tmp_path, TEXT, {"KEY": f"file:{tmp_path}/kek", "OLD": OLD}).settings.auth

    assert auth.encryption_key is not None
    assert auth.encryption_key.get_secret_value() == KEY
    assert auth.secrets() == [KEY, OLD]


def test_keys_are_not_shown(tmp_path: Path) -> None:
    settings = loaded(tmp_path, TEXT, {"KEY": KEY, "OLD": OLD}).settings

    auth = redacted(settings)["auth"]

    assert (auth["encryption_key"], auth["previous_encryption_keys"]) == ("***", ["***"])
    assert KEY not in repr(settings)
    assert OLD not in repr(settings)


def test_unset_key_is_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, TEXT, {"OLD": OLD}).settings.auth.encryption_key is None


@pytest.mark.parametrize("value", ["k" * 31, "file:{folder}/short"], ids=["text", "file"])
def test_short_key_is_rejected_without_its_value(tmp_path: Path, value: str) -> None:
    (tmp_path / "short").write_text("k" * 31)

    [problem] = problems(tmp_path, TEXT, {"KEY": value.format(folder=tmp_path), "OLD": OLD})

    assert problem.startswith("signalbox.yaml:3: auth.encryption_key: must have at least 32 bytes; make one with")
    assert "kkkk" not in problem


def test_short_previous_key_is_rejected(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, TEXT, {"KEY": KEY, "OLD": "short"})

    assert "auth.previous_encryption_keys" in problem
    assert "at least 32 bytes" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b" \n", "is empty"),
        (b"\xff" * 40, "is not UTF-8"),
        (b"k" * (MAX_BYTES + 1), "larger than 64 KiB"),
    ],
    ids=["missing", "empty", "binary", "large"],
)
def test_unusable_file_is_rejected(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "kek").write_bytes(content)

    [problem] = problems(tmp_path, TEXT, {"KEY": f"file:{tmp_path}/kek", "OLD": OLD})

    assert message in problem


def test_directory_is_rejected(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, TEXT, {"KEY": f"file:{tmp_path}", "OLD": OLD})

    assert "must be a regular file" in problem
