"""Secrets that are encryption keys: given as text, or as `file:` and the path of a file."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr

from proxy.config.settings.files import read_file

FILE = "file:"
MAX_BYTES = 64 * 1024
SHORTEST = 32  # bytes


def _encryption_key(value: SecretStr) -> SecretStr:
    """Return the key, read from its file if one is named. Raises `ValueError` if it is too short."""
    text = value.get_secret_value()
    if text.startswith(FILE):
        text = _content(text.removeprefix(FILE))
    text = text.strip()
    if 0 < len(text.encode()) < SHORTEST:
        raise ValueError(f"must have at least {SHORTEST} bytes; make one with `openssl rand -base64 32`")
    return SecretStr(text)


def _content(path: str) -> str:
    content = read_file(path, MAX_BYTES, "64 KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("names a file that is not UTF-8; store the key in base64") from None
    if not text.strip():
        raise ValueError("names a file that is empty")
    return text


EncryptionKey = Annotated[SecretStr, AfterValidator(_encryption_key)]
