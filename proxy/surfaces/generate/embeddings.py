"""`embedContent` and `batchEmbedContents`: reads their bodies as embeddings calls, and writes their answers.

A Gemini target gets the client's own body, so that `taskType` reaches it; other providers have no counterpart.
Source: ai.google.dev/api/embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, ProxyError
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.principal import Principal
from proxy.core.snapshot import Snapshot
from proxy.core.usage import count
from proxy.surfaces.generate.body import read_request
from proxy.surfaces.generate.errors import error_body
from proxy.surfaces.generate.fields import Members, integer_of, members_of, objects_of, place, text_of
from proxy.surfaces.headers import forwarded

BATCH = "batchEmbedContents"
_READ = {"content", "model", "outputDimensionality"}
_BETWEEN = "\n"  # the texts of one content


def read_embeddings(
    raw: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    request_id: str,
    snapshot: Snapshot,
    principal: Principal,
    path: str,
    query: str,
) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the member and what it should be."""
    request = read_request(raw, headers, path, query)
    dropped: dict[str, None] = {}
    written = compact_nulled({"model": request.model, **_embeddings(request.members, request.operation, dropped)})
    canonical = parse(written)
    return Call(
        id=id,
        request_id=request_id,
        endpoint="embeddings",
        raw=written,
        body=canonical.body,
        model=request.model,
        stream=False,
        usage_asked=False,
        options=request.options,
        headers=forwarded(headers),
        snapshot=snapshot,
        kind="embedding",
        principal=principal,
        spans=canonical.spans,
        native=request.native,
        dropped=tuple(dropped),
    )


class EmbeddingsAnswer:
    """The encoder of an embeddings answer; `batch`: of `batchEmbedContents`."""

    def __init__(self, *, batch: bool) -> None:
        self._batch = batch
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Keep the bytes until the object is whole."""
        self._body += data
        return b""

    def finish(self) -> bytes:
        """Return the answer."""
        answer = object_of(self._body) or {}
        data = answer.get("data")
        items = data if isinstance(data, list) else []
        found = [{"values": item.get("embedding")} for item in items if isinstance(item, dict)]
        members: dict[str, Any] = {"embeddings": found} if self._batch else {"embedding": found[0] if found else {}}
        usage = answer.get("usage")
        tokens = count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
        return compact_nulled(members | ({"usageMetadata": {"promptTokenCount": tokens}} if tokens else {}))

    def fail(self, error: ProxyError) -> bytes:
        """Return the error."""
        return error_body(error)


def _embeddings(body: Members, operation: str, dropped: dict[str, None]) -> dict[str, Any]:
    """Return the members of an embeddings body."""
    requests = objects_of(body, "requests") if operation == BATCH else [("", dict(body))]
    if not requests:
        raise InvalidRequest("`requests` must have at least one request.", param="requests")
    texts = [_text(request, where) for where, request in requests]
    sizes = {integer_of(request, "outputDimensionality", where, least=1) for where, request in requests}
    if len(sizes) > 1:
        message = "`requests`: all must have the same `outputDimensionality`."
        raise InvalidRequest(message, param="requests.outputDimensionality")
    names = {name for _, request in requests for name in request}
    dropped |= {name[:40]: None for name in sorted(names - _READ)}
    [size] = sizes
    return {"input": texts if operation == BATCH else texts[0], **({} if size is None else {"dimensions": size})}


def _text(request: Members, where: str) -> str:
    """Return the text of a content, which becomes one vector."""
    where = place(where, "content")
    content = request.get("content")
    if content is None:
        raise InvalidRequest(f"`{where}` is missing; it must have `parts` with a text.", param=where)
    if isinstance(content, str):
        return content
    texts = [text_of(part, "text", at) for at, part in objects_of(members_of(content, where), "parts", where)]
    if not texts or None in texts:
        raise InvalidRequest(f"`{where}.parts` must be text parts.", param=f"{where}.parts")
    return _BETWEEN.join([text for text in texts if text])
