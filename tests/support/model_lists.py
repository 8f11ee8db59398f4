"""The scripted upstream with a list of models, which background probes request.

`GET` requests are in the log and may be scripted like any other, under the name `GET /v1/models`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager

from anyio.from_thread import start_blocking_portal

from proxy.core.clock import SystemClock
from tests.support.upstreams import Request, Script, Upstream, Wire, _Connection, plain, whole

LIST = "GET /v1/models"
MODELS = json.dumps({"object": "list", "data": []}).encode()
models: Script = plain(MODELS)


class ListingUpstream(Upstream):
    """The upstream; it serves its list of models at once unless something else is scripted."""

    @property
    def calls(self) -> list[Request]:
        """The requests for anything but a list of models."""
        return [request for request in self.requests if not request.model.startswith("GET ")]

    @property
    def requested(self) -> list[str]:
        """What was requested, in order; calls of one token are `probe of MODEL`."""
        return [
            f"probe of {request.model}" if request.json.get("max_tokens") == 1 else request.model
            for request in self.requests
        ]

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = head[0].split(" ")
        named = body or json.dumps({"model": f"{method} {path}"}).encode()
        request = Request(path, headers, named, SystemClock().monotonic())
        connection.current = request
        wire = Wire(request, connection, writer, keeps=self.keeps)
        queued = self._scripts.get(request.model, [whole if body else models])
        chosen = queued.pop(0) if len(queued) > 1 else queued[0]
        self.requests.append(request)
        self._arrivals.put(request)
        await chosen(wire)
        return wire.keep


@contextmanager
def listing_upstream() -> Iterator[ListingUpstream]:
    """A running upstream."""
    found = ListingUpstream()
    with start_blocking_portal() as portal:
        portal.call(found.start)
        try:
            yield found
        finally:
            portal.call(found.stop)
