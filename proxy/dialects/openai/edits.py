"""The body of a request in the OpenAI format: the client's bytes, with the fewest edits that the model needs.

`model` is replaced, `router` removed, `stream_options` added where streams are asked for their usage. Parameters and
members of messages that the model does not accept are removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.json_text import compact
from proxy.core.model import Deployment, Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.spans import Span, edit
from proxy.dialects.openai.history import edited_messages
from proxy.dialects.openai.parameters import edits_of, may_need_edits
from proxy.dialects.openai.tool_media import with_moved_media
from proxy.dialects.permitted import FURTHER_MODELS, permitted_entries

FORMS = ("transcriptions", "translations")  # endpoints whose bodies are `multipart/form-data`
_ROUTER = ("router",)
_ASK_FOR_USAGE = b'{"include_usage":true}'


@dataclass(slots=True, eq=False)
class Prepared:
    """What requests for one endpoint to one deployment with one key have in common."""

    deployment: Deployment
    key: ProviderKey | None
    url: str
    headers: Mapping[str, str]
    model: bytes  # the model's name as JSON
    asks_usage: bool  # streams are asked for their usage
    pairs: tuple[tuple[str, str], ...]  # parameters that the model does not accept together
    members: tuple[str, ...]  # members of messages that the model does not accept
    edited: frozenset[str]  # members of bodies that need more edits than that of the model's name


def edited_body(call: Call, target: Target, prepared: Prepared) -> tuple[bytes, tuple[str, ...], bool]:
    """Return the body, the client's parameters that it lacks, and whether it asks for usage on the proxy's behalf.

    Raises `InvalidRequest` where removing a parameter would change the answer's meaning.
    """
    deployment = target.deployment
    if call.endpoint in FORMS:
        return edit(call.raw, call.spans, {"model": deployment.model.encode()}), (), False
    spans = call.spans or parse(call.raw).spans
    write: dict[str, bytes] = {}
    remove: tuple[str, ...] = _ROUTER if "router" in spans else ()
    dropped: list[str] = []
    if may_need_edits(call, target, spans, prepared.pairs):
        edits = edits_of(call, target, spans)
        write, remove, dropped = edits.write, (*remove, *edits.remove), edits.dropped
    if call.model != deployment.model:
        write["model"] = prepared.model
    if call.principal.models:
        dropped += _permit(call, spans, deployment.provider, write)
    facts = call.messages
    may_differ = facts.replayed or prepared.members or (facts.parts and call.native is not None)
    if may_differ and "messages" in spans and "messages" not in write:
        _edit_messages(call, spans["messages"], prepared, write, dropped)
    if call.hosted:  # chat completions have no such tool
        if call.forced is not None:
            raise call.forced
        dropped.append("tools.web_search")
    asks = call.stream and prepared.asks_usage and not (call.usage_asked and "stream_options" in spans)
    if asks:
        write["stream_options"] = _ask_for_usage(call.raw, spans)
    return edit(call.raw, spans, write, remove), tuple(dropped), asks


def _permit(call: Call, spans: Mapping[str, Span], provider: Provider, write: dict[str, bytes]) -> list[str]:
    """Write the members that name further models with those that the caller may use; return the names of the lost.

    A member of which nothing is left is null, which asks for nothing.
    """
    lost = []
    for name in FURTHER_MODELS:
        models = call.body.get(name) if name in spans and name not in write else None
        if models:
            permitted = permitted_entries(models, provider, call.principal)
            write[name] = compact(permitted or None)
            lost += [name] if permitted != models else []
    return lost


def _edit_messages(call: Call, span: Span, prepared: Prepared, write: dict[str, bytes], dropped: list[str]) -> None:
    """Remove from the messages of a chat what this target does not accept."""
    if call.endpoint != "chat":
        return
    raw: bytes | memoryview = memoryview(call.raw)[span.value : span.end]
    messages = call.body.get("messages")
    if call.native is not None and (moved := with_moved_media(messages)) is not None:
        messages, raw = moved, compact(moved)
        write["messages"] = raw
    edited = edited_messages(raw, messages, prepared.members, prepared.deployment.provider.base_url)
    if edited is not None:
        write["messages"], names = edited
        dropped += names


def _ask_for_usage(raw: bytes, spans: Mapping[str, Span]) -> bytes:
    """Return the client's `stream_options` with the member that asks for usage."""
    span = spans.get("stream_options")
    if span is None:
        return _ASK_FOR_USAGE
    options = raw[span.value : span.end]
    members = parse(options).spans if options.startswith(b"{") else {}
    return edit(options, members, {"include_usage": b"true"}) if members else _ASK_FOR_USAGE
