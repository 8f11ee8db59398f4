"""Conversations: large bodies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.admission.permissions import PRINCIPAL
from proxy.core.work import LARGE
from proxy.http.conversations import Conversations
from proxy.store.conversations import Conversation
from proxy.store.items import Item

pytestmark = pytest.mark.anyio


class Store:
    """Notes how often the event loop ran something else before it is asked."""

    def __init__(self, turns: list[str]) -> None:
        self._turns = turns
        self.turns_before = 0

    async def create(self, id: str, tenant: str, metadata: Mapping[str, str], items: Sequence[Item]) -> Conversation:
        self.turns_before = len(self._turns)
        return Conversation(id, tenant, metadata, 0.0, 0.0)


@pytest.mark.parametrize(("size", "turns"), [(10, 0), (LARGE, 1)])
async def test_large_body_is_read_in_a_thread(size: int, turns: int) -> None:
    body = json.dumps({"items": [{"role": "user", "content": "x" * size}]}).encode()
    ran: list[str] = []
    store: Any = Store(ran)
    request: Any = SimpleNamespace(scope={PRINCIPAL: SimpleNamespace(tenant="-")})

    async def read(request: Any) -> bytes:
        return body

    asyncio.get_running_loop().call_soon(ran.append, "other")
    reader: Any = read
    await Conversations(store, reader).create(request)

    assert store.turns_before == turns
