"""Certificate files: the settings, and errors of the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.errors import ConfigError
from proxy.config.settings.certificates import MAX_BYTES, certificates
from tests.support.certificates import Certificates
from tests.unit.config.files import loaded, problems

TEXT = """
providers:
  acme:
    base_url: https://llm.acme.test/v1
    ca_file: {path}
models: [{{id: acme/small}}]
"""


def test_provider_has_the_certificates(tmp_path: Path, certificates: Certificates) -> None:
    text = TEXT.format(path=certificates.folder / "ca.pem")

    provider = compile_snapshot(loaded(tmp_path, text).settings).providers["acme"]

    assert provider.ca == certificates.ca
    assert "BEGIN CERTIFICATE" not in repr(provider)


def test_provider_without_a_file_has_none(tmp_path: Path) -> None:
    text = TEXT.replace("    ca_file: {path}\n", "").format()

    assert compile_snapshot(loaded(tmp_path, text).settings).providers["acme"].ca is None


def test_missing_file_is_named_with_its_line(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, TEXT.format(path="/nowhere/ca.pem"))

    assert problem == "signalbox.yaml:5: providers.acme.ca_file: names a file that does not exist; correct the path"


def test_file_that_vanishes_after_the_check_is_an_error(tmp_path: Path, certificates: Certificates) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(certificates.ca)
    settings = loaded(tmp_path, TEXT.format(path=path)).settings
    path.unlink()

    with pytest.raises(ConfigError, match=r"providers.acme.ca_file: names a file that does not exist"):
        compile_snapshot(settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "without certificates"),
        (b"no certificate", "without certificates"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "without certificates"),
        ("\u00e9".encode(), "without certificates"),
        (b"a" * (MAX_BYTES + 1), "larger than 1 MiB"),
    ],
)
def test_file_without_certificates_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=message):
        certificates(str(path))


def test_folder_and_pipe_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="regular file"):
            certificates(str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("secret")
    path.chmod(0)

    with pytest.raises(ValueError, match="cannot be read: permission denied"):
        certificates(str(path))
