"""Thought signatures: what a model needs back with the next turn, inside `thoughtSignature` of Google's parts.

The field holds bytes in base64, which SDKs decode and encode again, also in the URL-safe alphabet. A signature of
Google itself passes as it is, because its models check it; those of other models are sealed
(`proxy/surfaces/carriers.py`) and encoded.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from proxy.surfaces.carriers import is_carrier

_SKIPS = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")  # Google's; they sign nothing
_SIGN_NOTHING = frozenset({*_SKIPS, *[base64.b64encode(text.encode()).decode() for text in _SKIPS]})
_SKIP = base64.b64encode(_SKIPS[0].encode()).decode()
_NAMES = ("thoughtSignature", "thought_signature")
_CALLS = ("functionCall", "function_call")
_TO_STANDARD = str.maketrans("-_", "+/")


def wrapped(carrier: str) -> str:
    """Return a carrier as a `thoughtSignature`."""
    return base64.b64encode(carrier.encode()).decode()


def unwrapped(signature: str) -> str | None:
    """Return the carrier in a `thoughtSignature`; `None` if it is a signature of Google."""
    text = signature.translate(_TO_STANDARD).rstrip("=")
    try:
        carrier = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return carrier if is_carrier(carrier) else None


def signs(signature: str) -> bool:
    """Return whether a signature of Google signs anything."""
    return signature not in _SIGN_NOTHING


def extra(signature: str) -> dict[str, Any]:
    """Return the member of a tool call or a message with a signature of Google, as its compatible API has it."""
    return {"extra_content": {"google": {"thought_signature": signature}}}


def signature_of(holder: Any) -> str | None:
    """Return the signature of Google in a tool call or a message of a chat."""
    content = holder.get("extra_content") if isinstance(holder, dict) else None
    google = content.get("google") if isinstance(content, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def without_carriers(contents: Any) -> tuple[Any, bool]:
    """Return contents for Google's models without carriers, and whether there were any.

    A call gets the value in place of it that skips the check of signatures, because Gemini 3 rejects calls without one.
    """
    if not isinstance(contents, list):
        return contents, False
    kept = [_without_carriers(content) for content in contents]
    return kept, kept != contents


def _without_carriers(content: Any) -> Any:
    parts = content.get("parts") if isinstance(content, dict) else None
    return {**content, "parts": [_without_carrier(part) for part in parts]} if isinstance(parts, list) else content


def _without_carrier(part: Any) -> Any:
    name = next((name for name in _NAMES if isinstance(part, dict) and isinstance(part.get(name), str)), None)
    if name is None or unwrapped(part[name]) is None:
        return part
    if any(call in part for call in _CALLS):
        return {**part, name: _SKIP}
    return {key: value for key, value in part.items() if key != name}
