"""The mock provider's mind: what it answers to a chat body, as a pure function of the body and the seed.

It speaks OpenAI Chat Completions. Every text begins with `[MOCK]`, so that nobody takes it for a model's. Nothing in a
body is refused: a member of the wrong type counts as absent, and what cannot be understood is answered in plain text.
Latency and faults are not here; see `proxy/mock/upstream.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, TypeGuard

from proxy.core.model import MockOptions
from proxy.mock.values import arguments, instance
from proxy.mock.wire import Answer, Choice, ToolCall, words

FAULTS = ("error", "timeout", "slow", "cut", "bad_json", "rate_limit")

_CHOICES = 8
_ECHO = 200  # characters of the client's text in an answer
_MEDIA = 85  # tokens that an image, a sound or a file counts for
_HOW = frozenset({"stream", "stream_options"})  # how an answer is sent does not change what it says
_PADDING = (
    "a plain answer made of ordinary words that follow each other in no order of any weight so that there is enough"
    " text to stream to count and to look at while nothing in it means more than it seems to say here and now"
)


def answer(body: Mapping[str, Any], options: MockOptions) -> Answer:
    """The answer to a chat body: the same for the same body and seed, streamed or not."""
    digest = _digest(body)
    model = body.get("model")
    return Answer(
        id=f"chatcmpl-mock-{Random(f'{options.seed}:{digest}').getrandbits(96):024x}",
        model=model if isinstance(model, str) and model else "mock",
        choices=tuple(
            _choice(body, options, Random(f"{options.seed}:{digest}:{index}")) for index in range(_count(body))
        ),
        prompt_tokens=_prompt_tokens(body),
    )


def named_fault(model: Any) -> str | None:
    """The fault that a model id asks for after its last colon: `small:cut`."""
    if not isinstance(model, str):
        return None
    _, colon, fault = model.rpartition(":")
    return fault if colon and fault in FAULTS else None


def _choice(body: Mapping[str, Any], options: MockOptions, rng: Random) -> Choice:
    messages = _mappings(body.get("messages"))
    if (tool := _tool_call(body, messages, rng)) is not None:
        return Choice("function_call" if tool.legacy else "tool_calls", tool=tool)
    text = _structured(body.get("response_format"), _reply(messages, options, rng), rng)
    return _limited(text, body)


def _tool_call(body: Mapping[str, Any], messages: list[Mapping[str, Any]], rng: Random) -> ToolCall | None:
    """The call to make, if the request has tools and it is their turn; after a result only where a call is forced."""
    role = messages[-1].get("role") if messages else None
    tools = [_mapping(tool.get("function")) for tool in _mappings(body.get("tools")) if tool.get("type") == "function"]
    asked, legacy = body.get("tool_choice"), False
    if not tools:
        tools, asked, legacy = _mappings(body.get("functions")), body.get("function_call"), True
    for function in _allowed(tools, asked, forced_only=role != "user"):
        if isinstance(name := function.get("name"), str) and name:
            made = _dumped(arguments(function.get("parameters"), rng))
            return ToolCall(f"call_mock_{rng.getrandbits(64):016x}", name, made, legacy=legacy)
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


def _reply(messages: list[Mapping[str, Any]], options: MockOptions, rng: Random) -> str:
    """A sentence that says what it answers to, made as long as `options.tokens` wants it."""
    said = f"[MOCK] {_subject(messages)}".split()
    wanted = options.tokens if options.tokens is not None else len(said) + rng.randint(6, 18)
    missing = max(0, wanted - len(said))
    padding = _PADDING.split()
    start = rng.randrange(len(padding))
    said += [padding[(start + number) % len(padding)] for number in range(missing)]
    return " ".join(said[: max(1, wanted)])


def _subject(messages: list[Mapping[str, Any]]) -> str:
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") not in ("tool", "function"):
            break
        results.insert(0, _echo(message.get("content")))
    if results:
        return f"The tool answered {'; '.join(results)[:_ECHO] or 'nothing'}."
    for message in reversed(messages):
        if message.get("role") == "user":
            said = _echo(message.get("content"))
            return f'You said "{said}".' if said else "You said nothing."
    return "There is no message of a user to answer."


def _echo(content: Any) -> str:
    """The first words of a message."""
    parts = [content] if isinstance(content, str) else [_part(part) for part in _mappings(content)]
    text = " ".join(" ".join(parts)[: _ECHO * 10].split())
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


def _prompt_tokens(body: Mapping[str, Any]) -> int:
    """About four characters a token, and a few for each message; media count a fixed number."""
    messages = _mappings(body.get("messages"))
    characters = media = 0
    for member in _members([messages, body.get("tools"), body.get("functions"), body.get("response_format")]):
        if isinstance(member, str):
            characters += len(member)
        elif isinstance(member, Mapping):
            media += any(kind in member for kind in ("image_url", "input_audio", "file"))
    return characters // 4 + 4 * len(messages) + media * _MEDIA + 3


def _members(root: Any) -> Iterator[Any]:
    """Every value below `root` but the data of media; without recursion, as a body may be deep."""
    rest = [root]
    while rest:
        member = rest.pop()
        yield member
        if isinstance(member, Mapping):
            rest += [value for key, value in member.items() if key not in ("image_url", "input_audio", "file")]
        elif isinstance(member, list):
            rest += member


def _digest(body: Mapping[str, Any]) -> str:
    said = {key: value for key, value in body.items() if key not in _HOW}
    try:
        text = json.dumps(said, sort_keys=True, default=str)
    except (TypeError, ValueError, RecursionError):
        text = ""  # keys of several types, a cycle, or too deep: all such bodies are answered alike
    return hashlib.sha256(text.encode()).hexdigest()


def _dumped(value: Any) -> str:
    """A made value as JSON text; a schema's own constant may be a number that JSON has no word for."""
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
