"""Reading of PEM certificate files (`providers.*.ca_file`)."""

import ssl
from pathlib import Path

MAX_BYTES = 1024 * 1024


def certificates(path: str) -> str:
    """The text of a PEM file with at least one certificate. Raises `ValueError` with the problem and its remedy."""
    file = Path(path).expanduser()
    try:
        if not file.is_file():  # a pipe can be read only once, and may never end
            what = "must be a regular file" if file.exists() else "names a file that does not exist; correct the path"
            raise ValueError(what)
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ValueError(f"names a file that cannot be read: {(exc.strerror or 'unknown reason').lower()}") from None
    if len(content) > MAX_BYTES:
        raise ValueError("names a file that is larger than 1 MiB")
    try:
        text = content.decode("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError):
        raise ValueError("names a file without certificates in PEM (`-----BEGIN CERTIFICATE-----`)") from None
    return text
