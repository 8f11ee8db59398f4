"""`POST /v1/chat/completions`: reads the body, which is also the internal form of a call.

The body is read as far as routing needs it (`shape.py`); the proxy's own options (`router`) are read in
`surfaces/options.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.core.agents import PREFIX, AgentUse
from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.messages import UNKNOWN
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.surfaces.carriers import open_family
from proxy.surfaces.headers import forwarded
from proxy.surfaces.openai.checks import check, check_repeated
from proxy.surfaces.openai.shape import Shape, read_shape
from proxy.surfaces.options import read_options

_NONE: frozenset[str] = frozenset()
_MESSAGES = frozenset(("messages",))


def read_chat(
    raw: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    request_id: str,
    snapshot: Snapshot,
    principal: Principal = UNKNOWN_CALLER,
    path: str = "",
    query: str = "",
    agent: AgentUse | None = None,
) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the parameter and what it should be.

    `headers` have lower-case names; `id` is the proxy's, `request_id` what the client gets back. `agent` is the one
    that has been applied to the body. Raises `UnknownAgent` if the model is one that the snapshot does not have.
    """
    shape = read_shape(raw)
    document = parse(raw, checked=_NONE if shape is None or shape.messages.large else _MESSAGES)
    body = document.body
    if shape is None or document.repeated:
        check_repeated(document.repeated)
        check(body)
        options = body.get("stream_options") or {}
        shape = Shape(body["model"], bool(body.get("stream")), bool(options.get("include_usage")), UNKNOWN)
    name = snapshot.aliases.get(shape.model, shape.model)
    if agent is None and name.startswith(PREFIX):
        from proxy.surfaces.openai.agents import with_agent  # only here: most calls name none

        raw, agent = with_agent(raw, document, snapshot, name)
        return read_chat(
            raw, headers, id=id, request_id=request_id, snapshot=snapshot, principal=principal, agent=agent
        )
    return Call(
        id=id,
        request_id=request_id,
        endpoint="chat",
        raw=raw,
        body=body,
        model=shape.model,
        stream=shape.stream,
        usage_asked=shape.usage_asked,
        options=read_options(body.pop("router") if "router" in document.spans else None, headers),
        headers=forwarded(headers),
        snapshot=snapshot,
        principal=principal,
        spans=document.spans,
        messages=shape.messages,
        family=open_family(body["messages"]) if shape.messages.replayed else None,
        agent=agent,
    )
