"""Behaviours, requests and texts, for the scripted upstream and the checks that control it.

Every text names its request and its own length, so that whoever reads it can tell a whole one from a torn, doubled or
mixed one without asking anybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

End = Literal["whole", "fin", "rst", "stall"]
DEFAULT_COOLDOWN = 5.0  # seconds, of a key after a 429 without `retry-after`
_WORD = re.compile(r"(\d+):(\d+)/(\d+) ")


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered. Times are seconds."""

    weight: float = 1.0  # how often, relative to the others of the same mix
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None  # of an error
    message: str = "injected"  # of an error
    before: float = 0.0  # from the request to the head
    first: float = 0.0  # streams: from the head to the first content
    pace: float = 0.0  # streams: between two pieces of content; 0 writes them all at once
    words: int = 5  # the length of the text
    end: End = "whole"
    after: int | None = (
        None  # pieces of content before a cut or stall (not streamed: 0 or more is mid-body); None: no head
    )


@dataclass
class Seen:
    """A request that the upstream received completely; times are of the monotonic clock."""

    serial: int
    provider: str
    model: str
    key: str | None
    stream: bool
    call: str  # the text of the last message, by which clients name the call
    at: float
    connection: int
    turn: int  # its number among the requests of its connection, from 1
    status: int = 0
    cooldown: float = 0.0  # seconds, of a 429
    end: End = "whole"
    sent: int = 0  # pieces of content
    done_at: float | None = None  # when the scripted part of the answer was written
    gone_at: float | None = None  # when the client left before that

    @property
    def broken(self) -> bool:
        """A stream that was cut or stalled after content, by the upstream."""
        return self.stream and self.end != "whole" and self.sent > 0


def cooldown_of(behaviour: Behaviour) -> float:
    """Return the cooldown of a key after such an answer, in seconds; an invalid `retry-after` is ignored."""
    if behaviour.status != 429:
        return 0.0
    if milliseconds := behaviour.headers.get("retry-after-ms"):
        return float(milliseconds) / 1000
    seconds = behaviour.headers.get("retry-after", "")
    return float(seconds) if seconds.isdecimal() else DEFAULT_COOLDOWN


def text_of(serial: int, words: int) -> str:
    """Return the text of an answer."""
    return "".join(pieces(serial, words))


def pieces(serial: int, words: int) -> list[str]:
    """Return the words of an answer."""
    return [f"{serial}:{number}/{words} " for number in range(1, words + 1)]


def is_whole(text: str) -> bool:
    """Return whether a text is the complete answer to one request."""
    match = _WORD.match(text)
    return match is not None and text == text_of(int(match[1]), int(match[3]))


def is_beginning(text: str) -> bool:
    """Return whether a text is the beginning of the answer to one request."""
    match = _WORD.match(text)
    return match is not None and text_of(int(match[1]), int(match[3])).startswith(text)


def serial_of(text: str) -> int | None:
    """Return the serial number of the request that a text answers."""
    match = _WORD.match(text)
    return int(match[1]) if match else None


def to_json(value: Behaviour | Seen) -> dict[str, Any]:
    """Return a value as JSON, for the other process."""
    return asdict(value)


def chunk(delta: Mapping[str, Any] | None, finish: str | None = None, **fields: Any) -> bytes:
    """Return an event of a chat stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-load", "object": "chat.completion.chunk", "created": 1700000000, "model": "scripted"}
    return b"data: " + json.dumps({**head, "choices": choices, **fields}).encode() + b"\n\n"


def usage(words: int) -> dict[str, int]:
    """Return a usage of seven input tokens and one output token for each word."""
    return {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words}


def completion(serial: int, words: int) -> bytes:
    """Return an answer in one piece."""
    message = {"role": "assistant", "content": text_of(serial, words)}
    body = {
        "id": "chatcmpl-load",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage(words),
    }
    return json.dumps(body).encode()


def error(behaviour: Behaviour) -> bytes:
    """Return an error body of OpenAI."""
    kind = "invalid_request_error" if behaviour.status < 500 else "server_error"
    body = {"message": behaviour.message, "type": kind, "param": None, "code": behaviour.code}
    return json.dumps({"error": body}).encode()
