"""What an error of a database driver means."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Kind(Enum):
    """What can be done about a failure."""

    LOST = auto()  # the connection broke; a new one may work
    DOWN = auto()  # the database does not work
    SLOW = auto()  # this statement took too long, others may not
    CONFLICT = auto()  # another transaction ended this one; it can be repeated at once


class Failure(NamedTuple):
    """A failure of the database, not of the statement. `text` contains no values and no password."""

    kind: Kind
    text: str


_SQLSTATES = {
    "0A000": Failure(Kind.LOST, "the tables have changed"),  # a statement that was prepared before
    "08": Failure(Kind.LOST, "the connection was lost"),
    "25006": Failure(Kind.LOST, "the server is read-only"),  # a standby, after a failover
    "28": Failure(Kind.DOWN, "the server rejects the user or the password"),
    "3D000": Failure(Kind.DOWN, "the database does not exist"),
    "40001": Failure(Kind.CONFLICT, "too many conflicting transactions"),
    "40P01": Failure(Kind.CONFLICT, "too many conflicting transactions"),
    "42P01": Failure(Kind.DOWN, "a table is missing; run `signalbox migrate`"),
    "42703": Failure(Kind.DOWN, "a column is missing; run `signalbox migrate`"),
    "42501": Failure(Kind.DOWN, "the user may not access a table"),
    "53100": Failure(Kind.DOWN, "the server's disk is full"),
    "53": Failure(Kind.DOWN, "the server has no free connection or memory"),
    "55P03": Failure(Kind.SLOW, "a lock was not free in time"),
    "57014": Failure(Kind.SLOW, "the statement took too long"),
    "57": Failure(Kind.LOST, "the server is shutting down or starting"),
    "58": Failure(Kind.DOWN, "the server reports a system error"),
    "XX": Failure(Kind.DOWN, "the server reports an internal error"),
}
_SQLITE = {
    "database is locked": Failure(Kind.SLOW, "the file is locked by another process"),
    "disk is full": Failure(Kind.DOWN, "the disk is full"),
    "disk I/O error": Failure(Kind.DOWN, "the disk reports an error"),
    "unable to open": Failure(Kind.DOWN, "the file cannot be opened"),
    "readonly": Failure(Kind.DOWN, "the file cannot be written to"),
    "no such table": Failure(Kind.LOST, "a table is missing"),
    "no such column": Failure(Kind.LOST, "a column is missing"),
    "has no column named": Failure(Kind.LOST, "a column is missing"),
    "not a database": Failure(Kind.DOWN, "the file is not a SQLite database"),
    "malformed": Failure(Kind.DOWN, "the file is damaged"),
    "interrupted": Failure(Kind.SLOW, "the statement took too long"),
    "no active connection": Failure(Kind.LOST, "the connection was closed"),
}


class Unusable(Exception):
    """The database cannot be used: its schema or the server is too old, or the driver or the URL is wrong."""


def classify(error: BaseException) -> Failure | None:
    """Return what `error` says of the database; `None` if it is not about the database."""
    if isinstance(error, Unusable):
        return Failure(Kind.DOWN, str(error))
    if isinstance(error, TimeoutError):
        return Failure(Kind.DOWN, "no answer in time")
    if isinstance(error, OSError):
        return Failure(Kind.LOST, error.strerror or "the connection failed")
    origin = getattr(error, "orig", None) or error  # of SQLAlchemy's wrapper
    for cause in (origin, origin.__cause__):
        if (state := getattr(cause, "sqlstate", None)) is not None:
            return _SQLSTATES.get(state) or _SQLSTATES.get(state[:2])
    text = str(origin)
    for words, failure in _SQLITE.items():
        if words in text:
            return failure
    module = type(origin).__module__
    if getattr(error, "connection_invalidated", False) or (
        module.startswith("asyncpg") and type(origin).__name__ in ("InterfaceError", "ConnectionDoesNotExistError")
    ):
        return Failure(Kind.LOST, "the connection was lost")
    if type(error).__module__ == "sqlalchemy.exc" and type(error).__name__ == "TimeoutError":
        return Failure(Kind.SLOW, "all connections are in use")
    return None
