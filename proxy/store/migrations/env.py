"""The environment in which Alembic runs migrations: on the connection that `proxy.store.migrations` gives it."""

from __future__ import annotations

from alembic import context

from proxy.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot change columns
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
