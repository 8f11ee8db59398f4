"""The audit log: which change was made, when, and by which actor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.store.rows import SECRET
from proxy.store.schema import audit
from proxy.store.values import to_json


async def record(
    connection: AsyncConnection,
    entry: Mapping[str, Any],
    kind: str,
    id: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    """Write a row; `entry` has `time`, `actor` and `action`. Only fields that differ are written, and no secrets."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    changes = {name: [before.get(name), after.get(name)] for name in names if name not in SECRET}
    await connection.execute(insert(audit), {**entry, "kind": kind, "id": id, "changes": to_json(changes)})
