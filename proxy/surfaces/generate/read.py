"""Reads the bodies of `generateContent`, `streamGenerateContent` and `countTokens` as chat calls."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.core.agents import agent_name
from proxy.core.body import parse
from proxy.core.call import COUNTING, Call, NativeRequest
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled, value_of
from proxy.core.messages import MessageFacts
from proxy.core.principal import Principal
from proxy.core.snapshot import Snapshot
from proxy.surfaces.agents import note
from proxy.surfaces.carriers import edited, open_family, unseal
from proxy.surfaces.generate.body import Request, read_request
from proxy.surfaces.generate.contents import Unseal, read_contents, read_system
from proxy.surfaces.generate.fields import Members, members_of
from proxy.surfaces.generate.path import STREAM, split_path
from proxy.surfaces.generate.settings import read_settings, refusal, shows_thoughts
from proxy.surfaces.generate.signatures import without_carriers
from proxy.surfaces.generate.tools import read_searches, read_tools
from proxy.surfaces.headers import forwarded

COUNT = "countTokens"
_READ = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "cachedContent", "model"}
_CONFIGS = ("generationConfig", "generation_config")
_REPLAYED = ("extra_content", "reasoning_details", "google_parts")


def read_generate(
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
    model, operation = split_path(path)
    counts, agent = operation == COUNT, None
    lost: tuple[str, ...] = ()
    if name := agent_name(snapshot.aliases, model):
        from proxy.surfaces.generate.agents import with_agent  # only here: most calls name none

        raw, agent, lost = with_agent(raw, snapshot, name, counted=counts)
    request = read_request(raw, headers, path, query)
    members = request.members
    if counts and "generateContentRequest" in members:
        members = members_of(members["generateContentRequest"], "generateContentRequest")
    dropped: dict[str, None] = {}
    chat, refused = chat_of(members, partial(unseal, snapshot, principal), dropped)
    stream = request.operation == STREAM
    written = compact_nulled({"model": request.model, **({"stream": True} if stream else {}), **chat})
    canonical = parse(written)
    call = Call(
        id=id,
        request_id=request_id,
        endpoint=COUNTING if counts else "chat",
        raw=written,
        body=canonical.body,
        model=request.model,
        stream=stream,
        usage_asked=True,
        options=request.options,
        headers=forwarded(headers),
        snapshot=snapshot,
        principal=principal,
        spans=canonical.spans,
        messages=_facts(chat["messages"]),
        native=_native(request),
        dropped=tuple(dropped),
        refused=InvalidRequest("Only Google's API counts tokens.") if counts else refused,
        hosted=read_searches(members),
        count=_counted if counts else None,
        family=open_family(chat["messages"]),
    )
    return note(call, agent, lost)


def chat_of(
    request: Members, unsealed: Unseal, dropped: dict[str, None]
) -> tuple[dict[str, Any], InvalidRequest | None]:
    """Return the members of a chat body, and why only Google's own models can serve the request, if that is so.

    Names of what has no counterpart are added to `dropped`.
    """
    dropped |= {name[:40]: None for name, value in request.items() if value and name not in _READ}
    messages, refused = read_contents(request, unsealed, dropped)
    if (system := read_system(request)) is not None:
        messages.insert(0, system)
    chat = {"messages": messages, **read_tools(request, dropped), **read_settings(request, dropped)}
    return chat, refusal(request) or refused


def _counted(tokens: int) -> bytes:
    """Return the answer of `countTokens`."""
    details = [{"modality": "TEXT", "tokenCount": tokens}]
    return compact_nulled({"totalTokens": tokens, "promptTokensDetails": details})


def _native(request: Request) -> NativeRequest:
    """Return the client's own body, without carriers: they are of other models than Google's."""
    contents, found = without_carriers(request.members.get("contents"))
    if not found:
        return request.native
    return edited(request.native, {"contents": contents}, dropped=("contents.thoughtSignature",))


def _facts(messages: list[dict[str, Any]]) -> MessageFacts:
    return MessageFacts(
        parts=any(isinstance(message.get("content"), list) for message in messages),
        replayed=any(
            any(name in holder for name in _REPLAYED)
            for message in messages
            for holder in (message, *message.get("tool_calls", ()))
        ),
    )


def wants_thoughts(call: Call) -> bool:
    """Return whether the client of a call asks for the model's thoughts."""
    native = call.native
    for name in _CONFIGS:
        if native is not None and (span := native.spans.get(name)) is not None:
            return shows_thoughts(value_of(native.raw[span.value : span.end].decode()))
    return False
