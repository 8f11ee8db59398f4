"""What errors of the drivers mean."""

from __future__ import annotations

import sqlite3

import pytest
from asyncpg import exceptions as postgresql
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from proxy.store.failures import Kind, Unusable, classify


def wrapped(error: Exception) -> DBAPIError:
    """An error of a driver, as SQLAlchemy raises it."""
    return OperationalError("SELECT 'a secret value'", None, error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Kind.LOST),
        (TimeoutError(), Kind.DOWN),
        (Unusable("too old"), Kind.DOWN),
        (postgresql.CannotConnectNowError(""), Kind.LOST),
        (postgresql.AdminShutdownError(""), Kind.LOST),
        (postgresql.ConnectionDoesNotExistError(""), Kind.LOST),
        (postgresql.ReadOnlySQLTransactionError(""), Kind.LOST),
        (postgresql.TooManyConnectionsError(""), Kind.DOWN),
        (postgresql.DiskFullError(""), Kind.DOWN),
        (postgresql.InvalidPasswordError("password authentication failed"), Kind.DOWN),
        (postgresql.InvalidCatalogNameError(""), Kind.DOWN),
        (postgresql.UndefinedTableError(""), Kind.DOWN),
        (postgresql.UndefinedColumnError(""), Kind.DOWN),
        (postgresql.InvalidCachedStatementError(""), Kind.LOST),
        (wrapped(sqlite3.OperationalError("no such column: calls.rating")), Kind.LOST),
        (wrapped(sqlite3.OperationalError("table calls has no column named rating")), Kind.LOST),
        (postgresql.QueryCanceledError(""), Kind.SLOW),
        (postgresql.DeadlockDetectedError(""), Kind.CONFLICT),
        (postgresql.SerializationError(""), Kind.CONFLICT),
        (wrapped(sqlite3.OperationalError("database is locked")), Kind.SLOW),
        (wrapped(sqlite3.OperationalError("database or disk is full")), Kind.DOWN),
        (wrapped(sqlite3.OperationalError("disk I/O error")), Kind.DOWN),
        (wrapped(sqlite3.OperationalError("attempt to write a readonly database")), Kind.DOWN),
        (wrapped(sqlite3.DatabaseError("database disk image is malformed")), Kind.DOWN),
        (wrapped(sqlite3.OperationalError("interrupted")), Kind.SLOW),
        (PoolTimeout("QueuePool limit of size 4"), Kind.SLOW),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_failures_of_the_database_are_classified(error: Exception, kind: Kind) -> None:
    failure = classify(error)

    assert failure is not None
    assert failure.kind is kind
    assert "secret" not in failure.text


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        postgresql.UniqueViolationError(""),
        postgresql.NumericValueOutOfRangeError(""),
        wrapped(sqlite3.IntegrityError("UNIQUE constraint failed: keys.id")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_statements_are_not_failures_of_the_database(error: Exception) -> None:
    assert classify(error) is None
