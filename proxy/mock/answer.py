"""What the mock provider answers to a chat body: a pure function of the body and the seed.

Bodies and answers are those of OpenAI Chat Completions. Every text begins with `[MOCK]`, so that it cannot pass for a
model's. No body is rejected: a member of the wrong type counts as absent, and a body without a usable message gets a
plain text. Latency and faults are in `proxy/mock/upstream.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from random import Random
from typing import Any, TypeGuard

from proxy.core.model import MockOptions
from proxy.mock.values import arguments, instance
from proxy.mock.wire import Answer, Choice, ToolCall, words

FAULTS = ("error", "timeout", "slow", "cut", "bad_json", "rate_limit")

_CHOICES = 8
_ECHO = 200  # characters of the client's text in an answer
_MEDIA = 85  # tokens of an image, a sound or a file
_MEDIA_PARTS = frozenset({"image_url", "input_audio", "file"})
_RICH = frozenset(  # members that ask for more than one plain text
    {"tools", "functions", "response_format", "n", "max_completion_tokens", "max_tokens", "stop"}
)
_TEXT = (
    "a plain answer made of ordinary words that follow each other in no order of any weight so that there is enough"
    " text to stream to count and to look at while nothing in it means more than it seems to say here and now"
)
_PADDING = _TEXT.split()
_Messages = list[Mapping[str, Any]]
_sorted_json = json.JSONEncoder(sort_keys=True, default=str).encode


def answer(body: Mapping[str, Any], options: MockOptions) -> Answer:
    """The answer to a chat body: the same for the same body and seed, streamed or not."""
    content = dict(body)
    content.pop("stream", None)  # how an answer is sent does not change what it says
    content.pop("stream_options", None)
    try:
        text = _sorted_json(content)
    except (TypeError, ValueError, RecursionError):
        text = ""  # keys of several types, a cycle, or too deep: all such bodies get the same answer
    seed = f"{options.seed}:{hashlib.sha256(text.encode()).hexdigest()}"
    messages = body.get("messages")
    if type(messages) is not list or set(map(type, messages)) != {dict}:
        messages = _mappings(messages)
    if _RICH.isdisjoint(body):
        choices = [Choice("stop", _reply(messages, options, Random(f"{seed}:0")))]
    else:
        choices = [_choice(body, messages, options, Random(f"{seed}:{index}")) for index in range(_count(body))]
    model = body.get("model")
    return Answer(
        id=f"chatcmpl-mock-{Random(seed).getrandbits(96):024x}",
        model=model if isinstance(model, str) and model else "mock",
        choices=tuple(choices),
        prompt_tokens=_prompt_tokens(body, messages),
    )


def named_fault(model: Any) -> str | None:
    """The fault that a model id asks for after its last colon: `small:cut`."""
    if not isinstance(model, str):
        return None
    _, colon, fault = model.rpartition(":")
    return fault if colon and fault in FAULTS else None


def _choice(body: Mapping[str, Any], messages: _Messages, options: MockOptions, rng: Random) -> Choice:
    if (tool := _tool_call(body, messages, rng)) is not None:
        return Choice("function_call" if tool.legacy else "tool_calls", tool=tool)
    text = _structured(body.get("response_format"), _reply(messages, options, rng), rng)
    return _limited(text, body)


def _tool_call(body: Mapping[str, Any], messages: _Messages, rng: Random) -> ToolCall | None:
    """The call to make, if the request has tools and it is their turn; after a result only where a call is forced."""
    role = messages[-1].get("role") if messages else None
    tools = [_mapping(tool.get("function")) for tool in _mappings(body.get("tools")) if tool.get("type") == "function"]
    asked, legacy = body.get("tool_choice"), False
    if not tools:
        tools, asked, legacy = _mappings(body.get("functions")), body.get("function_call"), True
    for function in _allowed(tools, asked, forced_only=role != "user"):
        if isinstance(name := function.get("name"), str) and name:
            text = _dumped(arguments(function.get("parameters"), rng))
            return ToolCall(f"call_mock_{rng.getrandbits(64):016x}", name, text, legacy=legacy)
    return None


def _allowed(tools: list[Mapping[str, Any]], asked: Any, *, forced_only: bool) -> list[Mapping[str, Any]]:
    """The functions that `tool_choice` or `function_call` lets us call, in their order."""
    if asked == "required":
        return tools
    wanted = _mapping(asked)
    several = _mapping(wanted.get("allowed_tools"))
    if several and (several.get("mode") == "required" or not forced_only):
        names = [_mapping(tool.get("function")).get("name") for tool in _mappings(several.get("tools"))]
        return [tool for tool in tools if tool.get("name") in names]
    if wanted and not several:
        name = _mapping(wanted.get("function")).get("name", wanted.get("name"))
        return [tool for tool in tools if tool.get("name") == name]
    return [] if asked == "none" or forced_only else tools


def _reply(messages: _Messages, options: MockOptions, rng: Random) -> str:
    """A sentence about the message that it answers, with `options.tokens` words."""
    sentence = f"[MOCK] {_subject(messages)}".split()
    length = options.tokens if options.tokens is not None else len(sentence) + rng.randint(6, 18)
    start = rng.randrange(len(_PADDING))
    if (missing := length - len(sentence)) > 0:
        sentence += (_PADDING * (missing // len(_PADDING) + 2))[start : start + missing]
    return " ".join(sentence[: max(1, length)])


def _subject(messages: _Messages) -> str:
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") not in ("tool", "function"):
            break
        results.insert(0, _echo(message.get("content")))
    if results:
        return f"The tool answered {'; '.join(results)[:_ECHO] or 'nothing'}."
    for message in reversed(messages):
        if message.get("role") == "user":
            text = _echo(message.get("content"))
            return f'You said "{text}".' if text else "You said nothing."
    return "There is no message of a user to answer."


def _echo(content: Any) -> str:
    """The first words of a message."""
    text = content if isinstance(content, str) else " ".join([_part(part) for part in _mappings(content)])
    text = " ".join(text[: _ECHO * 10].split())
    if len(text) <= _ECHO:
        return text
    return text[:_ECHO].rpartition(" ")[0] or text[:_ECHO]


def _part(part: Mapping[str, Any]) -> str:
    text, kind = part.get("text"), part.get("type")
    if isinstance(text, str):
        return text
    return f"({kind[:20]})" if isinstance(kind, str) else ""


def _structured(response_format: Any, reply: str, rng: Random) -> str:
    """The reply in the form that `response_format` wants."""
    wanted = _mapping(response_format)
    if wanted.get("type") == "json_object":
        return _dumped({"mock": True, "reply": reply})
    schema = _mapping(wanted.get("json_schema")).get("schema")
    if wanted.get("type") == "json_schema" and isinstance(schema, Mapping):
        return _dumped(instance(schema, rng, "answer"))
    return reply


def _limited(text: str, body: Mapping[str, Any]) -> Choice:
    """Cut the text at the request's token limit, or before at the first stop sequence."""
    finish, pieces = "stop", words(text)
    limit = body.get("max_completion_tokens")
    limit = body.get("max_tokens") if limit is None else limit
    if _natural(limit) and limit < len(pieces):
        finish, text = "length", "".join(pieces[:limit])
    stops = body.get("stop")
    for stop in stops if isinstance(stops, list) else [stops]:
        if isinstance(stop, str) and stop and (at := text.find(stop)) >= 0:
            finish, text = "stop", text[:at]
    return Choice(finish, content=text)


def _count(body: Mapping[str, Any]) -> int:
    n = body.get("n")
    return min(n, _CHOICES) if _natural(n) else 1


def _prompt_tokens(body: Mapping[str, Any], messages: _Messages) -> int:
    """About four characters a token, and a few for each message; each image, sound or file counts `_MEDIA`.

    Without recursion, because a body may be deep.
    """
    characters = media = 0
    rest: list[Any] = [messages, body.get("tools"), body.get("functions"), body.get("response_format")]
    while rest:
        member = rest.pop()
        if isinstance(member, str):
            characters += len(member)
        elif isinstance(member, list):
            rest += member
        elif isinstance(member, Mapping):
            if _MEDIA_PARTS.isdisjoint(member):
                rest += member.values()
            else:
                media += 1
                rest += [value for key, value in member.items() if key not in _MEDIA_PARTS]
    return characters // 4 + 4 * len(messages) + media * _MEDIA + 3


def _dumped(value: Any) -> str:
    """A value as JSON text; a constant of a schema may be a number that JSON does not have."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return "{}"


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _natural(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
