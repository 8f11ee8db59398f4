"""Checks for implausible provider URLs, with the likely correct URL.

Only mistakes that are certain or nearly so are reported: a path that Signalbox appends itself, a missing or repeated
version, a web page instead of an API, plain HTTP to a public host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from proxy.core.dialects import DIALECTS, DialectName

_APPENDED = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses|moderations|images/generations|messages(?:/count_tokens)?"
    r"|audio/(?:speech|transcriptions|translations)|complete|models)$"
)
_OLLAMA = re.compile(r"/api/(?:chat|generate|tags|show|embed|embeddings)$")
_VERSION = re.compile(r"/v[0-9]+[a-z0-9]*(?=/|$)")
_TWICE = re.compile(r"(/v[0-9]+[a-z0-9]*)(?:\1)+(?=/|$)")
_LOCAL = ("localhost", ".local", ".localhost", ".internal", ".svc", ".lan", ".home", ".corp", ".intranet", ".test")
_OTHER_PATHS = ("{model}", "/deployments/", "/serving-endpoints", "/inference", "/compat", "/openai", "/anthropic")
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com")
_PLACEHOLDER = re.compile(r"[<>]|(?:^|[/.])your[-_]", re.IGNORECASE)
_IN_HOSTS = re.compile(r"[^\x00-\x7f]|[a-z0-9_.:%-]")
_OLLAMA_PORT = 11434
_LONGEST_SHOWN = 200

# the paths that serve OpenAI's format, by host; the first is the usual one
_OPENAI_PATHS = {
    "api.openai.com": ("/v1",),
    "api.anthropic.com": ("/v1",),
    "generativelanguage.googleapis.com": ("/v1beta/openai", "/v1/openai", "/v1alpha/openai"),
    "api.mistral.ai": ("/v1",),
    "api.groq.com": ("/openai/v1",),
    "api.deepseek.com": ("", "/v1", "/beta"),
    "api.x.ai": ("/v1",),
    "openrouter.ai": ("/api/v1",),
    "api.together.xyz": ("/v1",),
    "api.fireworks.ai": ("/inference/v1",),
    "api.cerebras.ai": ("/v1",),
    "api.perplexity.ai": ("", "/v1"),
    "integrate.api.nvidia.com": ("/v1",),
    "api.deepinfra.com": ("/v1/openai",),
    "api.moonshot.ai": ("/v1",),
    "router.huggingface.co": ("/v1",),
    "api.sambanova.ai": ("/v1",),
    "dashscope.aliyuncs.com": ("/compatible-mode/v1",),
    "dashscope-intl.aliyuncs.com": ("/compatible-mode/v1",),
    "models.github.ai": ("/inference",),
    "api.githubcopilot.com": ("",),
}
# hosts of web pages to the host of the API
_PAGES = {
    "openai.com": "api.openai.com",
    "www.openai.com": "api.openai.com",
    "platform.openai.com": "api.openai.com",
    "chatgpt.com": "api.openai.com",
    "chat.openai.com": "api.openai.com",
    "anthropic.com": "api.anthropic.com",
    "www.anthropic.com": "api.anthropic.com",
    "console.anthropic.com": "api.anthropic.com",
    "platform.claude.com": "api.anthropic.com",
    "claude.ai": "api.anthropic.com",
    "ai.google.dev": "generativelanguage.googleapis.com",
    "aistudio.google.com": "generativelanguage.googleapis.com",
    "gemini.google.com": "generativelanguage.googleapis.com",
    "mistral.ai": "api.mistral.ai",
    "console.mistral.ai": "api.mistral.ai",
    "groq.com": "api.groq.com",
    "console.groq.com": "api.groq.com",
    "deepseek.com": "api.deepseek.com",
    "platform.deepseek.com": "api.deepseek.com",
    "x.ai": "api.x.ai",
    "console.x.ai": "api.x.ai",
}
_NATIVE_HOSTS = {
    name: urlsplit(row.default_url).hostname or "" for name, row in DIALECTS.items() if row.default_url is not None
}


@dataclass(slots=True)
class _Draft:
    """A URL under correction, with the mistakes found."""

    scheme: str
    host: str
    port: int | None
    path: str
    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.port else ''}{self.path}"

    def change(self, path: str, reason: str) -> None:
        """Replace the path and record the reason."""
        self.path = path.rstrip("/")
        self.reasons.append(reason)


def implausible(url: str, dialect: DialectName, *, vertex: bool = False, api_version: str | None = None) -> str | None:
    """Describe the mistakes in a well-formed `base_url`, with the likely correct URL; None if there are none."""
    parts = urlsplit(url)
    draft = _Draft(parts.scheme, parts.hostname or "", parts.port, parts.path.rstrip("/"))
    if unusable := _unusable(draft):
        return unusable
    _host(draft)
    _transport(draft, parts)
    _path(draft, dialect, vertex=vertex)
    if dialect == "openai":
        _openai(draft)
    elif not vertex:
        _native(draft, dialect)
    if draft.host.endswith(_AZURE) and "/deployments/" in draft.path and api_version is None:
        draft.reasons.append("needs `api_version`, such as `2024-10-21`, because it names a deployment")
    if not draft.reasons:
        return None
    likely = str(draft)
    same = likely == url or len(likely) > _LONGEST_SHOWN
    return " and ".join(draft.reasons) + ("" if same else f"; the likely address is `{likely}`")


def implausible_proxy(url: str) -> str | None:
    """Describe the mistake in a proxy URL; None if there is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "has a port that is not a number from 1 to 65535"
    if port == 0:
        return "has a port that is not a number from 1 to 65535"
    if port is None and not _ends_with_port(parts):
        default = 443 if parts.scheme == "https" else 80
        return f"has no port, so {default} is used; proxies often listen on 3128 or 8080"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "has a path or query, which is ignored; use only scheme, host and port"
    return None


def is_public(host: str) -> bool:
    """Whether a host name or address is public, judged by its form alone."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host.strip(".") and not host.endswith(_LOCAL)


def _ends_with_port(parts: SplitResult) -> bool:
    return bool(re.search(r":[0-9]+$", parts.netloc))


def _unusable(draft: _Draft) -> str | None:
    """What keeps an address from being one at all, so that nothing likely can be derived from it."""
    if draft.host in ("http", "https") and draft.path.startswith("//"):
        return f"has its scheme twice; the likely address is `{draft.host}:{draft.path}`"
    if _PLACEHOLDER.search(draft.host) or _PLACEHOLDER.search(draft.path):
        return "contains a placeholder; replace it"
    if ".." in draft.host or (invalid := _IN_HOSTS.sub("", draft.host)):
        return f"has `{'..' if '..' in draft.host else invalid[0]}` in its host, which is not valid there"
    return None


def _host(draft: _Draft) -> None:
    api = _PAGES.get(draft.host)
    if api is not None:
        draft.reasons.append(f"is a web site, not the API at `{api}`")
        draft.host, draft.path = api, ""


def _transport(draft: _Draft, parts: SplitResult) -> None:
    if draft.scheme == "http" and (draft.port == 443 or is_public(draft.host)):
        draft.reasons.append("sends keys and prompts unencrypted" if draft.port != 443 else "has the port of https")
        draft.scheme = "https"
        draft.port = None if draft.port in (80, 443) else draft.port
    elif draft.scheme == "https" and parts.port == 80:
        draft.reasons.append("has the port of http")
        draft.port = None


def _path(draft: _Draft, dialect: DialectName, *, vertex: bool) -> None:
    if "//" in draft.path:
        draft.change(re.sub("//+", "/", draft.path), "has `//` in its path")
    if _TWICE.search(draft.path):
        version = _TWICE.search(draft.path)
        draft.change(_TWICE.sub(r"\1", draft.path), f"has `{version[1] if version else ''}` twice")
    if ending := _appended(draft, dialect):
        compatible = ending.startswith("/openai")
        reason = "is for OpenAI's format, not for `dialect: gemini`" if compatible else "is added by Signalbox"
        draft.change(draft.path.removesuffix(ending), f"ends with `{ending}`, which {reason}")
    if vertex and not draft.path.endswith("/publishers/google"):
        base = draft.path.partition("/publishers")[0]
        draft.change(f"{base}/publishers/google", "does not end with `/publishers/google`")


def _ollama(draft: _Draft) -> str:
    """The end of the path that is for Ollama's own API, if it is there."""
    if draft.path.endswith("/api") and draft.port == _OLLAMA_PORT:
        return "/api"
    match = _OLLAMA.search(draft.path)
    return match[0] if match else ""


def _appended(draft: _Draft, dialect: DialectName) -> str:
    """The end of the path that the dialect appends itself; empty if absent."""
    own = DIALECTS[dialect].request_paths
    match = re.search(own, draft.path) if own and not draft.path.endswith("/publishers/google") else None
    match = match or _APPENDED.search(draft.path)
    return match[0] if match and not (match[0] == "/models" and draft.host.endswith(".azure.com")) else ""


def _openai(draft: _Draft) -> None:
    known = _OPENAI_PATHS.get(draft.host)
    if draft.host.endswith(_AZURE):
        known = ("/openai/v1",) if draft.path in ("", "/openai", "/openai/deployments", "/v1") else None
    if known is not None:
        if draft.path not in known:
            draft.change(known[0], f"does not have the path of this host's API, `{known[0] or '/'}`")
        return
    if own := _ollama(draft):
        draft.change(f"{draft.path.removesuffix(own)}/v1", f"ends with `{own}`, which is Ollama's own API")
    versioned = _VERSION.search(draft.path) or any(part in draft.path for part in _OTHER_PATHS)
    if not versioned and not draft.path.endswith("/api") and not draft.host.endswith((".azure.com", ".azure-api.net")):
        draft.change(f"{draft.path}/v1", "has no version such as `/v1` in its path")


def _native(draft: _Draft, dialect: DialectName) -> None:
    own = _NATIVE_HOSTS.get(dialect)
    if own is None or draft.host not in (*_OPENAI_PATHS, *_NATIVE_HOSTS.values()) or "/anthropic" in draft.path:
        return
    if draft.host != own and draft.host in ("api.openai.com", *_NATIVE_HOSTS.values()):
        draft.reasons.append(
            f"is the API of another vendor; set its dialect, or use the address for `dialect: {dialect}`"
        )
        draft.host, draft.path = own, ""
