"""Recorded exchanges with OpenAI-compatible providers: those of this project, and real ones where a folder has them.

A line of a file is one exchange: `id`, `api`, `stream`, the `request` (`body`, JSON) and the `response` (`status`,
`headers`, and `text`, `text_b64` or `body`). The folder with real traffic is `$SIGNALBOX_RECORDINGS`, or
`../shared/recordings` beside the checkout; it is not part of the project.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.support.servers import ROOT

OWN = ROOT / "tests" / "contract" / "dialects" / "openai.jsonl"
FOLDER = Path(os.environ.get("SIGNALBOX_RECORDINGS") or ROOT.parent / "shared" / "recordings")
Exchange = dict[str, Any]


def read(path: Path) -> list[Exchange]:
    """The exchanges of a file."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def files() -> list[Path]:
    """Our own file, and those of the folder that hold traffic in OpenAI's dialect."""
    names = ("azure-openai", "deepseek", "groq", "mistral", "openai-chat", "openrouter", "other-compat")
    return [OWN, *(path for name in names if (path := FOLDER / f"{name}.jsonl").is_file())]


def is_chat(exchange: Exchange) -> bool:
    """A whole exchange of Chat Completions with status 200."""
    asked = (exchange["request"] or {}).get("body")
    return (
        str(exchange["api"]).endswith("-chat")
        and exchange["response"]["status"] == 200
        and isinstance(asked, dict)
        and "messages" in asked
    )


def answer_of(exchange: Exchange) -> bytes:
    """The response's body as bytes."""
    response = exchange["response"]
    if "text" in response:
        return str(response["text"]).encode("utf-8", "surrogatepass")
    if "text_b64" in response:
        return base64.b64decode(response["text_b64"])
    return json.dumps(response["body"], ensure_ascii=False).encode("utf-8", "surrogatepass")


# How clients write JSON. The model's value stands alone in each, so that its bytes can be exchanged.

STYLES = ("compact", "spaced", "escaped", "indented", "odd")
CUTS = ("random", "bytes", "inside")


def written(body: dict[str, Any], style: str, model: str, rng: Random) -> tuple[bytes, bytes]:
    """The body as bytes in a style: with `model`, and with the model's value replaced by a mark (`\\0`)."""
    value = {**body, "model": "\0"}
    if style == "odd":
        text = "".join(_odd(value, rng))
    elif style == "indented":
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    elif style == "escaped":
        text = json.dumps(value, ensure_ascii=True)
    elif style == "spaced":
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    marked = re.sub(r'"\\u0000"', "\0", text, count=1)
    assert marked.count("\0") == 1
    return marked.replace("\0", json.dumps(model)).encode(), marked.encode()


def _odd(value: Any, rng: Random) -> Iterator[str]:
    """JSON as nobody should write it: any white space, any escapes, numbers as they are."""
    if isinstance(value, dict):
        yield "{" + _space(rng)
        for place, (name, item) in enumerate(value.items()):
            yield ("," if place else "") + _space(rng) + _string(name, rng) + _space(rng) + ":" + _space(rng)
            yield from _odd(item, rng)
            yield _space(rng)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            yield ("," if place else "") + _space(rng)
            yield from _odd(item, rng)
            yield _space(rng)
        yield "]"
    elif isinstance(value, str):
        yield '"\\u0000"' if value == "\0" else _string(value, rng)
    else:
        yield json.dumps(value)


def _space(rng: Random) -> str:
    return rng.choice(["", "", " ", "  ", "\t", "\n", "\r\n  "])


def _string(text: str, rng: Random) -> str:
    """A string with some of its characters escaped that need not be, `/` and umlauts and emoji among them."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    if len(text) > 2000:
        return f'"{plain}"'  # an image, say: character by character it would take for ever
    parts = re.split(r"(\\u....|\\.)", plain)  # what is escaped already stays
    for place in range(0, len(parts), 2):
        parts[place] = "".join(_character(each, rng) for each in parts[place])
    return '"' + "".join(parts) + '"'


def _character(character: str, rng: Random) -> str:
    if character == "/" and rng.randrange(2):
        return "\\/"
    if (not character.isascii() and rng.randrange(2)) or rng.randrange(40) == 0:
        return json.dumps(character)[1:-1] if not character.isascii() else f"\\u{ord(character):04X}"
    return character


def pieces(data: bytes, how: str, rng: Random) -> Iterator[bytes]:
    """`data` cut in a way of `CUTS`; the larger it is, the larger the pieces, so that no test takes for ever."""
    if how == "bytes" and len(data) <= 1500:
        yield from (data[place : place + 1] for place in range(len(data)))
        return
    if how == "inside":
        marks = re.finditer(rb"[\xc0-\xff][\x80-\xbf]+|data:|\r\n|\n\n|\\u", data)
        places = sorted({place for mark in marks for place in (mark.start() + 1, mark.end() - 1)})
        places = sorted(rng.sample(places, min(len(places), 80)))
    else:
        size = max(40, len(data) // 40)
        places, at = [], 0
        while (at := at + rng.randint(1, size)) < len(data):
            places.append(at)
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        if start < end:
            yield data[start:end]
