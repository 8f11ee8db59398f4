"""Function calls of a Gemini answer on their way to tool calls: ids, signatures, and arguments in pieces.

A call comes whole, or (with Vertex's `streamFunctionCallArguments`) as a name, then `partialArgs` that each say which
place of the arguments they fill, then an empty call that ends it. OpenAI's arguments are text that only grows, so
arguments in pieces are given on when they are whole.

The thought signature goes out where Google's own OpenAI-compatible endpoint has it, in
`extra_content.google.thought_signature` of the call (ai.google.dev/gemini-api/docs/thought-signatures), and is
remembered for clients that do not send it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.dialects.answer_tool import Structure, unwrapped
from proxy.dialects.memory import ToolCall
from proxy.dialects.names import ToolNames
from proxy.dialects.writer import AnswerWriter, generated_id

Keep = Callable[[list[ToolCall], list[str | None]], None]  # an answer's calls and their signatures

_STEP = re.compile(r"""\.?([^.\[\]'"$]{1,500})|\[(\d{1,9})\]|\[(?:'([^']{0,500})'|"([^"]{0,500})")\]""", re.ASCII)
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
_LONGEST_PATH = 4096  # characters
_LONGEST_LIST = 10_000  # places that a path may open by its index


@dataclass(slots=True)
class _Pieces:
    """A call whose arguments are not whole yet."""

    place: int | None  # None: of the function that is the answer
    arguments: dict[str, Any]
    growing: tuple[str | int, ...] | None = None  # the string that the next piece continues


@dataclass(slots=True)
class Calls:
    """The calls of one choice, written as they come."""

    writer: AnswerWriter
    keep: Keep
    choice: int
    names: ToolNames | None = None
    structure: Structure | None = None  # with the function that is the answer
    answered: bool = False
    count: int = 0
    _signatures: list[str | None] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)
    _open: _Pieces | None = None

    def take(self, call: dict[str, Any], signature: str | None) -> None:
        """One `functionCall` part."""
        name = call.get("name")
        if isinstance(name, str) and name:
            self.close()
            self._begin(call, name, signature)
        pieces = self._open
        if pieces is None:
            return
        arguments = call.get("args")
        if isinstance(arguments, dict):
            pieces.arguments.update(arguments)
        for piece in _list(call.get("partialArgs")):
            if isinstance(piece, dict):
                _fill(pieces, piece)
        if not call.get("willContinue"):
            self.close()

    def close(self) -> None:
        """Give on the arguments that have come in pieces; no more will come."""
        if self._open is not None:
            text = json.dumps(self._open.arguments, ensure_ascii=False)
            if self._open.place is not None:
                self.writer.arguments(self._open.place, text, self.choice)
            elif not self.answered and self.structure is not None:
                self.writer.text(unwrapped(text) if self.structure.wrapped else text, self.choice)
                self.answered = True
            self._open = None

    def remember(self) -> None:
        """Keep the signatures, for a client that does not send them back; no more calls will come."""
        if any(self._signatures):
            self.keep(self.writer.calls(self.choice), self._signatures)

    def _begin(self, call: dict[str, Any], name: str, signature: str | None) -> None:
        if self.structure is not None and name == self.structure.tool_name:
            self._open = _Pieces(None, {})
            return
        id = self._id(call.get("id"))
        name = name if self.names is None else self.names.back(name)
        extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else None
        self._signatures.append(signature)
        self.writer.tool_call(self.count, id, name, self.choice, extra)
        self._open = _Pieces(self.count, {})
        self.count += 1

    def _id(self, given: Any) -> str:
        """The provider's id; one of ours where it has none, or the same twice."""
        id = given if isinstance(given, str) else ""
        if not id or id in self._ids:
            id = generated_id(self.writer, self.count, self.choice)
        self._ids.add(id)
        return id


def _fill(pieces: _Pieces, piece: dict[str, Any]) -> None:
    """Put one `partialArgs` item where its `jsonPath` says; a string goes on where the last one left off."""
    path = _path(piece.get("jsonPath"))
    values = [piece[name] for name in _VALUES if name in piece]
    if not path or not values:
        return
    value = None if "nullValue" in piece else values[0]
    holder = _holder(pieces.arguments, path)
    if holder is None:
        return
    before = _at(holder, path[-1])
    if pieces.growing == path and isinstance(before, str) and isinstance(value, str):
        value = before + value
    _put(holder, path[-1], value)
    pieces.growing = path if piece.get("willContinue") else None


def _path(text: Any) -> tuple[str | int, ...]:
    if not isinstance(text, str):
        return ()
    steps = _STEP.findall(text[:_LONGEST_PATH].removeprefix("$"))
    return tuple(int(place) if place else name or single or double for name, place, single, double in steps)


def _holder(root: dict[str, Any], path: tuple[str | int, ...]) -> Any:
    """What holds the last step of `path`, made where it is not there; None where the path does not fit."""
    holder: Any = root
    for step, following in zip(path, path[1:], strict=False):
        if _at(holder, step) is None:
            _put(holder, step, [] if isinstance(following, int) else {})
        holder = _at(holder, step)
    fits = isinstance(holder, list) if isinstance(path[-1], int) else isinstance(holder, dict)
    return holder if fits else None


def _at(holder: Any, step: str | int) -> Any:
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return None


def _put(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, dict) and isinstance(step, str):
        holder[step] = value
    elif isinstance(holder, list) and isinstance(step, int) and step < _LONGEST_LIST:
        holder.extend([None] * (step + 1 - len(holder)))
        holder[step] = value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
