"""Tool loops without sockets: clients of each surface, and upstreams of each dialect that sign what they answer.

A client keeps a history of `Block`s, as its surface gave them, and writes it into the next request of any surface.
`UPSTREAMS` write an answer of a dialect, and find in a request what earlier answers of the dialect had.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Event = dict[str, Any]
AGAIN = "Go on."  # follows an answer without calls


@dataclass(frozen=True)
class Block:
    """A part of an answer. `kind` is `thinking`, `text` or `call`; `sealed` is what a thinking block carries.

    A client of chat has one block, `message`, with the whole message as JSON.
    """

    kind: str
    text: str = ""
    sealed: str = ""
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Step:
    """An answer of a model: the blocks that the client got, and the results of its calls."""

    blocks: list[Block]

    @property
    def calls(self) -> list[Block]:
        """The calls, which the client answers."""
        if [block.kind for block in self.blocks] == ["message"]:
            calls = json.loads(self.blocks[0].text).get("tool_calls") or ()
            return [Block("call", id=call["id"]) for call in calls]
        return [block for block in self.blocks if block.kind == "call"]


class Client(Protocol):
    """A client of one surface."""

    route: str  # of the table of surfaces

    def path(self, *, stream: bool) -> str:
        """Return the path of a request."""
        ...

    def request(self, question: str, steps: Sequence[Step], *, stream: bool) -> bytes:
        """Return the body of the next request."""
        ...

    def blocks(self, answer: bytes, *, stream: bool) -> list[Block]:
        """Return the blocks of an answer."""
        ...


def events(answer: bytes) -> list[Event]:
    """The JSON of all events of a stream."""
    lines = [line for line in answer.decode().splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


class ChatClient:
    """It returns the messages of answers with all their members; deltas are joined by their `index`."""

    route = "/v1/chat/completions"

    def path(self, *, stream: bool) -> str:
        return self.route

    def request(self, question: str, steps: Sequence[Step], *, stream: bool) -> bytes:
        messages: list[Event] = [{"role": "user", "content": question}]
        for step in steps:
            messages.append(json.loads(step.blocks[0].text))
            messages += [{"role": "tool", "tool_call_id": call.id, "content": f"of {call.id}"} for call in step.calls]
            messages += [] if step.calls else [{"role": "user", "content": AGAIN}]
        function = {"name": "look", "parameters": {"type": "object"}}
        body = {"model": "auto", "messages": messages, "tools": [{"type": "function", "function": function}]}
        return json.dumps({**body, "stream": stream}).encode()

    def blocks(self, answer: bytes, *, stream: bool) -> list[Block]:
        if not stream:
            return [Block("message", json.dumps(json.loads(answer)["choices"][0]["message"]))]
        message: Event = {}
        for event in events(answer):
            for choice in event["choices"]:
                _join(message, choice["delta"])
        return [Block("message", json.dumps(message))]


def _join(whole: Event, delta: Event) -> None:
    for name, value in delta.items():
        before = whole.get(name)
        if isinstance(value, list):
            items = whole.setdefault(name, [])
            for item in value:
                known = next((each for each in items if each["index"] == item["index"]), None)
                if known is None:
                    items.append(dict(item))
                else:
                    _join(known, item)
        elif isinstance(value, dict) and isinstance(before, dict):
            _join(before, value)
        elif isinstance(value, str) and isinstance(before, str) and name != "role":
            whole[name] = before + value
        else:
            whole[name] = value


class ResponsesClient:
    """It keeps the items of `output_item.done`, as Codex CLI does, and returns them."""

    route = "/v1/responses"

    def path(self, *, stream: bool) -> str:
        return self.route

    def request(self, question: str, steps: Sequence[Step], *, stream: bool) -> bytes:
        items: list[Event] = [{"type": "message", "role": "user", "content": question}]
        for step in steps:
            items += [self._item(block) for block in step.blocks]
            items += [
                {"type": "function_call_output", "call_id": call.id, "output": f"of {call.id}"} for call in step.calls
            ]
            items += [] if step.calls else [{"type": "message", "role": "user", "content": AGAIN}]
        tool = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
        body = {"model": "auto", "input": items, "tools": [tool], "stream": stream, "store": False}
        return json.dumps({**body, "include": ["reasoning.encrypted_content"]}).encode()

    def _item(self, block: Block) -> Event:
        if block.kind == "thinking":
            summary = [{"type": "summary_text", "text": block.text}] if block.text else []
            return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": block.sealed or None}
        if block.kind == "text":
            content = [{"type": "output_text", "text": block.text, "annotations": []}]
            return {"type": "message", "role": "assistant", "content": content}
        return {"type": "function_call", "call_id": block.id, "name": block.name, "arguments": block.arguments}

    def blocks(self, answer: bytes, *, stream: bool) -> list[Block]:
        if stream:
            done = [event["item"] for event in events(answer) if event["type"] == "response.output_item.done"]
        else:
            done = json.loads(answer)["output"]
        return [self._block(item) for item in done]

    def _block(self, item: Event) -> Block:
        match item["type"]:
            case "reasoning":
                text = "".join(part["text"] for part in (*item["summary"], *(item.get("content") or ())))
                return Block("thinking", text, item.get("encrypted_content") or "")
            case "message":
                return Block("text", "".join(part["text"] for part in item["content"]))
            case "function_call":
                return Block("call", id=item["call_id"], name=item["name"], arguments=item["arguments"])
        raise AssertionError(item)


class MessagesClient:
    """It returns the blocks of an answer unchanged, as Claude Code does; thinking needs a signature in this API."""

    route = "/v1/messages"

    def path(self, *, stream: bool) -> str:
        return self.route

    def request(self, question: str, steps: Sequence[Step], *, stream: bool) -> bytes:
        messages: list[Event] = [{"role": "user", "content": question}]
        for step in steps:
            blocks = [block for block in step.blocks if block.kind != "thinking" or block.sealed]
            messages.append({"role": "assistant", "content": [self._native(block) for block in blocks]})
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": f"of {call.id}"} for call in step.calls
            ]
            messages.append({"role": "user", "content": results or AGAIN})
        tools = [{"name": "look", "input_schema": {"type": "object"}}]
        body = {"model": "auto", "max_tokens": 1000, "messages": messages, "tools": tools, "stream": stream}
        return json.dumps(body).encode()

    def _native(self, block: Block) -> Event:
        if block.kind == "thinking":
            return {"type": "thinking", "thinking": block.text, "signature": block.sealed}
        if block.kind == "text":
            return {"type": "text", "text": block.text}
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": json.loads(block.arguments)}

    def blocks(self, answer: bytes, *, stream: bool) -> list[Block]:
        content = self._joined(events(answer)) if stream else json.loads(answer)["content"]
        return [self._block(block) for block in content]

    def _joined(self, stream: Iterable[Event]) -> list[Event]:
        content: list[Event] = []
        arguments: dict[int, str] = {}
        for event in stream:
            if event["type"] == "content_block_start":
                content.append(dict(event["content_block"]))
            elif event["type"] == "content_block_delta":
                delta = event["delta"]
                if delta["type"] == "input_json_delta":
                    arguments[event["index"]] = arguments.get(event["index"], "") + delta["partial_json"]
                else:
                    name = delta["type"].removesuffix("_delta")
                    content[event["index"]][name] = content[event["index"]].get(name, "") + delta[name]
        for index, text in arguments.items():
            content[index]["input"] = json.loads(text or "{}")
        return content

    def _block(self, block: Event) -> Block:
        match block["type"]:
            case "thinking":
                return Block("thinking", block["thinking"], block.get("signature") or "")
            case "redacted_thinking":
                return Block("thinking", "", block["data"])
            case "text":
                return Block("text", block["text"])
            case "tool_use":
                return Block("call", id=block["id"], name=block["name"], arguments=json.dumps(block["input"]))
        raise AssertionError(block)


class GenerateClient:
    """It returns the parts of an answer unchanged, as Gemini CLI does."""

    route = "/v1beta/models/{model:path}:generateContent"

    def path(self, *, stream: bool) -> str:
        return "/v1beta/models/auto:" + ("streamGenerateContent" if stream else "generateContent")

    def request(self, question: str, steps: Sequence[Step], *, stream: bool) -> bytes:
        contents: list[Event] = [{"role": "user", "parts": [{"text": question}]}]
        for step in steps:
            contents.append({"role": "model", "parts": [json.loads(block.text) for block in step.blocks]})
            results = [
                {"functionResponse": {**({"id": call.id} if call.id else {}), "name": call.name, "response": {"ok": 1}}}
                for call in step.calls
            ]
            contents.append({"role": "user", "parts": results or [{"text": AGAIN}]})
        tools = [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": {"type": "object"}}]}]
        return json.dumps({"contents": contents, "tools": tools}).encode()

    def blocks(self, answer: bytes, *, stream: bool) -> list[Block]:
        chunks = events(answer) if stream else [json.loads(answer)]
        parts = [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", ())]
        return [self._block(part) for part in parts]

    def _block(self, part: Event) -> Block:
        call = part.get("functionCall")
        if call is None:
            return Block("part", json.dumps(part))
        return Block("call", json.dumps(part), id=call.get("id", ""), name=call["name"])


@dataclass
class Signed:
    """An answer that a model gives, and whose signatures it needs back."""

    upstream: str  # of `UPSTREAMS`
    number: int
    shape: tuple[str, ...]  # `think`, `redacted`, `text` and `call`, in this order
    native: bool = False  # the client has the provider's own signatures, which no other surface can read


def mark(number: int, place: int) -> str:
    """A signature that no other block has."""
    return f"c2lnbmF0dXJlLW9m{number}x{place}"


class AnthropicUpstream:
    """Signs its blocks of thinking."""

    def answer(self, signed: Signed, *, stream: bool) -> bytes:
        blocks = list(self._blocks(signed))
        message = {"id": f"msg_{signed.number}", "type": "message", "role": "assistant", "model": "claude"}
        usage = {"input_tokens": 1, "output_tokens": 1}
        reason = "tool_use" if "call" in signed.shape else "end_turn"
        if not stream:
            return json.dumps({**message, "content": blocks, "stop_reason": reason, "usage": usage}).encode()
        found: list[Event] = [{"type": "message_start", "message": {**message, "content": [], "usage": usage}}]
        for index, block in enumerate(blocks):
            found += self._events(index, block)
        found += [
            {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage},
            {"type": "message_stop"},
        ]
        return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in found)

    def _blocks(self, signed: Signed) -> Iterator[Event]:
        for place, kind in enumerate(signed.shape):
            match kind:
                case "think":
                    yield {"type": "thinking", "thinking": f"Hm {place}.", "signature": mark(signed.number, place)}
                case "redacted":
                    yield {"type": "redacted_thinking", "data": mark(signed.number, place)}
                case "text":
                    yield {"type": "text", "text": f"Text {signed.number}x{place}."}
                case "call":
                    id = f"toolu_{signed.number}x{place}"
                    yield {"type": "tool_use", "id": id, "name": "look", "input": {"at": place}}

    def _events(self, index: int, block: Event) -> Iterator[Event]:
        empty, deltas = dict(block), []
        match block["type"]:
            case "thinking":
                empty |= {"thinking": "", "signature": ""}
                deltas = [
                    {"type": "thinking_delta", "thinking": block["thinking"]},
                    {"type": "signature_delta", "signature": block["signature"]},
                ]
            case "text":
                empty["text"] = ""
                deltas = [{"type": "text_delta", "text": block["text"]}]
            case "tool_use":
                empty["input"] = {}
                deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        yield {"type": "content_block_stop", "index": index}

    def expected(self, signed: Signed, *, native: bool) -> list[str]:
        """The marks and the calls of an answer, in their order; `native`: the request has the provider's format."""
        kinds = ("tool_use",) if signed.native and not native else ("thinking", "redacted_thinking", "tool_use")
        return [self._name(block) for block in self._blocks(signed) if block["type"] in kinds]

    def found(self, body: Event, signed: Signed) -> list[str]:
        """The same in a request."""
        for message in body["messages"]:
            content = message["content"] if isinstance(message["content"], list) else []
            marks = (f"toolu_{signed.number}x", f"Text {signed.number}x")
            if message["role"] == "assistant" and any(_is_of(block, marks) for block in content):
                return [self._name(block) for block in content if block["type"] != "text"]
        return []

    def accepts(self, body: Event) -> bool:
        """Whether all thinking is signed by Anthropic's models, but for what another API's own client has brought."""
        contents = [message["content"] for message in body["messages"] if isinstance(message["content"], list)]
        marks = [block.get("signature") or block.get("data") for content in contents for block in content]
        kinds = [block["type"] for content in contents for block in content]
        return all(
            str(each).startswith((mark(0, 0)[:12], "gAAAA"))
            for each, kind in zip(marks, kinds, strict=True)
            if kind in ("thinking", "redacted_thinking")
        )

    def _name(self, block: Event) -> str:
        return str(block.get("signature") or block.get("data") or block["id"])


def _is_of(block: Event, marks: tuple[str, ...]) -> bool:
    return any(str(block.get(name)).startswith(marks) for name in ("id", "text"))


class GeminiUpstream:
    """Signs its first call, or the last text of an answer without calls."""

    def answer(self, signed: Signed, *, stream: bool) -> bytes:
        parts = list(self._parts(signed))
        end = {"finishReason": "STOP", "index": 0}
        common = {"modelVersion": "gemini", "responseId": f"r{signed.number}", "usageMetadata": {"promptTokenCount": 1}}
        if not stream:
            content = {"role": "model", "parts": parts}
            return json.dumps({"candidates": [{"content": content, **end}], **common}).encode()
        chunks: list[Event] = [
            {"candidates": [{"content": {"role": "model", "parts": [part]}}], **common} for part in parts
        ]
        chunks[-1]["candidates"][0] |= end
        return b"".join(f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks)

    def _parts(self, signed: Signed) -> Iterator[Event]:
        first = True
        for place, kind in enumerate(signed.shape):
            match kind:
                case "think" | "redacted":
                    yield {"text": f"Hm {place}.", "thought": True}
                case "text":
                    last = "call" not in signed.shape and place == len(signed.shape) - 1
                    signature = {"thoughtSignature": mark(signed.number, place)} if last else {}
                    yield {"text": f"Text {signed.number}x{place}.", **signature}
                case "call":
                    call = {"name": "look", "args": {"at": place, "of": signed.number}}
                    signature = {"thoughtSignature": mark(signed.number, place)} if first else {}
                    first = False
                    yield {"functionCall": call, **signature}

    def expected(self, signed: Signed, *, native: bool) -> list[str]:
        """The signatures of the texts and calls; empty if unsigned."""
        return [part.get("thoughtSignature", "") for part in self._parts(signed) if not part.get("thought")]

    def found(self, body: Event, signed: Signed) -> list[str]:
        """The same in a request."""
        parts = [part for content in body["contents"] for part in content["parts"]]
        return [part.get("thoughtSignature", "") for part in parts if self._is_of(part, signed.number)]

    def accepts(self, body: Event) -> bool:
        """Whether the first call of each turn has a signature, which Gemini 3 requires."""
        turns = [[part for part in content["parts"] if "functionCall" in part] for content in body["contents"]]
        return all(calls[0].get("thoughtSignature") for calls in turns if calls)

    def _is_of(self, part: Event, number: int) -> bool:
        call = part.get("functionCall", {}).get("args", {}).get("of") == number
        return call or str(part.get("text")).startswith(f"Text {number}x")


class OpenAIUpstream:
    """Gives the text of its reasoning, as DeepSeek does, and needs it back with the results of tools."""

    def answer(self, signed: Signed, *, stream: bool) -> bytes:
        reasoning, calls = self._reasoning(signed), list(self._calls(signed))
        texts = [f"Text {signed.number}x{place}." for place, kind in enumerate(signed.shape) if kind == "text"]
        text = "".join(texts)
        finish = "tool_calls" if calls else "stop"
        head: Event = {"id": f"chatcmpl-{signed.number}", "created": 1, "model": "deep"}
        message: Event = {"role": "assistant", "content": text, "reasoning_content": "".join(reasoning)}
        if not stream:
            message |= {"tool_calls": calls} if calls else {}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return json.dumps({**head, "object": "chat.completion", "choices": [choice]}).encode()
        deltas: list[Event] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": each} for each in reasoning]
        deltas += [{"content": text}, *({"tool_calls": [{"index": place, **call}]} for place, call in enumerate(calls))]
        choices: list[Event] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": finish})
        chunks = [{**head, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
        return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"

    def _calls(self, signed: Signed) -> Iterator[Event]:
        for place, kind in enumerate(signed.shape):
            if kind == "call":
                function = {"name": "look", "arguments": json.dumps({"at": place})}
                yield {"id": f"call_{signed.number}x{place}", "type": "function", "function": function}

    def expected(self, signed: Signed, *, native: bool) -> list[str]:
        """The texts of the reasoning."""
        return self._reasoning(signed) if "call" in signed.shape else []

    def _reasoning(self, signed: Signed) -> list[str]:
        return [mark(signed.number, place) for place, kind in enumerate(signed.shape) if kind in ("think", "redacted")]

    def found(self, body: Event, signed: Signed) -> list[str]:
        """The same in a request."""
        for message in body["messages"]:
            blocks: list[Event] = [*(message.get("tool_calls") or ()), {"text": message.get("content")}]
            marks = (f"call_{signed.number}x", f"Text {signed.number}x")
            if message["role"] == "assistant" and any(_is_of(block, marks) for block in blocks):
                text = message.get("reasoning_content") or ""
                return [each for each in self.expected(signed, native=False) if each in text]
        return []


class ResponsesUpstream:
    """Encrypts its reasoning."""

    def answer(self, signed: Signed, *, stream: bool) -> bytes:
        output = list(self._items(signed))
        head = {"id": f"resp_{signed.number}", "object": "response", "model": "gpt"}
        whole = {**head, "status": "completed", "output": output, "usage": {"input_tokens": 1, "output_tokens": 1}}
        if not stream:
            return json.dumps(whole).encode()
        found: list[Event] = [{"type": "response.created", "response": {**head, "status": "in_progress", "output": []}}]
        for place, item in enumerate(output):
            found += [
                {"type": "response.output_item.added", "output_index": place, "item": item},
                {"type": "response.output_item.done", "output_index": place, "item": item},
            ]
        found.append({"type": "response.completed", "response": whole})
        return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in found)

    def _items(self, signed: Signed) -> Iterator[Event]:
        for place, kind in enumerate(signed.shape):
            match kind:
                case "think" | "redacted":
                    sealed = "gAAAA" + mark(signed.number, place)
                    yield {"type": "reasoning", "id": f"rs_{place}", "summary": [], "encrypted_content": sealed}
                case "text":
                    content = [{"type": "output_text", "text": f"Text {signed.number}x{place}.", "annotations": []}]
                    yield {"type": "message", "id": f"msg_{place}", "role": "assistant", "content": content}
                case "call":
                    id = f"call_{signed.number}x{place}"
                    yield {"type": "function_call", "call_id": id, "name": "look", "arguments": '{"at": 1}'}

    def expected(self, signed: Signed, *, native: bool) -> list[str]:
        """The encrypted contents."""
        return [item["encrypted_content"] for item in self._items(signed) if item["type"] == "reasoning"]

    def found(self, body: Event, signed: Signed) -> list[str]:
        """The same in a request."""
        contents = [str(item.get("encrypted_content")) for item in body["input"]]
        return [content for content in contents if content in self.expected(signed, native=True)]


UPSTREAMS: dict[str, Any] = {
    "anthropic": AnthropicUpstream(),
    "gemini": GeminiUpstream(),
    "openai": OpenAIUpstream(),
    "responses": ResponsesUpstream(),
}
CLIENTS: dict[str, Client] = {
    "chat": ChatClient(),
    "responses": ResponsesClient(),
    "messages": MessagesClient(),
    "generate": GenerateClient(),
}
