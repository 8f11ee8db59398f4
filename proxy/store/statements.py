"""Statements that SQLite and PostgreSQL both have, but that SQLAlchemy builds by dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

_TYPES: Mapping[type, str] = {
    sqlalchemy.BigInteger: "bigint",
    sqlalchemy.Boolean: "boolean",
    sqlalchemy.Double: "double precision",
    sqlalchemy.Integer: "integer",
    sqlalchemy.LargeBinary: "bytea",
    sqlalchemy.SmallInteger: "smallint",
    sqlalchemy.Text: "text",
}


def insert_into(connection: AsyncConnection, table: Table) -> Any:
    """Return an INSERT to which `on_conflict_do_nothing` and `on_conflict_do_update` can be added."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def insert_new(connection: AsyncConnection, table: Table) -> Any:
    """Return an INSERT that leaves out rows that are in the table already."""
    return insert_into(connection, table).on_conflict_do_nothing()


async def in_driver(connection: AsyncConnection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run `work` in the thread of a connection to SQLite, and return its result."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    # aiosqlite has no public way to run several statements at once
    result: T = await driver._execute(work, driver._conn)  # noqa: SLF001
    return result


@lru_cache(16)
def insert_rows_text(table: Table, columns: Sequence[str], rows: int) -> str:
    """Return SQLite's INSERT of those of so many rows that are new; their values follow each other."""
    places = f"({', '.join('?' * len(columns))})"
    return f"INSERT OR IGNORE INTO {table.name} ({', '.join(columns)}) VALUES {', '.join([places] * rows)}"


def insert_text(dialect: str, table: Table, columns: Sequence[str]) -> str:
    """Return an INSERT for the driver of a database, whose values are tuples in the order of `columns`."""
    places = ", ".join("?" if dialect == "sqlite" else f"${number}" for number in range(1, len(columns) + 1))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"


def add_text(dialect: str, table: Table, columns: Sequence[str], measures: Sequence[str]) -> str:
    """Return the same for rows whose `measures` are added to those of the row with the same primary key."""
    key = ", ".join(column.name for column in table.primary_key.columns)
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in measures)
    return f"{insert_text(dialect, table, columns)} ON CONFLICT ({key}) DO UPDATE SET {sums}"


def insert_columns_text(table: Table, columns: Sequence[str]) -> str:
    """Return PostgreSQL's INSERT of the rows that are new, which returns their ids; its values are lists, by column.

    A list is encoded at once: this costs a third of values that are bound one by one.
    """
    types = [_TYPES[type(table.c[name].type)] for name in columns]
    lists = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    names = ", ".join(columns)
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({lists}) ON CONFLICT DO NOTHING RETURNING id"
