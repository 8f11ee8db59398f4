"""Compaction: a model writes a summary of a conversation, which replaces it in later calls.

`POST /v1/responses/compact`, and a call whose input ends with a `compaction_trigger`. The summary goes to the client
sealed (`proxy/surfaces/carriers.py`), in an item of type `compaction`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from proxy.core.call import Call
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.record import Record
from proxy.surfaces.base import Arrived, Encoder, ReadCall
from proxy.surfaces.responses.document import ResponseDocument, usage_of
from proxy.surfaces.responses.encoder import WholeEncoder
from proxy.surfaces.responses.input_tokens import changed, part_of
from proxy.surfaces.responses.request import read_response
from proxy.surfaces.responses.summary import TRIGGER
from proxy.surfaces.responses.surface import ResponsesSurface

_READ = ("model", "input", "previous_response_id", "instructions", "prompt_cache_key", "router")


class CompactSurface(ResponsesSurface):
    """The endpoint."""

    @property
    def read(self) -> ReadCall:
        """The function that reads a body."""
        return read_compact

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer."""
        assert call.turn is not None
        return CompactEncoder(call, record, call.turn)


def read_compact(raw: bytes, headers: Mapping[str, str], **arrived: Unpack[Arrived]) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the parameter."""
    body = object_of(part_of(raw, _READ)) or {}
    items = body.get("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if items is None or isinstance(items, list):
        body["input"] = [*(items or ()), {"type": TRIGGER}]
    return changed(read_response(compact_nulled(body), headers, **arrived), _translated)


def _translated(call: Call) -> Call:
    """Return the call for all targets: one with the Responses API would answer with a response."""
    call.native = None
    return call


class CompactEncoder(WholeEncoder):
    """Writes the compaction."""

    def _written(self, document: ResponseDocument, output: list[dict[str, Any]]) -> bytes:
        return compact_nulled(
            {
                "id": document.id,
                "object": "response.compaction",
                "created_at": document.created_at,
                "output": output,
                "usage": document.usage or usage_of({}),
            }
        )


COMPACT = CompactSurface()
