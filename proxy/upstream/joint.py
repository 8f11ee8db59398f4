"""Joining of two streams: the beginning of a broken answer, and its continuation by another target.

Pure: no I/O. Both streams consist of OpenAI chat events, whatever the dialect of the provider.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from proxy.core.json_text import compact_nulled, object_of
from proxy.core.record import Continued
from proxy.core.sse import DONE, data_of, split
from proxy.core.usage import Usage
from proxy.dialects.openai.usage import usage_of

LONGEST = 1 << 20  # characters; a longer answer is not kept
LONGEST_GAP = 1024  # characters of trailing white space that are removed from the start of the continuation
_HEAD = ("id", "created", "model")


class SentText:
    """The text that the client has received, kept while it is `plain`: one unfinished text."""

    def __init__(self) -> None:
        self.plain = True
        self.head: dict[str, Any] = {}  # the members that all chunks have in common
        self._text = io.StringIO()  # takes less memory than a list of short strings

    @property
    def text(self) -> str:
        """The text so far, with surrogate pairs that arrived in two chunks joined."""
        return self._text.getvalue().encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def read(self, out: bytes) -> None:
        """Read whole events that were sent to the client."""
        for event in split(out) if self.plain else ():
            data = data_of(event)
            if data is not None and data.strip() and not self._takes(data):
                self.plain = False
                self._text = io.StringIO()
                return

    def _takes(self, data: bytes) -> bool:
        chunk = object_of(data)
        if chunk is None or chunk.get("error"):
            return False
        if not self.head and chunk.get("id"):
            self.head = {name: chunk[name] for name in _HEAD if name in chunk}
        return all(self._takes_choice(choice) for choice in _choices(chunk))

    def _takes_choice(self, choice: Any) -> bool:
        if not isinstance(choice, dict) or choice.get("index") or choice.get("finish_reason") or choice.get("logprobs"):
            return False
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict) or any(delta[name] for name in delta if name not in ("role", "content")):
            return False
        content = delta.get("content") or ""
        if not isinstance(content, str):
            return False
        self._text.write(content)
        return self._text.tell() <= LONGEST


class Joint:
    """Rewrites the events of the continuation so that they extend those already sent.

    `id`, `created` and `model` stay the same; the role is not repeated, nor is trailing white space, which the next
    target did not receive; usage covers both parts. The last chunk before `[DONE]` names the target that continued and
    the position.
    """

    def __init__(self, head: Mapping[str, Any], text: str, used: Usage, continued: Continued) -> None:
        self._head = head
        self._used = used
        self._continued = continued
        self._gap = text[len(text.rstrip()) :][-LONGEST_GAP:]
        self._repeated = ""
        self._over = False  # whether the final chunk was written

    def feed(self, piece: bytes) -> bytes:
        """Return the client's events for whole events of the continuation."""
        return b"".join([self._event(event) for event in split(piece)])

    def end(self) -> bytes:
        """Return the final chunk, unless it was written before `[DONE]`."""
        if self._over:
            return b""
        self._over = True
        router = {"continued": asdict(self._continued)}
        return _written({**self._head, "object": "chat.completion.chunk", "choices": [], "router": router})

    def _event(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is not None and data.strip() == DONE:
            return self.end() + event
        chunk = object_of(data or b"")
        if chunk is None:
            return event  # a comment, a keep-alive
        if chunk.get("error"):
            self._over = True
            return event
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            chunk["usage"] = self._of_both(usage)
        says = [self._joined(choice) for choice in _choices(chunk)]
        if says and not any(says) and not usage:
            return b""
        return _written({**chunk, **self._head})

    def _joined(self, choice: Any) -> bool:
        """Remove from a choice what the client already has; return whether anything is left."""
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            return True
        changed = "role" in delta
        delta.pop("role", None)
        content = delta.get("content")
        if isinstance(content, str) and content:
            delta["content"] = self._after_gap(content)
            changed = changed or delta["content"] != content
        return not changed or bool(choice.get("finish_reason")) or any(delta.values())

    def _after_gap(self, text: str) -> str:
        """Return `text` without leading white space that the client already has."""
        for place, character in enumerate(text):
            if self._repeated + character not in self._gap:
                self._gap = ""
                return text[place:]
            self._repeated += character
        return ""

    def _of_both(self, usage: dict[str, Any]) -> dict[str, Any]:
        rest = usage_of(usage) or Usage()
        read, written = self._used.input + rest.input, self._used.output + rest.output
        return {**usage, "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _choices(chunk: Mapping[str, Any]) -> list[Any]:
    choices = chunk.get("choices")
    return choices if isinstance(choices, list) else []


def _written(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + compact_nulled(chunk) + b"\n\n"
