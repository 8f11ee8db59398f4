"""An upstream that gives coding agents one tool call and then a text, in the formats of OpenAI, Anthropic and Google.

The model's name selects what happens: `good` answers; `dying` closes the connection before the first token; `cut` stops
in the middle of an answer; `limited` responds with 429.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

COMMAND = "printf %s-%s signalbox 42"
PRINTED = "signalbox-42"  # by the command, and not part of it
PIECES = ("The answer ", "is forty-two.")
TEXT = "".join(PIECES)
_TOOLS = {  # the tool of each agent that runs a command, with its arguments
    "exec_command": {"cmd": COMMAND},
    "Bash": {"command": COMMAND, "description": "print"},
    "run_shell_command": {"command": COMMAND, "description": "print"},
}


class Broken(Exception):
    """Ends a response in the middle."""


@dataclass
class ToolUpstream:
    """The application, and the bodies of its requests for a turn, in order."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1beta/models/{model}:{method}", self._generate, methods=["POST"]),
            ]
        )

    @property
    def saw_the_result(self) -> bool:
        """Whether a request has contained what the command printed."""
        return any(PRINTED in json.dumps(body) for body in self.bodies)

    def _note(self, body: dict[str, Any], model: str) -> dict[str, Any] | None:
        """Keep a request; return the tool to call, with `name` and `arguments`, or `None` for a text."""
        self.bodies.append(body)
        self.models.append(model)
        text = json.dumps(body)
        name = next((name for name in _TOOLS if f'"name": "{name}"' in text), None)
        return None if name is None or PRINTED in text else {"name": name, "arguments": _TOOLS[name]}

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        tool = self._note(body, body["model"])
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if tool is None:
            deltas += [{"content": piece} for piece in PIECES]
        else:
            function = {"name": tool["name"], "arguments": json.dumps(tool["arguments"])}
            deltas += [{"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}]
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        finish = {"index": 0, "delta": {}, "finish_reason": "stop" if tool is None else "tool_calls"}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        end = [{**head, "choices": [finish]}, {**head, "choices": [], "usage": usage}]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in (*chunks, *end)]
        return _answer(body["model"], [*lines, "data: [DONE]\n\n"], kept=len(deltas))

    async def _messages(self, request: Request) -> Response:
        body = await request.json()
        tool = self._note(body, body["model"])
        usage = {"input_tokens": 9, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": []}
        events: list[dict[str, Any]] = [
            {
                "type": "message_start",
                "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage},
            }
        ]
        if tool is None:
            block: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in PIECES]
        else:
            block = {"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(tool["arguments"])}]
        events.append({"type": "content_block_start", "index": 0, "content_block": block})
        events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
        kept = len(events)
        reason = "end_turn" if tool is None else "tool_use"
        stopped = {"stop_reason": reason, "stop_sequence": None}
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stopped, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ]
        lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
        return _answer(body["model"], lines, kept=kept)

    async def _generate(self, request: Request) -> Response:
        body, model = await request.json(), request.path_params["model"]
        if request.path_params["method"] == "generateContent":  # the agent's own routing, which may fail
            return JSONResponse({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}, 400)
        tool = self._note(body, model)
        parts: list[dict[str, Any]] = [{"text": piece} for piece in PIECES]
        if tool is not None:
            parts = [{"functionCall": {"name": tool["name"], "args": tool["arguments"]}}]
        chunks = [{"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]} for part in parts]
        usage = {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}
        last: dict[str, Any] = {"candidates": [{"content": {"parts": []}, "finishReason": "STOP", "index": 0}]}
        lines = [f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in (*chunks, {**last, "usageMetadata": usage})]
        return _answer(model, lines, kept=len(parts))


def _answer(model: str, lines: Sequence[str], *, kept: int) -> Response:
    """Return the stream of a model; `kept` lines are sent before a cut."""
    if "limited" in model:
        error = {"message": "Slow down.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
        return JSONResponse({"type": "error", "error": error}, 429, {"retry-after": "1"})
    kept = 0 if "dying" in model else kept if "cut" in model else len(lines)

    async def body() -> AsyncIterator[str]:
        for line in lines[:kept]:
            yield line
        if kept < len(lines):
            raise Broken

    return StreamingResponse(body(), media_type="text/event-stream")
