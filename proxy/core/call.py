"""One request of a client: its body, its model and its routing options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.agents import AgentUse
from proxy.core.body import parse
from proxy.core.dialects import DialectName, NativeFormat
from proxy.core.errors import InvalidRequest
from proxy.core.messages import UNKNOWN, MessageFacts
from proxy.core.model import EMPTY, Kind, Mode, Provider
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.core.spans import Span
from proxy.core.turn import Turn


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """The client's routing options, from the body's `router` object or the `x-router-*` headers."""

    mode: Mode | None = None
    max_cost_usd: float | None = None
    max_latency_ms: float | None = None
    require: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    key_id: str | None = None
    client_id: str | None = None
    task: str | None = None
    debug: bool = False
    max_wait_seconds: float | None = None
    disable_thinking: bool = False
    fallbacks: tuple[str, ...] = ()
    conversation: str | None = None  # a stored conversation that the call continues


NO_OPTIONS = RouterOptions()


@dataclass(frozen=True, slots=True)
class NativeRequest:
    """A client's own body, which passes unchanged, but for the model, to a target that speaks its format."""

    format: NativeFormat
    raw: bytes = field(repr=False)
    spans: Mapping[str, Span] = field(repr=False)  # of the top-level members in `raw`
    query: str = ""  # of the client's URL, without `?`; of Google's only `alt=sse`
    headers: Mapping[str, str] = field(
        default_factory=lambda: EMPTY, repr=False
    )  # for such a target besides `Call.headers`
    operation: str = ""  # `generate`: the method, such as `generateContent`; `messages`: "" or `count_tokens`
    dropped: tuple[str, ...] = ()  # what the client sent and `raw` lacks, because no target can read it
    translated: bool = False  # for every target, because `raw` lacks the stored messages that the call continues

    @property
    def events(self) -> bool:
        """Whether a streamed answer consists of events; Google's is one JSON array without `alt=sse`."""
        return self.format != "generate" or self.query == "alt=sse"

    def member(self, name: str) -> Any:
        """Return the value of a top-level member; `None` without it."""
        span = self.spans.get(name)
        return None if span is None else parse(b'{"value":' + self.raw[span.value : span.end] + b"}").body["value"]


COUNTING = "count_tokens"  # the endpoint of calls that only count tokens, of every surface


@dataclass(slots=True, eq=False)
class Call:
    """One parsed client request: `raw` as received, `body` without `router`. Do not modify it after it is made."""

    id: str  # assigned by the proxy: req_...
    request_id: str  # from the client if it is valid, else assigned by the proxy
    endpoint: str  # chat, count_tokens, embeddings, ...: see `surfaces/openai/endpoints.py`
    raw: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    model: str
    stream: bool
    usage_asked: bool  # the client requests the stream's usage chunk
    options: RouterOptions
    headers: Mapping[str, str] = field(repr=False)  # allow-listed, lower case, to be sent upstream
    snapshot: Snapshot = field(repr=False)
    kind: Kind = "chat"  # the kind of model that can serve it
    principal: Principal = UNKNOWN_CALLER  # the queue shares capacity evenly between callers
    spans: Mapping[str, Span] = field(default_factory=lambda: EMPTY, repr=False)  # of the top-level members in `raw`
    messages: MessageFacts = UNKNOWN  # what is in the messages of a chat
    native: NativeRequest | None = None  # the client's body, if it is not in OpenAI's chat format
    dropped: tuple[str, ...] = ()  # members of that body that chat does not have: named unless the target is native
    refused: InvalidRequest | None = None  # why only a native target can serve the call
    hosted: tuple[Mapping[str, Any], ...] = ()  # web searches for a provider; as in the Responses API, with `max_uses`
    forced: InvalidRequest | None = None  # a web search must be made: the error of a target that cannot
    count: Callable[[int], bytes] | None = None  # it only asks for the tokens of its input: returns the answer's body
    turn: Turn | None = None  # what it reads from, and adds to, stored dialogs
    family: DialectName | None = None  # an open tool loop carries signatures of this family of models
    agent: AgentUse | None = None  # the agent whose instructions, tools and parameters are in `raw`

    def passes_to(self, provider: Provider) -> bool:
        """Return whether the client's own body passes unchanged to a provider, because that speaks its format."""
        native = self.native
        return native is not None and native.format == provider.native_format and not native.translated
