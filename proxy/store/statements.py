"""Statements that SQLite and PostgreSQL both have, but that SQLAlchemy builds by dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_into(connection: AsyncConnection, table: Table) -> Any:
    """Return an INSERT to which `on_conflict_do_nothing` and `on_conflict_do_update` can be added."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def insert_new(connection: AsyncConnection, table: Table) -> Any:
    """Return an INSERT that leaves out rows that are in the table already."""
    return insert_into(connection, table).on_conflict_do_nothing()


def add_to(connection: AsyncConnection, table: Table, measures: tuple[str, ...]) -> Any:
    """Return an INSERT that adds `measures` to those of the row with the same primary key."""
    statement = insert_into(connection, table)
    sums = {name: table.c[name] + statement.excluded[name] for name in measures}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=sums)
