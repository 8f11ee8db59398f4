"""Where the database is: the setting `store`, parsed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

FILE = "signalbox.db"  # in `data_dir`
_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Location:
    """A SQLite file, or the URL of a PostgreSQL database; its `repr` contains no password."""

    kind: Literal["sqlite", "postgresql"]
    name: str  # for messages: the file, or host and database
    target: str = field(repr=False)  # the file's path, or the URL


def locate(store: str, data_dir: str) -> Location | None:
    """Return the location of the setting `store`; `None` for `none`.

    `sqlite:///path` is relative to the working directory, `sqlite:////path` is absolute. Raises `ValueError` if the
    setting is invalid; the message contains no password.
    """
    if store == "none":
        return None
    if store == "sqlite":
        return _sqlite(str(PurePath(data_dir) / FILE))
    if store.startswith(_SQLITE):
        return _sqlite(store.removeprefix(_SQLITE))
    return _postgresql(store)


def _sqlite(path: str) -> Location:
    if path.startswith(":memory:") or "?" in path or "\0" in path:
        raise ValueError("must be the path of a file, without `?` and not `:memory:`")
    return Location("sqlite", path, path)


def _postgresql(url: str) -> Location:
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        # several hosts are separated by commas; the library that connects reads them and their ports
        host = parts.netloc.rpartition("@")[2] or query.get("host", "")
        if "," not in host:
            _ = parts.port
    except ValueError:
        raise ValueError("must be a URL such as `postgresql://user:password@host:5432/database`") from None
    if parts.scheme != "postgresql":
        raise ValueError("must be `none`, `sqlite`, `sqlite:///path` or `postgresql://...`")
    database = parts.path.strip("/") or query.get("database") or query.get("dbname", "")
    return Location("postgresql", f"{host or 'localhost'}/{database}", url)


def without_secrets(url: str) -> str:
    """Return a URL without its password and its parameters; anything else as it is."""
    scheme, separator, rest = url.partition("://")
    rest, question, _ = rest.partition("?")
    credentials, at, server = rest.rpartition("@")
    if at:
        rest = f"{credentials.partition(':')[0]}:***@{server}"
    return f"{scheme}{separator}{rest}{'?***' if question else ''}"
