"""Overrides of models, in each database."""

from __future__ import annotations

import pytest

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.audit_log import AuditLog
from proxy.store.database import Database
from proxy.store.errors import InvalidValue, Missing, StoreUnavailable
from proxy.store.models import ModelStore
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

FIELDS = {"enabled": False, "price": {"input": 0.15, "output": 0.6}, "specialties": ["ü", "'; DROP TABLE calls"]}


async def test_an_override_is_read_as_it_was_stored(database: Database) -> None:
    models = ModelStore(database, FakeClock())
    await models.put("acme/small", {"tier": "low"}, "admin")
    await models.put("acme/small", FIELDS, "admin")
    await models.put("acme/large", {"tier": "high"}, "admin")

    assert await models.all() == {"acme/small": FIELDS, "acme/large": {"tier": "high"}}
    await models.delete("acme/large", "admin")
    assert await models.all() == {"acme/small": FIELDS}


async def test_every_change_is_audited(database: Database) -> None:
    models = ModelStore(database, FakeClock())
    await models.put("acme/small", {"tier": "low", "quality": 0.5}, "ann")
    await models.put("acme/small", {"tier": "high", "quality": 0.5}, "bob")
    await models.delete("acme/small", "ann")

    rows = await AuditLog(database).list({"kind": ["model"]}, None, 10)

    assert [(row["actor"], row["action"], row["changes"]) for row in rows] == [
        ("ann", "delete", {"tier": ["high", None], "quality": [0.5, None]}),
        ("bob", "replace", {"tier": ["low", "high"]}),
        ("ann", "replace", {"tier": [None, "low"], "quality": [None, 0.5]}),
    ]


async def test_invalid_changes_are_rejected(database: Database) -> None:
    models = ModelStore(database, FakeClock())

    with pytest.raises(Missing):
        await models.delete("acme/none", "admin")
    with pytest.raises(InvalidValue):
        await models.put("acme/\0", {}, "admin")
    assert await models.all() == {}


async def test_a_file_is_read_before_the_database_is_opened(sqlite_url: str) -> None:
    location = locate(sqlite_url, "")
    assert location is not None
    unopened = Database(location, SystemClock())
    before = await ModelStore(unopened, FakeClock()).all()
    opened = Database(location, SystemClock())
    async with opened.running():
        await ModelStore(opened, FakeClock()).put("acme/small", FIELDS, "admin")

        found = await ModelStore(unopened, FakeClock()).all()

    assert (before, found, unopened.opened) == ({}, {"acme/small": FIELDS}, False)


@pytest.mark.parametrize(("content", "broken"), [(b"", False), (b"this is no database, but long enough", True)])
async def test_a_file_without_tables_has_no_overrides(sqlite_url: str, content: bytes, broken: bool) -> None:
    location = locate(sqlite_url, "")
    assert location is not None
    with open(location.target, "wb") as file:  # noqa: ASYNC230
        file.write(content)
    models = ModelStore(Database(location, SystemClock()), FakeClock())

    if not broken:
        assert await models.all() == {}
        return
    with pytest.raises(StoreUnavailable):
        await models.all()
