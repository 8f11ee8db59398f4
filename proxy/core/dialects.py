"""The table of dialects: what the configuration and the upstream must know of each without importing its translator.

A new dialect is a row here and a folder in `proxy/dialects` with a `dialect.py` that has a function `build`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

DialectName = Literal["openai", "anthropic", "gemini", "mock"]
NativeFormat = Literal["messages", "responses", "generate"]  # formats of clients that a provider may speak itself


@dataclass(frozen=True, slots=True)
class DialectRow:
    """What is known of one dialect."""

    module: str  # has `build(recall, clock)`; imported when the dialect is first used
    default_url: str | None = None  # of the vendor's own API; None: `base_url` must be set
    key_header: str = "authorization"  # the header that carries the key
    settings: tuple[str, ...] = ()  # settings of a provider that only this dialect has
    request_paths: str = ""  # a pattern for the end of the vendor's URLs that the dialect appends to `base_url`
    native: NativeFormat | None = None  # the format of clients whose bodies pass unchanged
    local: bool = False  # answered in this process: it has no address and needs no network


DIALECTS: Mapping[DialectName, DialectRow] = MappingProxyType(
    {
        "openai": DialectRow("proxy.dialects.openai.dialect", settings=("responses",), native="responses"),
        "anthropic": DialectRow(
            "proxy.dialects.anthropic.dialect",
            default_url="https://api.anthropic.com",
            key_header="x-api-key",
            settings=("prompt_cache",),
            native="messages",
        ),
        "gemini": DialectRow(
            "proxy.dialects.gemini.dialect",
            default_url="https://generativelanguage.googleapis.com",
            key_header="x-goog-api-key",
            settings=("vertex",),
            native="generate",
            request_paths=r"/(?:openai(?:/.*)?|(?:models|tunedModels)(?:/[^/]*)?)$",
        ),
        "mock": DialectRow(
            "proxy.dialects.openai.dialect",  # its answers have OpenAI's format
            settings=("seed", "latency", "failure_rate", "faults", "tokens"),
            local=True,
        ),
    }
)

NATIVE: Mapping[NativeFormat, str] = MappingProxyType(
    {
        "messages": "proxy.dialects.anthropic.native",
        "responses": "proxy.dialects.openai.native",
        "generate": "proxy.dialects.gemini.native",
    }
)
"""The modules that pass native bodies through; each has `build(recall, clock)`, and is imported at its first use."""
