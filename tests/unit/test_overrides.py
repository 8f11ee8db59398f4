"""Overrides of models in a running service."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from proxy.config.load import load
from proxy.core.errors import InvalidRequest, NotFound
from proxy.following import EVERY
from proxy.observe.metrics import Metrics
from proxy.overrides import ModelOverrides
from proxy.reload import Configuration, Reloader
from proxy.store.errors import StoreUnavailable
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

FILE = """
providers: {acme: {base_url: "https://acme.test/v1"}}
models: [{id: acme/small, tier: low}, {id: acme/large, tier: high}]
"""


class Stored:
    """A store of overrides, which several services may share."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.broken = False
        self.full = False  # it can be read, but not written to

    async def all(self) -> dict[str, dict[str, Any]]:
        self._check()
        return dict(self.rows)

    async def put(self, id: str, fields: Mapping[str, Any], actor: str) -> None:
        if self.full:
            raise StoreUnavailable("the disk is full")
        self.rows[id] = dict(fields)

    async def delete(self, id: str, actor: str) -> None:
        del self.rows[id]

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("it is broken")


class Service:
    """One service over a store."""

    def __init__(self, path: Path, stored: Stored) -> None:
        self.live = Configuration(load(path, {}))
        self.reloader = Reloader(self.live, Mock(), Metrics())
        self.overrides = ModelOverrides(stored, self.live, self.reloader, FakeClock())

    @property
    def models(self) -> list[str]:
        return list(self.live.snapshot.deployments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "signalbox.yaml"
    path.write_text(FILE)
    return path


def rename(path: Path, model: str, name: str) -> None:
    """Rename a model in the file."""
    path.write_text(path.read_text().replace(model, name))


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def service(path: Path, stored: Stored) -> Service:
    return Service(path, stored)


async def test_the_settings_are_loaded_in_a_thread(
    service: Service, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def loads(pickled: bytes) -> Any:
        threads.append(threading.current_thread())
        return pickle.loads(pickled)

    monkeypatch.setattr("proxy.config.loaded.pickle", Mock(loads=loads))
    stored.rows["acme/small"] = {"enabled": False}

    await service.overrides.refresh()

    assert service.models == ["acme/large"]
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_a_change_is_in_force_when_it_returns(service: Service) -> None:
    row = await service.overrides.change("acme/small", {"enabled": False}, "admin")

    assert (row["enabled"], row["override"], row["file"]) == (False, {"enabled": False}, {"tier": "low"})
    assert service.models == ["acme/large"]


async def test_null_ends_the_override_of_a_field(service: Service, stored: Stored) -> None:
    await service.overrides.change("acme/small", {"enabled": False, "quality": 0.5}, "admin")
    await service.overrides.change("acme/small", {"enabled": None}, "admin")

    assert stored.rows == {"acme/small": {"quality": 0.5}}
    assert service.models == ["acme/small", "acme/large"]


async def test_the_end_of_an_override_is_the_file_again(service: Service, stored: Stored) -> None:
    await service.overrides.create("acme/new", {"tier": "low"}, "admin")
    await service.overrides.delete("acme/new", "admin")

    assert stored.rows == {}
    assert service.models == ["acme/small", "acme/large"]


async def test_other_services_follow(path: Path, stored: Stored, service: Service) -> None:
    other = Service(path, stored)
    await service.overrides.change("acme/small", {"enabled": False}, "admin")

    await other.overrides.refresh()

    assert other.models == ["acme/large"]
    assert EVERY <= 5


async def test_overrides_survive_a_reload_of_the_file(path: Path, service: Service) -> None:
    await service.overrides.change("acme/small", {"enabled": False}, "admin")

    rename(path, "acme/large", "acme/larger")
    service.reloader.take(load(path, {}))

    assert service.models == ["acme/larger"]


async def test_a_store_that_does_not_answer_changes_nothing(service: Service, stored: Stored) -> None:
    await service.overrides.change("acme/small", {"enabled": False}, "admin")
    stored.broken = True

    await service.overrides.start()
    with pytest.raises(StoreUnavailable):
        await service.overrides.change("acme/large", {"enabled": False}, "admin")

    assert service.models == ["acme/large"]


async def test_a_failed_write_is_not_in_force(
    service: Service, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(stored, "put", fail)
    with pytest.raises(StoreUnavailable):
        await service.overrides.change("acme/small", {"enabled": False}, "admin")

    assert service.models == ["acme/small", "acme/large"]


async def test_errors_name_the_remedy(service: Service) -> None:
    await service.overrides.create("acme/small", {"quality": 0.1}, "admin")

    with pytest.raises(InvalidRequest, match="change it with PATCH"):
        await service.overrides.create("acme/small", {"quality": 0.2}, "admin")
    with pytest.raises(NotFound, match="GET /admin/models"):
        await service.overrides.change("acme/none", {"quality": 0.2}, "admin")
    with pytest.raises(InvalidRequest, match="^`quality`: "):
        await service.overrides.change("acme/small", {"quality": 2}, "admin")
    with pytest.raises(InvalidRequest, match="has no override"):
        await service.overrides.delete("acme/large", "admin")
