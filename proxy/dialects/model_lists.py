"""The list of a provider's models: the one request that costs nothing and shows that it is there and takes our key.

Sources: OpenAI's API reference (`GET /v1/models`), Azure OpenAI's (`GET /openai/models?api-version=`), Anthropic's
(`GET /v1/models` with `anthropic-version`) and Gemini's (`GET /v1beta/models`). Vertex has no such list.
"""

from __future__ import annotations

from urllib.parse import urlencode

from proxy.core.model import Provider, ProviderKey
from proxy.core.wire import UpstreamRequest

_ANTHROPIC_VERSION = "2023-06-01"
_GEMINI_VERSIONS = ("/v1", "/v1beta", "/v1alpha", "/v1beta1")


def model_list(provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
    """The request for the list, or None where the provider has none."""
    url = _url(provider)
    if url is None:
        return None
    headers = {"accept": "application/json"}
    if provider.dialect == "anthropic":
        headers["anthropic-version"] = provider.api_version or _ANTHROPIC_VERSION
    headers |= {name.lower(): value for name, value in provider.headers.items()}
    headers["accept-encoding"] = "identity"
    if key is not None:
        name = provider.auth_header.lower()
        headers[name] = f"Bearer {key.value}" if name == "authorization" else key.value
    return UpstreamRequest(url, headers, b"", provider.timeouts.connect, provider.proxy, provider.ca, method="GET")


def _url(provider: Provider) -> str | None:
    base = provider.base_url.rstrip("/")
    if provider.dialect == "mock" or provider.vertex:
        return None
    if provider.dialect == "anthropic":
        return f"{base}/models?limit=1" if base.endswith("/v1") else f"{base}/v1/models?limit=1"
    if provider.dialect == "gemini":
        return f"{base}{'' if base.endswith(_GEMINI_VERSIONS) else '/v1beta'}/models?pageSize=1"
    base = base.partition("/deployments/{model}")[0]  # Azure's list is beside its deployments
    if "{model}" in base:
        return None
    return f"{base}/models" + ("?" + urlencode({"api-version": provider.api_version}) if provider.api_version else "")
