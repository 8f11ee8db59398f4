"""`POST /v1/responses/input_tokens`: the estimated tokens of an input, with its history, tools and instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

from proxy.core.body import parse
from proxy.core.call import COUNTING, Call
from proxy.core.json_text import compact_nulled
from proxy.core.turn import Item
from proxy.surfaces.base import Arrived, ReadCall
from proxy.surfaces.responses.request import read_response
from proxy.surfaces.responses.surface import ResponsesSurface

_COUNTED = (
    "model",
    "input",
    "previous_response_id",
    "conversation",
    "tools",
    "text",
    "reasoning",
    "truncation",
    "instructions",
    "tool_choice",
    "parallel_tool_calls",
    "prompt",
    "router",
)
Change = Callable[[Call], Call]


class InputTokensSurface(ResponsesSurface):
    """The endpoint. No provider is called."""

    @property
    def read(self) -> ReadCall:
        """The function that reads a body."""
        return read_input_tokens


def read_input_tokens(raw: bytes, headers: Mapping[str, str], **arrived: Unpack[Arrived]) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the parameter."""
    return changed(read_response(part_of(raw, _COUNTED), headers, **arrived), _counted)


def part_of(raw: bytes, names: Sequence[str]) -> bytes:
    """Return the body with these members alone, of a response that is not stored."""
    body = parse(raw).body
    return compact_nulled({name: body[name] for name in names if name in body} | {"store": False})


def changed(call: Call, change: Change) -> Call:
    """Return the call after `change`, which is made again when its history is known."""
    turn = call.turn
    assert turn is not None
    complete = turn.complete

    def changed_complete(earlier: Sequence[Item]) -> Call:
        return change(complete(earlier))

    turn.complete = changed_complete
    return change(call)


def _counted(call: Call) -> Call:
    call.native, call.endpoint, call.count = None, COUNTING, _answer
    return call


def _answer(tokens: int) -> bytes:
    return compact_nulled({"object": "response.input_tokens", "input_tokens": tokens})


INPUT_TOKENS = InputTokensSurface()
