"""Estimates the tokens of a body. A function that counts exactly can be passed as `count`.

The work is linear in the body's size and not recursive. A body of any shape gets an estimate, also one that every
provider would reject.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Count = Callable[[str], int]

SAMPLED = 32_768  # characters; of a longer text, evenly spaced pieces of this total length are read
_PIECES = 16

USUAL_OUTPUT = 1024  # tokens of an answer of unlimited length
MAX_CHOICES = 128
_SIZES = frozenset({"max_completion_tokens", "max_tokens", "n"})  # members that determine the length of the answer
_COUNTED = frozenset({"tools", "functions", "response_format", "input", "prompt"})  # beside the messages
_PLAIN = frozenset({"role", "content"})  # members of a message that has only a text
_COUNTED_IN_MESSAGES = frozenset({"name", "refusal", "reasoning_content", "tool_calls", "function_call"})
_WITHOUT_OUTPUT = ("embedding", "moderation", "image", "audio")  # kinds without output tokens

_MESSAGE = 4  # tokens around each message
_ANSWER = 3  # tokens that open the answer
_IMAGE = 765
_IMAGE_LOW = 85
_AUDIO = (1_600, 50, 20_000)  # base64 characters per token, minimum, maximum
_FILE = (60, 500, 50_000)
_MAX_PIECES = 100_000
_SCALAR = "0000"  # in place of a number or boolean of any length

# Kana, Han and Hangul, and everything beyond the basic plane (rarer Han, emoji): about one token per character.
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00010000-\U0010ffff]+")
_ASCII = bytes(range(128))
_IMAGE_PARTS = frozenset({"image_url", "input_image"})
_AUDIO_PARTS = frozenset({"input_audio"})
_FILE_PARTS = frozenset({"file", "input_file"})
_OBJECTS = (dict, Mapping)  # `dict` first, because it is found at once


def estimate_tokens(text: str) -> int:
    """Return about one token per 4 ASCII characters, per Chinese, Japanese or Korean character, and per 2 others."""
    if text.isascii():
        return (len(text) + 3) // 4
    if len(text) > SAMPLED:
        sample = _sample(text)
        return estimate_tokens(sample) * len(text) // len(sample)
    others = text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")
    narrow = len(_WIDE.sub("", others))
    return (len(text) - len(others) + 3) // 4 + (len(others) - narrow) + (narrow + 1) // 2


def requested_output(body: Mapping[str, Any], kind: str, longest: int | None) -> int:
    """Return the output tokens that a request asks for; of a usual answer if it sets no limit.

    `longest` is the most that the model can write, if that is known.
    """
    if kind in _WITHOUT_OUTPUT:
        return 0
    usual = min(longest or USUAL_OUTPUT, USUAL_OUTPUT)
    asked = choices = None
    for name in _SIZES.intersection(body):
        number = _natural(body[name])
        if name == "n":
            choices = number
        elif number is not None and (asked is None or name == "max_completion_tokens"):
            asked = number
    return (asked or usual) * min(choices or 1, MAX_CHOICES)


def _natural(value: Any) -> int | None:
    """Return a positive number that a client may send, else `None`; a wrong one never increases capacity."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _sample(text: str) -> str:
    """Return evenly spaced pieces of a long text, including its start and end."""
    size = SAMPLED // _PIECES
    step = (len(text) - size) // (_PIECES - 1)
    return "".join([text[at * step : at * step + size] for at in range(_PIECES)])


def estimate_input(body: Mapping[str, Any], count: Count = estimate_tokens) -> int:
    """Return the input tokens: messages, tools and response format; `input` and `prompt` of other endpoints."""
    total = _ANSWER
    messages = body.get("messages")
    if isinstance(messages, list):
        for message in messages:
            if type(message) is dict and message.keys() <= _PLAIN and type(text := message.get("content")) is str:
                total += _MESSAGE + count(text)  # as most messages
            else:
                total += _MESSAGE + _message(message, count)
    for name in _COUNTED.intersection(body):
        if value := body[name]:
            total += count(_flat(value))
    return total


def _message(message: Any, count: Count) -> int:
    if not isinstance(message, _OBJECTS):
        return count(_flat(message))
    content = message.get("content")
    if isinstance(content, str):
        total = count(content)
    elif isinstance(content, list):
        total = sum(_part(part, count) for part in content)
    else:
        total = count(_flat(content))
    for name in _COUNTED_IN_MESSAGES.intersection(message):
        if value := message[name]:
            total += count(_flat(value))
    return total


def _part(part: Any, count: Count) -> int:
    if not isinstance(part, Mapping):
        return count(_flat(part))
    kind = part.get("type")
    if isinstance(kind, str):
        if kind in _IMAGE_PARTS:
            return _image(part)
        if kind in _AUDIO_PARTS:
            return _sized(part.get("input_audio"), "data", _AUDIO)
        if kind in _FILE_PARTS:
            return _sized(part.get("file"), "file_data", _FILE)
    text = part.get("text")
    return count(text if isinstance(text, str) else _flat(part))


def _image(part: Mapping[str, Any]) -> int:
    """Return a fixed estimate; the real number depends on the model and on the image's size, which is not read."""
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, Mapping) else None
    return _IMAGE_LOW if detail == "low" else _IMAGE


def _sized(holder: Any, name: str, scale: tuple[int, int, int]) -> int:
    per_token, least, most = scale
    data = holder.get(name) if isinstance(holder, Mapping) else None
    return min(most, max(least, len(data) // per_token)) if isinstance(data, str) else least


def _flat(value: Any) -> str:
    """Return all names and strings of a JSON value in one text, about as long as the value; not recursive."""
    pieces: list[str] = []
    stack = [value]
    while stack and len(pieces) < _MAX_PIECES:  # every provider would reject a larger body
        item = stack.pop()
        if isinstance(item, str):
            pieces.append(item)
        elif isinstance(item, Mapping):
            for name, inner in item.items():
                pieces.append(name if isinstance(name, str) else _SCALAR)
                stack.append(inner)
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif item is not None:
            pieces.append(_SCALAR)
    return '": "'.join(pieces)
