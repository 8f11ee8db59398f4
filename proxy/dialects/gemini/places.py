"""Order of an answer's parts, so that the next turn can repeat signed parts at their positions.

OpenAI's message has one text, besides images, calls and Google's own parts. Signatures of calls and images are in their
entries (`extra_content.google.thought_signature`), that of the text in the message, as in Google's OpenAI-compatible
endpoint. If a text is signed, or if the order differs from Google's parts, text, images, calls, the member
`extra_content.google.parts` of the message has the order and the length of each text:

    [{"text": 12}, {"image": 0}, {"text": 0, "thought_signature": "..."}, {"call": 0}]

Source: ai.google.dev/gemini-api/docs/thought-signatures ("return the signature in the exact part").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Part = dict[str, Any]
Kind = Literal["part", "text", "image", "call"]

SIGNATURE = "thought_signature"
_USUAL: tuple[Kind, ...] = ("part", "text", "image", "call")


class PartOrder:
    """Records the order of an answer's parts."""

    def __init__(self) -> None:
        self._noted: list[dict[str, Any]] = []
        self._counts: dict[Kind, int] = {"part": 0, "image": 0, "call": 0}
        self._is_plain = True  # only unsigned text and calls

    def text(self, length: int, signature: str | None) -> None:
        """Record a piece of text; consecutive unsigned pieces are one part."""
        last = self._noted[-1] if self._noted else {}
        if signature is None and "text" in last and SIGNATURE not in last:
            last["text"] += length
        elif signature is None:
            if length:
                self._noted.append({"text": length})
        else:
            self._is_plain = False
            self._noted.append({"text": length, SIGNATURE: signature})

    def other(self, kind: Kind, *, signed: bool = False) -> None:
        """Record a call, an image, or a part of Google's own."""
        self._is_plain = self._is_plain and kind == "call" and not signed
        self._noted.append({kind: self._counts[kind]})
        self._counts[kind] += 1

    def extra(self) -> dict[str, Any] | None:
        """Return the message's `extra_content.google`, or `None` if the order is the usual one."""
        if self._is_plain:
            return None
        kinds = [next(iter(note)) for note in self._noted]
        signatures = [note[SIGNATURE] for note in self._noted if SIGNATURE in note]
        extra: dict[str, Any] = {SIGNATURE: signatures[-1]} if signatures else {}
        if signatures or kinds.count("text") > 1 or kinds != sorted(kinds, key=lambda kind: _USUAL.index(kind)):
            extra["parts"] = self._noted
        return extra or None


def google_of(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `extra_content.google` of a message, a call or an image."""
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return google if isinstance(google, dict) else {}


def signature_of(holder: Mapping[str, Any]) -> str | None:
    """Return the thought signature of a message, a call or an image."""
    signature = google_of(holder).get(SIGNATURE)
    return signature if isinstance(signature, str) and signature else None


def placed(notes: Any, text: str, others: Mapping[Kind, list[Part]]) -> list[Part] | None:
    """Return the parts in the order of `notes`; None if the notes do not match the message."""
    parts: list[Part] = []
    at = 0
    left = {kind: iter(found) for kind, found in others.items()}
    for note in notes if isinstance(notes, list) else ():
        if not isinstance(note, dict):
            return None
        length = note.get("text")
        if isinstance(length, int) and length >= 0:
            parts.append(_text(text[at : at + length], note.get(SIGNATURE)))
            at += length
            continue
        part = next((next(left[kind], None) for kind in left if kind in note), None)
        if part is None:
            return None
        parts.append(part)
    complete = at == len(text) and all(next(rest, None) is None for rest in left.values())
    return parts if complete and parts else None


def _text(text: str, signature: Any) -> Part:
    return {"text": text, "thoughtSignature": signature} if isinstance(signature, str) and signature else {"text": text}
