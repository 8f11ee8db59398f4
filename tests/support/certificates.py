"""A private CA for tests, made anew by the command `openssl`."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


class Certificates:
    """A CA (`ca.pem`), and certificates of it for `localhost` and for another name; files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self._openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA", "-days", "2")
        for name, names in (("localhost", "DNS:localhost,IP:127.0.0.1"), ("elsewhere", "DNS:elsewhere.test")):
            (folder / "names").write_text(f"subjectAltName={names}\n")
            self._openssl("req", *key, "-keyout", f"{name}.key", "-out", "request.pem", "-subj", f"/CN={name}")
            signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
            self._openssl("x509", "-req", "-in", "request.pem", *signed, "-out", f"{name}.pem")

    @property
    def ca(self) -> str:
        """The CA as PEM."""
        return (self.folder / "ca.pem").read_text()

    def server(self, name: str = "localhost") -> ssl.SSLContext:
        """What a server with the certificate `name` needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once for each run."""
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl is not installed")
    return Certificates(tmp_path_factory.mktemp("certificates"))
