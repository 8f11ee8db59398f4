"""Estimates the tokens of answers whose usage was not reported: broken ones, and those of servers that report none.

The text of an answer is not kept. Its length follows from the bytes and events that were sent to the client, without
the part that each event has beside its text, which is measured on the first events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import structs

from proxy.core.call import Call
from proxy.core.estimate import estimate_input, estimate_tokens
from proxy.core.json_text import object_of
from proxy.core.plan import Plan
from proxy.core.sse import data_of
from proxy.core.usage import Usage

_BYTES_PER_TOKEN = 4
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_BLANK_LINE = b"\n\n"


def estimated_usage(
    call: Call,
    plan: Plan,
    reported: Usage | None,
    first: bytes,
    later_bytes: int,
    later_events: int,
    ceiling: int | None = None,
    written: int | None = None,
) -> Usage | None:
    """Return the estimated tokens; `None` for images and audio, whose answers cannot be estimated.

    `reported` is what the upstream has counted so far. `first` are the bytes up to the commit point, or a whole JSON
    answer; bytes and events after that are only counted. `ceiling` limits the tokens of each answer. `written` are the
    bytes of its texts, where they are known: of answers in another format than OpenAI's.
    """
    if call.kind in ("image", "audio"):
        return reported
    output = 0
    if written is not None:
        output = -(-written // _BYTES_PER_TOKEN)
    elif call.kind in ("chat", "completion"):
        output = _of_stream(first, later_bytes, later_events) if call.stream else _of_body(first)
    if ceiling is not None:
        choices = call.body.get("n")
        output = min(output, ceiling * (choices if type(choices) is int and choices > 1 else 1))
    if reported is None:
        return Usage(input=_input(call, plan), output=output, source="estimated")
    if 2 * reported.output >= output:
        output = reported.output  # counts that grow with the answer are better than an estimate
    return structs.replace(reported, output=output, source="estimated")


def _input(call: Call, plan: Plan) -> int:
    known = plan.known_input_tokens
    return estimate_input(call.body) if known is None else known


def _of_stream(first: bytes, later_bytes: int, later_events: int) -> int:
    """Return the tokens of a stream: at least one in each event, and one for four bytes of text."""
    events = first.count(_BLANK_LINE) + later_events
    texts = (len(first) + later_bytes) - events * _envelope(first)
    return max(events, texts // _BYTES_PER_TOKEN)


def _envelope(first: bytes) -> int:
    """Return how many bytes an event has beside its text, from the last of the first events."""
    event = first.rstrip(b"\n").rpartition(_BLANK_LINE)[2]
    value = object_of(data_of(event) or b"")
    text = "".join(_texts(value)) if value else ""
    return len(event) + len(_BLANK_LINE) - len(text.encode("utf-8", "surrogatepass"))


def _of_body(body: bytes) -> int:
    value = object_of(body)
    return estimate_tokens("".join(_texts(value))) if value else 0


def _texts(value: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of an answer or of a chunk."""
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        holder = choice.get("delta") or choice.get("message")
        parts = [choice.get("text")]
        if isinstance(holder, dict):
            parts += [holder.get(name) for name in _TEXTS]
            calls = holder.get("tool_calls")
            parts += [str(call) for call in calls] if isinstance(calls, list) else []
        yield from (part for part in parts if isinstance(part, str))
