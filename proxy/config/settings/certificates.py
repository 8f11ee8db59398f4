"""Reading of PEM certificate files (`providers.*.ca_file`)."""

import ssl

from proxy.config.settings.files import read_file

MAX_BYTES = 1024 * 1024


def certificates(path: str) -> str:
    """The text of a PEM file with at least one certificate. Raises `ValueError` with the problem and its remedy."""
    content = read_file(path, MAX_BYTES, "1 MiB")
    try:
        text = content.decode("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError):
        raise ValueError("names a file without certificates in PEM (`-----BEGIN CERTIFICATE-----`)") from None
    return text
