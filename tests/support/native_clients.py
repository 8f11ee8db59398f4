"""Clients of the Messages, Responses and generateContent APIs: what they send, and what they see of an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from proxy.core.sse import data_of, split
from tests.support.natives import ANTHROPIC, GEMINI, RESPONSES, WireFormat


@dataclass
class Seen:
    """What a client sees: the `text`, and whether the answer is `whole` or an `error`."""

    status: int
    headers: httpx.Headers
    raw: bytes
    text: str = ""
    whole: bool = False
    error: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Client:
    """A client of one API."""

    name: str
    wire_format: WireFormat
    path: str
    body: dict[str, Any]
    read: Callable[[Seen, dict[str, Any]], None]

    def ask(self, http: httpx.Client, url: str, model: str, *, stream: bool, **more: Any) -> Seen:
        """Make one call; a connection that breaks is an error too."""
        body = {**self.body, **more}
        path = self.path
        if self.name == "generate":
            path += f"{model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
        else:
            body |= {"model": model, **({"stream": True} if stream else {})}
        pieces: list[bytes] = []
        broken = None
        with http.stream("POST", url + path, json=body, headers={"authorization": "Bearer sb-client"}) as answer:
            try:
                pieces += answer.iter_raw()
            except httpx.RemoteProtocolError as error:
                broken = str(error)
        seen = Seen(answer.status_code, answer.headers, b"".join(pieces), error=broken)
        self._read(seen, stream=stream and answer.status_code == 200)
        return seen

    def _read(self, seen: Seen, *, stream: bool) -> None:
        if not stream:
            seen.events = [json.loads(seen.raw)]
        else:
            found = [_data_of(event) for event in split(seen.raw)]
            seen.events = [json.loads(data) for data in found if data and data.strip() != b"[DONE]"]
        for value in seen.events:
            error = value.get("error")
            if isinstance(error, dict):
                seen.error = str(error.get("message"))
            self.read(seen, value)


def _data_of(event: bytes) -> bytes | None:
    """Return the data of an event, also without its empty line; or the bare JSON with which Google reports errors."""
    text = event.strip()
    return text if text.startswith(b"{") else data_of(text + b"\n\n")


def _message(seen: Seen, value: dict[str, Any]) -> None:
    match value.get("type"):
        case "content_block_delta":
            seen.text += value["delta"].get("text", "")
        case "message_stop":
            seen.whole = True
        case "message":
            seen.text = "".join(block.get("text", "") for block in value["content"])
            seen.whole = value["stop_reason"] == "end_turn"


def _response(seen: Seen, value: dict[str, Any]) -> None:
    match value.get("type", value.get("object")):
        case "response.output_text.delta":
            seen.text += value["delta"]
        case "response.completed":
            seen.whole = True
        case "response.failed":
            seen.error = value["response"]["error"]["message"]
        case "error":
            seen.error = value.get("message") or value["error"]["message"]
        case "response":
            parts = [part for item in value["output"] for part in item.get("content", ())]
            seen.text = "".join(part.get("text", "") for part in parts)
            seen.whole = value["status"] == "completed"


def _generated(seen: Seen, value: dict[str, Any]) -> None:
    for candidate in value.get("candidates", ()):
        for part in candidate.get("content", {}).get("parts", ()):
            seen.text += part.get("text", "")
        seen.whole = seen.whole or candidate.get("finishReason") == "STOP"


HELLO = [{"role": "user", "content": "Say the words."}]
MESSAGES = Client("messages", ANTHROPIC, "/v1/messages", {"max_tokens": 100, "messages": HELLO}, _message)
ANSWERS = Client("responses", RESPONSES, "/v1/responses", {"input": "Say the words.", "store": False}, _response)
GENERATE = Client(
    "generate",
    GEMINI,
    "/v1beta/models/",
    {"contents": [{"role": "user", "parts": [{"text": "Say the words."}]}]},
    _generated,
)
