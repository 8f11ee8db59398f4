"""How many tokens a chat body will be, roughly, before anybody has counted them.

Linear in the body's size, without recursion, and indifferent to what stands where: a body that no provider would take
still gets a number. Exact counting is plugged in through `count`; it is never needed to route.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Count = Callable[[str], int]

SAMPLED = 32_768  # characters; of a longer text, as many are looked at, in evenly spaced pieces
_PIECES = 16

_MESSAGE = 4  # tokens around each message
_ANSWER = 3  # tokens that open the answer
_IMAGE = 765
_IMAGE_LOW = 85
_AUDIO = (1_600, 50, 20_000)  # base64 characters a token, least, most
_FILE = (60, 500, 50_000)
_MOST_PIECES = 100_000
_SCALAR = "0000"  # a number or boolean, whatever its length

# Kana, Han and Hangul, and everything beyond the basic plane (rarer Han, emoji): about a token for each character.
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00010000-\U0010ffff]+")
_IMAGE_PARTS = frozenset({"image_url", "input_image"})
_AUDIO_PARTS = frozenset({"input_audio"})
_FILE_PARTS = frozenset({"file", "input_file"})


def estimate_tokens(text: str) -> int:
    """About 4 ASCII characters a token, 1 of Chinese, Japanese or Korean, and 2 of any other script."""
    if text.isascii():
        return (len(text) + 3) // 4
    if len(text) > SAMPLED:
        sample = _sample(text)
        return estimate_tokens(sample) * len(text) // len(sample)
    ascii_ = len(text.encode("ascii", "ignore"))
    narrow = len(_WIDE.sub("", text))  # ASCII and the other scripts
    return (ascii_ + 3) // 4 + (len(text) - narrow) + (narrow - ascii_ + 1) // 2


def _sample(text: str) -> str:
    """Evenly spaced pieces of a long text, the first and the last part of it included."""
    size = SAMPLED // _PIECES
    step = (len(text) - size) // (_PIECES - 1)
    return "".join([text[at * step : at * step + size] for at in range(_PIECES)])


def estimate_input(body: Mapping[str, Any], count: Count = estimate_tokens) -> int:
    """Input tokens of a body: messages, tools and the response format; of other endpoints `input` and `prompt`."""
    total = _ANSWER
    messages = body.get("messages")
    if isinstance(messages, list):
        total += sum(_MESSAGE + _message(message, count) for message in messages)
    for name in ("tools", "functions", "response_format", "input", "prompt"):
        if value := body.get(name):
            total += count(_flat(value))
    return total


def _message(message: Any, count: Count) -> int:
    if not isinstance(message, Mapping):
        return count(_flat(message))
    content = message.get("content")
    if isinstance(content, str):
        total = count(content)
    elif isinstance(content, list):
        total = sum(_part(part, count) for part in content)
    else:
        total = count(_flat(content))
    for name in ("name", "refusal", "reasoning_content", "tool_calls", "function_call"):
        if value := message.get(name):
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
    """A flat price: what an image really takes depends on the model and on pixels that we do not look at."""
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, Mapping) else None
    return _IMAGE_LOW if detail == "low" else _IMAGE


def _sized(holder: Any, name: str, scale: tuple[int, int, int]) -> int:
    per_token, least, most = scale
    data = holder.get(name) if isinstance(holder, Mapping) else None
    return min(most, max(least, len(data) // per_token)) if isinstance(data, str) else least


def _flat(value: Any) -> str:
    """All names and strings of a JSON value in one line, about as long as the value would be; never recursive."""
    pieces: list[str] = []
    stack = [value]
    while stack and len(pieces) < _MOST_PIECES:  # beyond it no provider would take the body anyway
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
