"""The input of a Responses call for a target that has this API itself, where other providers gave earlier answers.

Such a target rejects encrypted content that it has not made. Reasoning with a carrier (`proxy/surfaces/carriers.py`)
is left out, and a compaction that Signalbox made becomes a message with its summary. Other inputs keep their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.core.call import NativeRequest
from proxy.core.dialects import DialectName
from proxy.surfaces.carriers import PREFIX, Carried, edited, is_carrier

Item = Mapping[str, Any]
Unseal = Callable[[str], Carried | None]
SummaryText = Callable[[Carried], str | None]


def opened(native: NativeRequest, items: Any, unseal: Unseal, summary_of: SummaryText) -> NativeRequest:
    """Return the request without carriers. `items` is its `input`; `summary_of` returns the text of a compaction."""
    if PREFIX.encode() not in native.raw or not isinstance(items, list):
        return native
    kept = [other for item in items for other in _opened_item(item, unseal, summary_of)]
    return edited(native, {"input": kept}, dropped=("input.reasoning",)) if kept != items else native


def native_family(items: Sequence[Any]) -> DialectName | None:
    """Return `openai` if an open tool loop carries reasoning that a provider with the Responses API has encrypted.

    A loop is open if results of tools follow the last message of the user.
    """
    results = False
    for item in reversed(items):
        kind = item.get("type", "message") if isinstance(item, dict) else ""
        results = results or str(kind).endswith("_output")
        if not results or (kind == "message" and item.get("role") != "assistant"):
            return None
        sealed = item.get("encrypted_content") if kind == "reasoning" else None
        if sealed:
            return None if is_carrier(sealed) else "openai"
    return None


def _opened_item(item: Any, unseal: Unseal, summary_of: SummaryText) -> list[Any]:
    sealed = item.get("encrypted_content") if isinstance(item, dict) else None
    if not is_carrier(sealed):
        return [item]
    carried = unseal(str(sealed))
    summary = summary_of(carried) if carried is not None else None
    if summary is None:
        return []
    return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": summary}]}]
