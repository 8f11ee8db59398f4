"""Requests in the OpenAI format: the client's bytes, with the fewest edits that routing and the model need.

What all requests with one key to one deployment have in common is prepared once. What depends on the client is added
only if it is there: `traceparent` and the like, parameters that the model does not accept, `stream_options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact
from proxy.core.model import EMPTY, Deployment, Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.spans import Span, edit
from proxy.core.wire import UpstreamRequest
from proxy.dialects.credential import credential
from proxy.dialects.openai.history import edited_messages, members_of
from proxy.dialects.openai.parameters import EFFORT, edits_of, may_need_edits, to_json
from proxy.dialects.openai.tool_media import with_moved_media
from proxy.dialects.permitted import FURTHER_MODELS, permitted_entries
from proxy.dialects.refused import pairs_of

MAX_PREPARED = 512
FORMS = ("transcriptions", "translations")  # endpoints whose bodies are `multipart/form-data`

_PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
    "images": "/images/generations",
    "speech": "/audio/speech",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
}
_SHARED = ("accept", "content-type")  # headers of clients that have few values
_ROUTER = ("router",)
_EDITED = frozenset(("router", EFFORT))
_EVERY = frozenset(("model",))  # every body has this member
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
    edited: frozenset[str]  # members of bodies with which more than the model's name may have to be edited


class RequestBuilder:
    """Builds requests. What is prepared is kept for the objects of the configuration in force."""

    def __init__(self) -> None:
        self._prepared: dict[tuple[object, ...], Prepared] = {}

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the request of one attempt.

        `model` is replaced, `router` removed, `stream_options` added where streams are asked for their usage.
        Parameters that the model does not accept are removed. Raises `InvalidRequest` where that would change the
        answer's meaning, and for an endpoint that the mock does not have.
        """
        deployment, headers, spans = target.deployment, call.headers, call.spans
        accept, content_type = headers.get("accept"), headers.get("content-type")
        kind = (id(deployment), id(key), call.endpoint, call.stream, accept, content_type)
        prepared = self._prepared.get(kind) or self._prepare(kind, call, deployment, key)
        if (
            "model" not in spans
            or not prepared.edited.isdisjoint(spans)
            or call.stream
            or target.overrides
            or call.native is not None
            or call.hosted
            or call.options.disable_thinking
            or call.principal.models
            or call.messages.replayed
        ):
            content, dropped, asks_usage = _content(call, target, prepared)
        else:  # at most the model's name differs
            content, dropped, asks_usage = call.raw, (), False
            if call.model != deployment.model:
                view, model = memoryview(content), spans["model"]
                content = b"".join((view[: model.value], prepared.model, view[model.end :]))
        provider = deployment.provider
        return UpstreamRequest(
            prepared.url,
            prepared.headers,
            content,
            deployment.timeouts.connect,
            provider.proxy,
            provider.ca,
            mock=provider.mock,
            dropped=dropped,
            asks_usage=asks_usage,
            extra_headers=EMPTY if headers.keys() <= prepared.headers.keys() else _extra(headers, prepared.headers),
        )

    def _prepare(
        self, kind: tuple[object, ...], call: Call, deployment: Deployment, key: ProviderKey | None
    ) -> Prepared:
        """Prepare this kind of request. The result refers to `deployment` and `key`, so that their ids stay theirs."""
        if len(self._prepared) >= MAX_PREPARED:
            self._prepared.clear()
        prepared = self._prepared[kind] = _prepared(call, deployment, key)
        return prepared


def _prepared(call: Call, deployment: Deployment, key: ProviderKey | None) -> Prepared:
    if deployment.provider.dialect == "mock" and call.endpoint != "chat":
        raise InvalidRequest(f"`{deployment.name}`: the mock answers chat completions only.", param="model")
    provider, unsupported = deployment.provider, deployment.unsupported
    members = members_of(unsupported) if call.endpoint == "chat" else ()
    is_text = call.endpoint in ("chat", "completions")
    return Prepared(
        deployment,
        key,
        url=url_of(provider, deployment.model, _PATHS[call.endpoint]),
        headers=_headers(call, provider, key),
        model=to_json(deployment.model),
        asks_usage=is_text and provider.stream_usage == "ask" and "stream_options" not in unsupported,
        pairs=pairs_of(unsupported),
        members=members,
        edited=_EVERY
        if members or call.endpoint in FORMS
        else _EDITED.union(*(rule.split("+") for rule in unsupported)),
    )


def url_of(provider: Provider, model: str, path: str) -> str:
    """Return the URL of an endpoint."""
    base = provider.base_url.replace("{model}", quote(model, safe=""))
    query = "?" + urlencode({"api-version": provider.api_version}) if provider.api_version else ""
    return base + path + query


def _headers(call: Call, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    """Return the headers that do not depend on the client, except for `accept` and `content-type`."""
    headers = {
        "accept": "text/event-stream" if call.stream else "*/*" if call.kind == "audio" else "application/json",
        **{name: call.headers[name] for name in _SHARED if name in call.headers},
        **{name.lower(): value for name, value in provider.headers.items()},
        "accept-encoding": "identity",
    }
    if call.endpoint not in FORMS and "json" not in headers.get("content-type", ""):
        headers["content-type"] = "application/json"  # curl says that it sends a form
    return headers | credential(provider, key)


def _extra(headers: Mapping[str, str], prepared: Mapping[str, str]) -> Mapping[str, str]:
    """Return the client's headers that are not prepared; the provider's own have priority."""
    return {name: value for name, value in headers.items() if name not in prepared}


def _content(call: Call, target: Target, prepared: Prepared) -> tuple[bytes, tuple[str, ...], bool]:
    """Return the body, the client's parameters that it lacks, and whether it asks for usage on the proxy's behalf."""
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
