"""The checks of a chat body: what routing and translation rely on. Everything else is the upstream's to judge.

`read_shape` (`shape.py`) checks a body as a whole without decoding its messages. It does not say what is wrong: for a
body that it does not accept, `check` finds the error or accepts the body after all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from proxy.core.errors import InvalidRequest

_EDITED = (
    "model",
    "stream",
    "stream_options",
    "router",
    "models",
    "fallbacks",
)  # what the proxy reads or edits must not be ambiguous


def check_repeated(repeated: Collection[str]) -> None:
    """Raise `InvalidRequest` if a member that the proxy reads or edits is among the `repeated` ones."""
    for name in _EDITED if repeated else ():
        if name in repeated:
            raise InvalidRequest(f"`{name}` must be given once; the body has it twice.", param=name)


def check_unique(repeated: Collection[str]) -> None:
    """Raise `InvalidRequest` if any member is repeated, for bodies that may pass to a provider, which may read another.

    Of repeated members the proxy reads the last one.
    """
    for name in repeated:
        raise InvalidRequest(f"`{name[:60]}` must be given once; the body has it twice.", param=name[:60])


def check(body: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` that names the parameter and what it should be."""
    model = body.get("model")
    if model is None or model == "":
        raise InvalidRequest("You must provide `model`: a name of `GET /v1/models`, such as `auto`.", param="model")
    for name, (expected, is_valid) in _TYPES.items():
        if body.get(name) is not None and not is_valid(body[name]):
            raise InvalidRequest(f"`{name}` must be {expected}.", param=name)
    _check_messages(body.get("messages"))
    usage = (body.get("stream_options") or {}).get("include_usage")
    if usage is not None and not isinstance(usage, bool):
        raise InvalidRequest("`stream_options.include_usage` must be a boolean.", param="stream_options")


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise InvalidRequest("You must provide `messages`: a list of messages.", param="messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a list with at least one message.", param="messages")
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest(f"`messages[{place}]` must be an object.", param=f"messages[{place}]")
        if not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`messages[{place}].role` must be a string.", param=f"messages[{place}].role")
        content = message.get("content")
        parts = content if isinstance(content, list) else ()
        if not isinstance(content, (str, list, type(None))) or not all(isinstance(part, (dict, str)) for part in parts):
            raise InvalidRequest(
                f"`messages[{place}].content` must be a string or a list of parts.",
                param=f"messages[{place}].content",
            )


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _is_stop(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


_NUMBER = ("a number", _is(int, float))
_COUNT = ("a positive integer", lambda value: _is(int)(value) and value > 0)
_CEILING = ("a positive integer, or -1 for no limit", lambda value: _is(int)(value) and (value > 0 or value == -1))
_OBJECT = ("an object", _is(dict))
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a string", _is(str)),
    "stream": ("a boolean", _is(bool)),
    "stream_options": _OBJECT,
    "n": _COUNT,
    "max_tokens": _CEILING,
    "max_completion_tokens": _CEILING,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "seed": ("an integer", _is(int)),
    "stop": ("a string or a list of strings", _is_stop),
    "tools": ("a list of objects", _is_list_of_objects),
    "functions": ("a list of objects", _is_list_of_objects),
    "tool_choice": ("a string or an object", _is(str, dict)),
    "response_format": _OBJECT,
    "user": ("a string", _is(str)),
    "parallel_tool_calls": ("a boolean", _is(bool)),
    "logprobs": ("a boolean", _is(bool)),
}
