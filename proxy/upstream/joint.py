"""Two streams made one: what a client has of an answer that broke off, and the rest of it from somewhere else.

Nothing here does I/O. Both streams are events of OpenAI's chat, whatever API they came from.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from proxy.core.json_text import compact_nulled, object_of
from proxy.core.sse import DONE, data_of, split
from proxy.core.types import Continued, Usage
from proxy.dialects.openai.usage import usage_of

LONGEST = 1 << 20  # characters of an answer that are kept
LONGEST_GAP = 1024  # characters of white space at its end that are looked for at the beginning of the rest
_HEAD = ("id", "created", "model")


class Said:
    """What the client has of an answer, kept for as long as it is `plain`: a text that is not finished."""

    def __init__(self) -> None:
        self.plain = True
        self.head: dict[str, Any] = {}  # what every chunk has in common
        self._text = io.StringIO()  # pieces of a few characters each would take many times their size

    @property
    def text(self) -> str:
        """The text so far. Halves of a character that came one by one are put together."""
        return self._text.getvalue().encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def read(self, out: bytes) -> None:
        """Take whole events."""
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
    """Makes the rest's events such that they go on with those that the client has.

    `id`, `created` and `model` stay what they were, the role does not come again, nor does the white space that the
    text ended with and that the next target did not see; usage is of both parts. The last chunk before `[DONE]` says
    who went on, and where.
    """

    def __init__(self, head: Mapping[str, Any], text: str, used: Usage, continued: Continued) -> None:
        self._head = head
        self._used = used
        self._continued = continued
        self._gap = text[len(text.rstrip()) :][-LONGEST_GAP:]
        self._repeated = ""
        self._over = False  # nothing is to be added any more

    def feed(self, piece: bytes) -> bytes:
        """What whole events of the rest are for the client."""
        return b"".join([self._event(event) for event in split(piece)])

    def end(self) -> bytes:
        """What is missing where the upstream sent no `[DONE]`."""
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
        """Take out of a choice what the client has already; whether anything is left of it."""
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
        """Without the white space at the rest's beginning that is in the gap: the client has it."""
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
