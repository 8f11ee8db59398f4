"""The parameters of a Responses request, as those of a chat.

Members that the proxy itself reads (`store`, `conversation`, `include`, ...) have no counterpart in a chat and need
none; those that nothing can honour are dropped, and named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.errors import InvalidRequest

SEARCH_SOURCES = "web_search_call.action.sources"  # of `include`
LOGPROBS = "message.output_text.logprobs"
_SAME = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "metadata",
)
_READ = {  # elsewhere in this package, or by others before
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_output_tokens",
    "max_tool_calls",
    "top_logprobs",
    "text",
    "reasoning",
    "include",
    "previous_response_id",
    "conversation",
    "store",
    "background",
    "truncation",
    "prompt",
    "router",
    *_SAME,
}
_INCLUDED = {  # values of `include` that concern items of hosted tools, or that answers always have
    LOGPROBS,
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    SEARCH_SOURCES,
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
}
_REASONING = {"effort", "summary", "generate_summary"}
_MOST_LOGPROBS = 20
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


def check_parameters(body: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` that names a parameter with a wrong type, and what it should be."""
    for name, (expected, is_valid) in _TYPES.items():
        if body.get(name) is not None and not is_valid(body[name]):
            raise InvalidRequest(f"`{name}` must be {expected}.", param=name)


def chat_parameters(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the chat's parameters, and the names of the dropped ones. `check_parameters` has accepted `body`.

    Tools are not among them. Raises `InvalidRequest` for a format of the text that does not exist.
    """
    chat = {name: body[name] for name in _SAME if body.get(name) is not None}
    dropped = [_name(name) for name in body if name not in _READ and body[name] is not None]
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    include = body.get("include") or ()
    dropped += [_name(f"include.{value}") for value in include if value not in _INCLUDED]
    if LOGPROBS in include or body.get("top_logprobs"):
        chat["logprobs"] = True
        chat["top_logprobs"] = body.get("top_logprobs") or 0
    reasoning = body.get("reasoning") or {}
    dropped += [_name(f"reasoning.{name}") for name in reasoning if name not in _REASONING and reasoning[name]]
    if isinstance(reasoning.get("effort"), str):
        chat["reasoning_effort"] = reasoning["effort"]
    if body.get("truncation") == "auto":
        dropped.append("truncation")
    if body.get("stream") or body.get("background"):  # the events of a background response are recorded
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    return chat | _text(body.get("text") or {}), dropped


def _text(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verbosity and the format of the answer's text."""
    chat: dict[str, Any] = {}
    if isinstance(text.get("verbosity"), str):
        chat["verbosity"] = text["verbosity"]
    form = text.get("format")
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind == "text":
        return chat
    if kind == "json_object":
        return {**chat, "response_format": {"type": kind}}
    if not isinstance(form, dict) or kind != "json_schema":
        message = "`text.format.type` must be `text`, `json_schema` or `json_object`."
        raise InvalidRequest(message, param="text.format.type")
    if not isinstance(form.get("schema"), dict):
        raise InvalidRequest("`text.format.schema` must be an object, a JSON Schema.", param="text.format.schema")
    members = {name: form[name] for name in ("description", "strict") if form.get(name) is not None}
    name = form.get("name")
    schema = {"name": name if isinstance(name, str) and name else "response", "schema": form["schema"], **members}
    return {**chat, "response_format": {"type": kind, "json_schema": schema}}


def _name(name: str) -> str:
    return _NOT_IN_NAMES.sub("", name)[:60]


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_conversation(value: Any) -> bool:
    return _is_id(value.get("id")) if isinstance(value, dict) else _is_id(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_NUMBER = ("a number", _is(int, float))
_STRING = ("a string", _is(str))
_BOOLEAN = ("a boolean", _is(bool))
_OBJECT = ("an object", _is(dict))
_COUNT = ("a positive integer", _is_count)
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a string, a name of `GET /v1/models`", _is_id),
    "input": ("a string or a list of items", _is(str, list)),
    "instructions": _STRING,
    "stream": _BOOLEAN,
    "store": _BOOLEAN,
    "background": _BOOLEAN,
    "parallel_tool_calls": _BOOLEAN,
    "previous_response_id": ("the id of a response", _is_id),
    "conversation": ("the id of a conversation, or an object with its `id`", _is_conversation),
    "max_output_tokens": _COUNT,
    "max_tool_calls": _COUNT,
    "top_logprobs": (
        f"an integer from 0 to {_MOST_LOGPROBS}",
        lambda value: type(value) is int and 0 <= value <= _MOST_LOGPROBS,
    ),
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "text": _OBJECT,
    "reasoning": _OBJECT,
    "metadata": _OBJECT,
    "include": ("a list of strings", _is_texts),
    "truncation": ("`auto` or `disabled`", lambda value: value in ("auto", "disabled")),
    "user": _STRING,
    "safety_identifier": _STRING,
    "prompt_cache_key": _STRING,
    "service_tier": _STRING,
    "tool_choice": ("a string or an object", _is(str, dict)),
    "prompt": _OBJECT,
}
