"""DeepSeek's models as of 2026-11, for `/chat/completions`.

Sources: the vendor's pages on models and the thinking mode, read in November 2026. The thinking mode ignores
temperature and penalties without an error, so they are not listed as unsupported. The API limits the answer by
`max_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.catalogue.entry import Entry, Vendor

_PRICES = "https://api-docs.deepseek.com/quick_start/pricing"
_UNKNOWN = ("max_completion_tokens", "messages.developer")
_OFF = {"thinking": {"type": "disabled"}}


def _on(effort: str) -> Mapping[str, Any]:
    return {"thinking": {"type": "enabled"}, "reasoning_effort": effort}


# the vendor's mapping of efforts
_THINKING = {
    "minimal": _on("low"),
    "low": _on("low"),
    "medium": _on("high"),
    "high": _on("high"),
    "xhigh": _on("high"),
    "max": _on("max"),
}

DEEPSEEK = Vendor(
    "deepseek",
    ("api.deepseek.com",),
    "openai",
    (
        Entry(
            "deepseek-flash",
            source=_PRICES,
            context_window=1_000_000,
            max_output=384_000,
            capabilities=("tools", "vision", "reasoning"),
            unsupported=_UNKNOWN,
            thinking=_THINKING,
            thinking_off=_OFF,
            aliases=("deepseek-v4-flash",),
        ),
        Entry(
            "deepseek-v4-pro",
            source=_PRICES,
            context_window=1_000_000,
            max_output=384_000,
            capabilities=("tools", "reasoning"),
            unsupported=_UNKNOWN,
            thinking=_THINKING,
            thinking_off=_OFF,
        ),
    ),
)
